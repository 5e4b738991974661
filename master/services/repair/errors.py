"""The errors of repairs."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode
from master.services.core.errors import ServiceError
from master.services.healing.errors import NoSuchErrorGroup as NoSuchErrorGroup


class RepairError(ServiceError):
    """Root of the errors of solutions and repairs."""

    code: ClassVar[str] = "repair_failed"


class NoSuchSolution(RepairError):
    """No solution has that id."""

    code: ClassVar[str] = "no_such_solution"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class SolutionRefused(RepairError):
    """The text is no solution."""

    code: ClassVar[str] = "solution_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class ActionSkipped(RepairError):
    """The action has nothing to act on, or must not act here; nothing was done."""

    code: ClassVar[str] = "action_skipped"


class ActionFailed(RepairError):
    """The action was tried and did not succeed."""

    code: ClassVar[str] = "action_failed"


class NoSuchRun(RepairError):
    """No repair has an id that begins so."""

    code: ClassVar[str] = "no_such_repair"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class RunNotOpen(RepairError):
    """The repair was decided already, or was asked about too long ago."""

    code: ClassVar[str] = "repair_not_open"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED
