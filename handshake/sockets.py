"""Unix sockets with long paths: ``sun_path`` holds 107 bytes, and ``/proc/self/fd`` shortens any path."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name for ``path`` that fits a socket address; valid inside the context.

    Raises
    ------
    OSError
        Its folder does not exist.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@dataclass(frozen=True, slots=True)
class Peer:
    """Credentials of the peer, from the kernel (SO_PEERCRED, unix(7))."""

    pid: int
    user_id: int


def peer_of(connection: socket.socket) -> Peer:
    """Return the peer's credentials of a Unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user_id, _ = struct.unpack("3i", raw)
    return Peer(pid, user_id)


def bind_listener(path: Path, *, backlog: int = 128) -> socket.socket:
    """Listen at ``path`` with mode 0600; replaces the stale socket of a dead process.

    Raises
    ------
    OSError
        Another process listens there (EADDRINUSE), or the folder cannot be written.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        with short_path(path) as name:
            if _is_answered(name):
                raise OSError(98, "another process listens there", str(path))
            path.unlink(missing_ok=True)
            # bind() creates the file with the umask applied: the mode must be right from the start.
            before = os.umask(0o177)
            try:
                listener.bind(name)
            finally:
                os.umask(before)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_answered(name: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        attempt.setblocking(False)
        try:
            attempt.connect(name)
        except BlockingIOError:
            return True  # the backlog is full, so a process listens
        except OSError:
            return False
        return True
