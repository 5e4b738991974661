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

_RECORD_BYTES = 64


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
        payload = msgspec.json.encode(RunRecord(pid, started_at))
        try:
            descriptor = self._open(node_id)
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = self._open(node_id)
        try:
            # One small write over the old record: no crash of ours can tear it, and a torn one would not decode.
            os.pwrite(descriptor, payload.ljust(_RECORD_BYTES), 0)
        finally:
            os.close(descriptor)

    def _open(self, node_id: str) -> int:
        return os.open(self._folder / node_id, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def read(self, node_id: str) -> RunRecord | None:
        """Return the process on record; None when there is none, or the record is damaged."""
        try:
            return msgspec.json.decode((self._folder / node_id).read_bytes(), type=RunRecord)
        except (OSError, msgspec.MsgspecError):
            return None
