"""Durable, atomic writes of private files."""

from __future__ import annotations

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


def replace_file(path: Path, payload: bytes) -> None:
    """Replace a file's content atomically and durably.

    Raises
    ------
    OSError
        The old content is unchanged.
    """
    successor = path.with_name(f".{path.name}.new")
    successor.unlink(missing_ok=True)
    with open(successor, "wb", opener=open_private) as stream:
        stream.write(payload)
        stream.flush()
        os.fsync(stream.fileno())
    successor.replace(path)
    sync_folder(path.parent)
