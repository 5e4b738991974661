"""Memory layout of the zygote before it forks: huge pages, and pages that the kernel may merge.

ctypes is imported where it is used: the master imports this module too, and does not need that half megabyte.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

_PR_SET_MEMORY_MERGE = 67
_MADV_MERGEABLE = 12
_MADV_COLLAPSE = 25
_HUGE_BYTES = 2 * 2**20
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(\[heap\])?")


def collapse() -> int:
    """Collapse this process's private memory into huge pages where it fits; returns the bytes collapsed.

    A fork copies one page-table entry for each page, and an exit frees it: fewer pages make both faster. Uses
    madvise(2) MADV_COLLAPSE, which needs Linux 6.1; on older kernels nothing happens.
    """
    return sum(size for start, size in _mappings() if size >= _HUGE_BYTES and not _advise(start, size, _MADV_COLLAPSE))


def allow_merging() -> bool:
    """Let the kernel merge equal pages of this process and of what it forks; False when it cannot.

    Uses prctl(2) PR_SET_MEMORY_MERGE, which also covers later memory; before Linux 6.4 :func:`mark_mappings`.
    """
    import ctypes

    return ctypes.CDLL(None).prctl(_PR_SET_MEMORY_MERGE, 1, 0, 0, 0) == 0 or mark_mappings()


def mark_mappings() -> bool:
    """Let the kernel merge pages of the private memory that this process has now; False when it cannot."""
    refusals = {_advise(start, size, _MADV_MERGEABLE) for start, size in _mappings()}
    # A mapping may be gone since it was listed: there is nothing in it to merge.
    return refusals <= {0, errno.ENOMEM}


def _mappings() -> list[tuple[int, int]]:
    """Return start and size of each anonymous, writable private mapping (proc_pid_maps(5))."""
    found = filter(None, map(_MAPPING.fullmatch, Path("/proc/self/maps").read_text().splitlines()))
    return [(start := int(match[1], 16), int(match[2], 16) - start) for match in found]


def _advise(start: int, size: int, advice: int) -> int:
    """Call madvise(2); returns 0, or the number of its error."""
    import ctypes

    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return 0 if madvise(start, size, advice) == 0 else ctypes.get_errno()
