"""What can go wrong with a mailbox."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode
from master.services.core.errors import ServiceError


class MailboxError(ServiceError):
    """Something about a mailbox did not succeed; the next attempt may."""

    code: ClassVar[str] = "mailbox_failed"


class MailServerAway(MailboxError):
    """The server could not be reached, hung up, or did not answer in time."""

    code: ClassVar[str] = "mail_server_away"


class MailServerOdd(MailboxError):
    """The server sends what is no IMAP, or more than was asked for."""

    code: ClassVar[str] = "mail_server_odd"


class MailboxRefused(MailboxError):
    """The server refuses the login, the folder, or the encryption: only a person can mend that."""

    code: ClassVar[str] = "mailbox_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NoSuchMailbox(MailboxError):
    """MAILBOXES has no such mailbox."""

    code: ClassVar[str] = "no_such_mailbox"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class NoSuchMail(MailboxError):
    """No mail has this id, or more than one begins so."""

    code: ClassVar[str] = "no_such_mail"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class MailRefused(MailboxError):
    """It cannot be done with this mail, or with this ticket."""

    code: ClassVar[str] = "mail_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED
