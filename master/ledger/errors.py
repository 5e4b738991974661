"""Exceptions of the ledger."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode, FleetError


class LedgerError(FleetError):
    """Base class of the ledger's errors."""

    code: ClassVar[str] = "ledger_error"
    exit_code: ClassVar[ExitCode] = ExitCode.LEDGER


class LedgerUnavailable(LedgerError):
    """The database cannot be reached."""

    code: ClassVar[str] = "ledger_unavailable"


class LedgerCorrupt(LedgerError):
    """The file is not a database."""

    code: ClassVar[str] = "ledger_corrupt"


class LedgerReadOnly(LedgerError):
    """The database cannot be written."""

    code: ClassVar[str] = "ledger_read_only"


class LedgerTimedOut(LedgerError):
    """A read or write timed out; nothing of the write was written, nor will be."""

    code: ClassVar[str] = "ledger_timed_out"


class LedgerTooNew(LedgerError):
    """The ledger was made by a newer version of the program."""

    code: ClassVar[str] = "ledger_too_new"


class LedgerTooOld(LedgerError):
    """The ledger's schema is older than the program, and the caller is not to change it."""

    code: ClassVar[str] = "ledger_too_old"


class RowRefused(LedgerError):
    """The database refuses what a row holds, and always will; any other error is the database's own."""

    code: ClassVar[str] = "row_refused"


class Conflict(RowRefused):
    """A constraint of the schema refused a row: the name or the bot is taken."""

    code: ClassVar[str] = "ledger_conflict"


class Fenced(LedgerError):
    """A node's row was not written: the node belongs to another host than the one in whose name it was to be."""

    code: ClassVar[str] = "fenced"

    def __init__(self, node_id: str, *, host: str, owner: str) -> None:
        super().__init__(
            f"the node {node_id} belongs to {name_host(owner)}, not to {name_host(host)}",
            hint="`fleet reload` reads the nodes again",
        )
        self.node_id, self.host, self.owner = node_id, host, owner


def name_host(host: str) -> str:
    """Return a host as messages name it."""
    return f"the host {host!r}" if host else "the master's own box"


class ArchiveRefused(LedgerError):
    """An archive cannot be used: it is damaged, has another secret or revision, or a ledger exists already."""

    code: ClassVar[str] = "archive_refused"


class LedgerHangs(LedgerUnavailable):
    """The database, or its driver, did not come back from a statement; its thread was abandoned."""

    code: ClassVar[str] = "ledger_hangs"


class LedgerRetryable(LedgerUnavailable):
    """A transient error that is worth a retry: a deadlock, a lost connection, a busy file."""

    code: ClassVar[str] = "ledger_retryable"


class TransactionLost(LedgerRetryable):
    """The database rolled a transaction back without saying so: what was written in it is not there."""

    code: ClassVar[str] = "transaction_lost"
