"""The lock that allows one master for each state folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import ClassVar

from master.errors import ExitCode, FleetError


class AlreadyRunning(FleetError):
    """Another master owns the state folder."""

    code: ClassVar[str] = "already_running"
    exit_code: ClassVar[ExitCode] = ExitCode.ALREADY_RUNNING


class StateFolderRefused(FleetError):
    """The state folder cannot be used."""

    code: ClassVar[str] = "state_folder"
    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG


class InstanceLock:
    """An exclusive lock on the state folder; the kernel releases it when the process ends in any way.

    Parameters
    ----------
    path
        The lock file; contains the owner's pid for people to read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Acquire the lock.

        Raises
        ------
        AlreadyRunning
            Another master holds it; the message names its pid.
        StateFolderRefused
            The folder cannot be created or written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateFolderRefused(
                f"the state folder {self._path.parent} cannot be used: {error.strerror}",
                hint="make it writable for the user who runs the master",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            self.release()
            raise AlreadyRunning(
                f"a master is running on {self._path.parent} already (pid {owner or 'unknown'})",
                hint="`fleet status` shows it; a second one would start every bot twice",
            ) from None
        with contextlib.suppress(OSError):  # The pid is for people; on a full disk the lock holds without it.
            # Over what is there first: that takes no new block.
            written = os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
            os.ftruncate(self._descriptor, written)

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
