"""Mailboxes and their mails, as faces show them."""

from __future__ import annotations

import msgspec


class MailboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox."""

    name: str
    user: str
    host: str
    state: str
    login: str = "password"
    """Or ``xoauth2``."""
    detail: str = ""
    rules: int = 0
    has_password: bool = False
    last_mail_at: float | None = None
    open: int = 0
    """Mails that are still to be acted on."""
    done: int = 0
    ignored: int = 0
    failed: int = 0


class MailRow(msgspec.Struct, frozen=True, kw_only=True):
    """A mail, and what came of it."""

    id: str
    mailbox: str
    at: float
    sender: str
    subject: str
    is_trusted: bool
    state: str
    detail: str = ""
    actions: tuple[str, ...] = ()
    """Such as ``ticket: done, ticket 7``."""


class MailboxStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a mailbox's test."""

    step: str
    verdict: str
    """``ok``, ``warn``, ``fail`` or ``skip``."""
    detail: str = ""
    fix: str = ""


class MailTried(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done about a mail that is there."""

    sender: str
    subject: str
    is_trusted: bool
    why: str
    """Why its sender is vouched for, or is not."""
    rule: str = ""
    action: str = ""
    detail: str = ""


class MailboxTested(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a test; nothing was done about any mail."""

    name: str
    steps: tuple[MailboxStep, ...]
    mails: tuple[MailTried, ...] = ()
    """The last ones, newest first."""

    @property
    def works(self) -> bool:
        """Tell whether no step fails."""
        return all(step.verdict != "fail" for step in self.steps)


class MailAnswerRow(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is sent by mail."""

    ticket: int
    to: str
    state: str
    detail: str = ""
