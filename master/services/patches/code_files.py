"""Which code is in a folder, by its hashes. What a node wrote is read as a stranger's: no links, no pipes, bounded."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

MOST_FILES, MOST_BYTES, MOST_IN_ALL = 500, 2 << 20, 32 << 20
_SUFFIXES = (".py", ".pyi", ".js", ".mjs", ".cjs", ".ts", ".sh")
_NAMES = frozenset({"requirements.txt", "pyproject.toml", "package.json", "VERSION"})
_NOT_IN = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env"})
_CHUNK = 1 << 18


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """The code in a folder. Data that a program writes beside it is none."""

    files: dict[str, str]
    """SHA-256 by path."""
    left_out: int = 0
    """Files that were too many or too large."""


def is_code(path: str) -> bool:
    """Tell whether a file is code by its name."""
    return path.endswith(_SUFFIXES) or path.rpartition("/")[2] in _NAMES


def read_code(folder: Path) -> Code:
    """Return the code in a folder; blocks.

    Raises
    ------
    OSError
        There is no such folder.
    """
    os.stat(folder)
    files, left_out, in_all = dict[str, str](), 0, 0
    for path, inside, name in _candidates(folder):
        if len(files) >= MOST_FILES or in_all >= MOST_IN_ALL:
            left_out += 1
            continue
        read = _digest(name, inside)
        if read is None:
            continue
        digest, size = read
        in_all += size
        if digest:
            files[path] = digest
        else:
            left_out += 1
    return Code(files=files, left_out=left_out)


def _candidates(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Yield path, descriptor of the folder that it is in, and name of each file of code."""
    for inside, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        folders[:] = sorted(one for one in folders if one not in _NOT_IN and not one.startswith("."))
        at = os.path.relpath(inside, folder)
        for name in sorted(names):
            if is_code(name):
                yield name if at == "." else f"{at}/{name}", descriptor, name


def _digest(name: str, inside: int) -> tuple[str, int] | None:
    """Return digest and size of a file; no digest if it is too large, None if it is no file or cannot be read."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=inside)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        digest, size = hashlib.sha256(), 0
        while size <= MOST_BYTES and (chunk := os.read(descriptor, _CHUNK)):
            digest.update(chunk)
            size += len(chunk)
        return ("" if size > MOST_BYTES else digest.hexdigest()), size
    except OSError:
        return None
    finally:
        os.close(descriptor)
