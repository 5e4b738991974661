"""Which process is which node's, on local disk: what the next master needs to take nodes back.

Written before a node gets its boot document, without waiting for the ledger, which may be far away or down: a process
that is not on record never logs in, and one that is cannot be started a second time. The files need not survive a
reboot, and so are not synced: the processes do not either. A record that outlives its process cannot be mistaken for
another's: the start time tells.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class RunRecord(msgspec.Struct, frozen=True):
    """One running process."""

    pid: int
    started_at: float
    """Seconds since boot, as in /proc/PID/stat."""


class RunRecords:
    """The records of one state folder.

    Parameters
    ----------
    folder
        Made when it is first written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, node_id: str, pid: int, started_at: float) -> None:
        """Put a process on record.

        Raises
        ------
        OSError
            It is not on record.
        """
        path = self._folder / node_id
        payload = msgspec.json.encode(RunRecord(pid, started_at))
        try:
            self._replace(path, payload)
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._replace(path, payload)

    def _replace(self, path: Path, payload: bytes) -> None:
        temporary = path.with_name(f".{path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, payload)
        finally:
            os.close(descriptor)
        temporary.replace(path)

    def read(self, node_id: str) -> RunRecord | None:
        """Give the process on record; None when there is none, or the record is damaged."""
        try:
            return msgspec.json.decode((self._folder / node_id).read_bytes(), type=RunRecord)
        except (OSError, msgspec.MsgspecError):
            return None
