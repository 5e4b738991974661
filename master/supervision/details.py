"""What is too dear to read each second of a process: proportional memory, descriptors, connections. Blocks."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Details:
    """One closer look at a process.

    Parameters
    ----------
    pss_bytes
        Its share of memory: what it holds alone, and its part of the pages that it shares with the zygote.
    connections
        Open internet sockets.
    """

    pss_bytes: int
    open_files: int
    connections: int


def read_details(pid: int) -> Details | None:
    """Look closer at a process; None when it has ended or is another user's."""
    try:
        process = psutil.Process(pid)
        return Details(process.memory_full_info().pss, process.num_fds(), len(process.net_connections("inet")))
    except psutil.Error:
        return None
