"""Expensive per-process readings: proportional memory, descriptors, connections. Blocks."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Details:
    """Expensive readings of one process.

    Parameters
    ----------
    pss_bytes
        Proportional set size: its private memory, and its share of the pages shared with the zygote.
    connections
        Open internet sockets.
    """

    pss_bytes: int
    open_files: int
    connections: int | None = None
    """None unless requested: to find one process's, the kernel lists those of the whole box."""


def read_details(pid: int, *, connections: bool) -> Details | None:
    """Read the details of a process; None when it has ended or belongs to another user.

    Parameters
    ----------
    connections
        Also count its internet sockets, which costs eight times as much as the rest (6.5 ms).
    """
    try:
        found = Details(_read_pss(pid), len(os.listdir(f"/proc/{pid}/fd")))
        if connections:
            found = replace(found, connections=_count_connections(pid))
    except (OSError, ValueError):
        return None
    return found


def _count_connections(pid: int) -> int:
    """Count the internet sockets of a process.

    Raises
    ------
    ProcessLookupError
        It has ended, or is another user's.
    """
    # Imported here: it would stay in the master for good, for what an operator asks now and then.
    import psutil

    try:
        return len(psutil.Process(pid).net_connections("inet"))
    except psutil.Error as error:
        raise ProcessLookupError(pid) from error


def _read_pss(pid: int) -> int:
    """Read the proportional memory of a process in bytes: proc_pid_smaps(5), smaps_rollup."""
    with open(f"/proc/{pid}/smaps_rollup", "rb", buffering=0) as rollup:
        content = rollup.read(4096)
    at = content.index(b"\nPss:") + 5
    return int(content[at : content.index(b"kB", at)]) * 1024
