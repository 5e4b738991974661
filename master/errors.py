"""The root of every error the master can explain, and the exit codes they map to.

Everything in ``master`` may import this module. An error is raised where the fault is known, carries what to do
about it, and is rendered once, at the edge: command line, embed, HTTP.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of the ``fleet`` command; docs/operations.md lists them. They never change meaning."""

    OK = 0
    FAILED = 1
    """The operation was tried and failed."""
    USAGE = 2
    """The command line could not be understood (Typer's own code)."""
    NOT_FOUND = 3
    """No such node, licence, file."""
    REFUSED = 4
    """The input or the caller was refused: a bad name, a bad token, no permission."""
    CONFIG = 5
    """config.py or .env is missing or wrong."""
    NO_MASTER = 6
    """The command needs a running master and there is none."""
    ALREADY_RUNNING = 7
    """Another master owns this state folder."""
    LEDGER = 8
    """The ledger cannot be opened, read or written."""
    TIMED_OUT = 9
    """The operation did not finish in its time."""
    DISCORD = 10
    """Discord refused or could not be reached."""
    INTERRUPTED = 130
    """Ctrl-C."""


class FleetError(Exception):
    """Root of all errors that an operator may see.

    Parameters
    ----------
    message
        What was wrong and where, in one sentence without a trailing full stop.
    hint
        What to do about it; empty when there is nothing to do.
    """

    code: ClassVar[str] = "fleet_error"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message
