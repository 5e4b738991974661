"""Frozen records of mailboxes, and of what came of their mails."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

MailboxState = Literal["stopped", "starting", "ready", "degraded", "backoff", "quarantined"]
"""As a node's: ``quarantined`` is a mailbox whose login was refused, which is not tried again by itself."""
MailState = Literal["seen", "acting", "done", "failed", "ignored"]
ActionState = Literal["planned", "doing", "done", "failed", "asked"]
"""``doing``: begun, and not known to be done. ``asked``: only a person can say whether it was done."""
AnswerState = Literal["waiting", "sending", "sent", "failed", "asked"]


class Mailbox(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox that is, or was, in MAILBOXES."""

    id: str
    name: str
    sealed_secret: bytes | None = None
    uid_validity: int | None = None
    uid_next: int | None = None
    since: datetime | None = None
    last_mail_at: datetime | None = None
    is_paused: bool = False
    state: MailboxState = "stopped"
    detail: str = ""
    changed_at: datetime


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that came."""

    id: str
    mailbox: str
    uid_validity: int
    uid: int
    mail_hash: bytes
    message_id: str
    sender: str
    subject: str
    at: datetime
    is_trusted: bool
    content: str
    """JSON; empty once nothing is left to do."""
    state: MailState
    detail: str = ""
    changed_at: datetime


class MailAction(msgspec.Struct, frozen=True, kw_only=True):
    """What a mail sets off: one of its actions."""

    mail_id: str
    number: int
    rule: str
    action: str
    plan: str
    state: ActionState
    result: str = ""
    detail: str = ""
    changed_at: datetime


class MailThread(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket that a mail opened: who wrote, and which mails belong to it."""

    ticket_id: str
    mailbox: str
    address: str
    subject: str
    last_message_id: str
    message_ids: str
    """JSON, oldest first."""
    changed_at: datetime


class MailAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a mail, written in its ticket."""

    id: str
    ticket_id: str
    at: datetime
    text: str
    written_by: str
    message_id: str
    state: AnswerState
    detail: str = ""
    changed_at: datetime
