"""Files that survive a power cut: whole or not at all, and for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path


def open_private(path: str, flags: int) -> int:
    """Open a file, as an ``opener`` of :func:`open`; a new one is readable by its owner only."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as what is in the files.

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
    """Put a file in another's place in one step: there is the old one or the new one, never half of it.

    Raises
    ------
    OSError
        The old one is as it was.
    """
    successor = path.with_name(f".{path.name}.new")
    with open(successor, "wb", opener=open_private) as stream:
        stream.write(payload)
        stream.flush()
        os.fsync(stream.fileno())
    successor.replace(path)
    sync_folder(path.parent)
