"""Protection of a process's memory from other processes of the same user."""

from __future__ import annotations

import ctypes
import logging
import os

_PR_SET_DUMPABLE = 4

log = logging.getLogger(__name__)


def hide_memory() -> bool:
    """Let no other process of this user trace this one, or read its memory, environment and descriptors; no core dump.

    prctl(2) PR_SET_DUMPABLE; root is not held by it. Forked children inherit it, and a new program begins without it.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, *map(ctypes.c_ulong, (0, 0, 0, 0))) == 0:
        return True
    log.warning("memory not hidden from other processes", extra={"why": os.strerror(ctypes.get_errno())})
    return False
