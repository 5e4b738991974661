"""Durable, atomic writes of private files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from handshake.files import open_regular


def open_private(path: str, flags: int) -> int:
    """Open a file; an ``opener`` for :func:`open` that makes new files readable by their owner only."""
    return open_regular(path, flags)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that renames and new names in it are durable.

    Raises
    ------
    OSError
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def leave_to_owner(descriptor: int, path: Path) -> None:
    """Let a file that root writes belong to whom the fleet belongs to: it runs the master, and could not read it.

    Parameters
    ----------
    descriptor
        Of what will be at ``path``, and belongs to the owner of the file that is there, or else of the folder.
    """
    if os.geteuid() != 0:
        return
    try:
        owner = path.lstat()
    except FileNotFoundError:
        owner = path.parent.stat()
    # A file system without owners, or root of a container that is not allowed to: the file is root's then.
    with contextlib.suppress(OSError):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def replace_file(path: Path, payload: bytes) -> None:
    """Replace a file's content atomically and durably.

    Raises
    ------
    OSError
        The old content is unchanged.
    """
    successor = path.with_name(f".{path.name}.new")
    successor.unlink(missing_ok=True)
    try:
        with open(successor, "wb", opener=open_private) as stream:
            leave_to_owner(stream.fileno(), path)
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        successor.replace(path)
    except OSError:
        # On a full disk a part of it would stay, and what it holds may be secret.
        if successor.is_file():
            successor.unlink()
        raise
    sync_folder(path.parent)
