"""A small store in a JSON file, for what a bot must not forget: settings of a server, counters, reminders.

It is all in memory, and written as a whole: right for up to a few megabytes. Beyond that, use SQLite.
"""

from __future__ import annotations

import asyncio
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from nodekit.identity import program_folder

FOLDER = "data"
"""Apart from the code: what is in it restarts no node that has WATCH."""


class StoreDamaged(Exception):
    """The file is not a store; it is left as it is.

    Attributes
    ----------
    path
        The file.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be read: {why}; mend it, or move it away")
        self.path = path


class Store(dict[str, Any]):
    """A dictionary that is kept in a file; made by :func:`open_store`.

    Change it like any dictionary, with keys of text and values that JSON knows, then ``await store.save()``. A change
    that does not wait between reading and writing cannot be interrupted by another command.

    Parameters
    ----------
    path
        The file.
    content
        What it holds.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        super().__init__(content)
        self.path = path
        self._turn = asyncio.Lock()
        self._wanted = self._written = 0

    async def save(self) -> None:
        """Write everything to disk; it survives a crash once this has returned.

        The file is replaced, so that it is whole at any moment. Calls that wait for their turn share one writing.

        Raises
        ------
        OSError
            Such as on a full disk. The old file is still there.
        TypeError
            A value is not one that JSON knows.
        """
        self._wanted += 1
        mine = self._wanted
        async with self._turn:
            if self._written >= mine:
                return
            writing, payload = self._wanted, msgspec.json.format(msgspec.json.encode(dict(self)))
            await asyncio.get_running_loop().run_in_executor(_writer(), _replace, self.path, payload)
            self._written = writing


_stores: dict[Path, Store] = {}
"""A cog that is loaded again gets the object that its predecessor had, with all that is not yet saved."""


def open_store(name: str = "store.json") -> Store:
    """Return the store in a file of the folder ``data/`` beside the bot's program; empty if there is no file yet.

    Raises
    ------
    StoreDamaged
    """
    path = program_folder() / FOLDER / name
    if path not in _stores:
        _stores[path] = Store(path, _read(path))
    return _stores[path]


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreDamaged(path, str(error)) from error


@functools.cache
def _writer() -> ThreadPoolExecutor:
    """Return the one thread that writes: what is written later is what stays, also when a caller is cancelled."""
    return ThreadPoolExecutor(1, thread_name_prefix="store")


def _replace(path: Path, payload: bytes) -> None:
    """Replace a file: its content is on disk before it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with open(new, "wb", opener=_private) as stream:
        stream.write(payload)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
