"""Opening files that somebody else may have made: never waits, follows no link, and accepts regular files alone."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_regular(path: str | Path, flags: int, mode: int = 0o600) -> int:
    """Open a regular file; returns its descriptor.

    A pipe without a reader would hold up its opener for good, and so the program that a node gave one instead of a
    file; a link would lead it to another file, and a device or an endless file to no end.

    Parameters
    ----------
    mode
        Of the file, where ``flags`` create it.

    Raises
    ------
    OSError
        It cannot be opened; EINVAL if it is no regular file, ELOOP if it is a link.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: str | Path, most: int) -> bytes:
    """Return up to ``most`` bytes of a regular file, from its beginning.

    Raises
    ------
    OSError
        As :func:`open_regular`.
    """
    with open(open_regular(path, os.O_RDONLY), "rb") as stream:
        return stream.read(most)
