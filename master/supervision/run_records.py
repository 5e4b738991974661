"""Run records: the process of each node, on local disk, so that the next master can adopt it.

A record is written before the node gets its boot document, without waiting for the ledger, which may be remote or down.
A process without a record never logs in, and one with a record is never started twice. Processes do not survive a
reboot, so the files are not synced. A stale record cannot match a new process: the start time differs.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from handshake.files import open_regular, read_regular

_RECORD_BYTES = 128
_MAX_BYTES = 4096


class RunRecord(msgspec.Struct, frozen=True):
    """One running process."""

    pid: int
    started_at: float
    """Seconds since boot, as in /proc/PID/stat."""
    restarts: int = 0
    """How many processes the node had before it, since it was first started by a master."""
    begun_at: float = 0.0
    """When it became the node, in seconds since boot: it may have been forked as a spare long before. 0: not known."""


class RunRecords:
    """The records of one state folder.

    Parameters
    ----------
    folder
        Created at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, node_id: str, pid: int, started_at: float, restarts: int = 0, begun_at: float = 0.0) -> None:
        """Record a node's process.

        Raises
        ------
        OSError
            The record could not be written.
        """
        payload = msgspec.json.encode(RunRecord(pid, started_at, restarts, begun_at))
        try:
            descriptor = self._open(node_id)
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = self._open(node_id)
        try:
            # One small write over the old record: a crash of ours cannot tear it, and a torn record would not decode.
            os.pwrite(descriptor, payload.ljust(_RECORD_BYTES), 0)
        finally:
            os.close(descriptor)

    def _open(self, node_id: str) -> int:
        return open_regular(self._folder / node_id, os.O_WRONLY | os.O_CREAT)

    def read(self, node_id: str) -> RunRecord | None:
        """Return the recorded process; None without a record, or when it is damaged."""
        try:
            return msgspec.json.decode(read_regular(self._folder / node_id, _MAX_BYTES), type=RunRecord)
        except (OSError, msgspec.MsgspecError):
            return None
