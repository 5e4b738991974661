"""Exceptions of supervision."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode, FleetError


class SupervisionError(FleetError):
    """Base class of supervision's errors."""

    code: ClassVar[str] = "supervision_error"


class SpawnFailed(SupervisionError):
    """A process could not be started: no memory, no descriptors, no interpreter, no permission."""

    code: ClassVar[str] = "spawn_failed"


class FolderMissing(SpawnFailed):
    """The node's folder or entry file does not exist."""

    code: ClassVar[str] = "folder_missing"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class FileMissing(FolderMissing):
    """A file that the node needs does not exist: its entry file, its program, its file of variables."""

    code: ClassVar[str] = "file_missing"


class StartDeferred(SpawnFailed):
    """A start would do harm now, and is deferred.

    Parameters
    ----------
    retry_in_s
        Seconds until it may be tried again.
    """

    code: ClassVar[str] = "start_deferred"

    def __init__(self, message: str, *, retry_in_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_in_s = retry_in_s


class StateTimedOut(SupervisionError):
    """A node did not reach a state in time."""

    code: ClassVar[str] = "state_timed_out"
    exit_code: ClassVar[ExitCode] = ExitCode.TIMED_OUT


class NotSupervised(SupervisionError):
    """The supervisor does not know the node."""

    code: ClassVar[str] = "not_supervised"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND
