"""Folders whose files change, told by the kernel (inotify): read by the event loop, without a thread.

watchfiles, which WATCH uses while somebody develops, has a thread for each watch and wakes for each event. A master
that always watches its nodes' output must cost nothing while they are silent, and little more for ten thousand lines
than for one.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import struct
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

GATHER_S = 0.3
"""From the first change to its telling: all changes of that time are told at once, whether one or ten thousand."""
POLL_S = 2.0
"""Between two looks at a folder that the kernel does not watch: it is not there yet, or there is no inotify."""
_MAX_READ_BYTES = 1 << 16
"""About 1,400 events. Where there are more, anything may have changed."""
_FULL_BYTES = _MAX_READ_BYTES - 512
"""From here on a read has left events behind: one takes up to 272 bytes."""
_MAX_READS = 64

_MODIFY, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = (
    0x2,
    0x40,
    0x80,
    0x100,
    0x200,
    0x400,
    0x800,
)
_OVERFLOW, _IGNORED, _ONLY_FOLDERS = 0x4000, 0x8000, 0x01000000
_WANTED = _MODIFY | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLY_FOLDERS
_EVENT = struct.Struct("iIII")
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)

Changed = Callable[[frozenset[str]], None]
"""Called on the event loop with the names of files that changed; none: any may have."""
_Seen = dict[str, tuple[int, int, int]]


class FolderWatch:
    """Tell when files in folders are written, come or go. One for the whole process.

    A folder need not exist: it is looked for until it does. Where inotify cannot be had (its limit is reached, another
    system), all folders are looked at every two seconds instead, which is logged once.

    Parameters
    ----------
    use_inotify
        False: as where there is none.
    """

    def __init__(self, *, gather_s: float = GATHER_S, poll_s: float = POLL_S, use_inotify: bool = True) -> None:
        self._gather_s, self._poll_s = gather_s, poll_s
        self._use_inotify = use_inotify
        self._followers: dict[Path, list[Changed]] = {}
        self._inotify: _Inotify | None = None
        self._polled: dict[Path, _Seen] = {}
        self._gathering: asyncio.TimerHandle | None = None
        self._told = self._has_run = False
        self._begin_polling = asyncio.Event()
        self.watching = asyncio.Event()
        """Set while it runs: what changes from now on is told."""

    @property
    def is_polling(self) -> bool:
        """Tell whether there is a folder that the kernel does not watch."""
        return bool(self._polled)

    def watch(self, folder: Path, changed: Changed) -> None:
        """Call ``changed``, which must not block, after files of a folder changed; before it runs, or while it does."""
        self._followers.setdefault(folder, []).append(changed)
        if self.watching.is_set():
            self._add(folder)

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        self._open()
        try:
            for folder in self._followers:
                self._add(folder)
            self.watching.set()
            if self._has_run:
                # It failed, and was started again: nobody knows what changed meanwhile.
                for folder in self._followers:
                    self._tell(folder, frozenset())
            self._has_run = True
            if self._inotify is not None:
                loop.add_reader(self._inotify.descriptor, self._on_events)
            while True:
                await self._begin_polling.wait()
                await asyncio.sleep(self._poll_s)
                await self._poll()
        finally:
            self.watching.clear()
            if self._gathering is not None:
                self._gathering.cancel()
                self._gathering = None
            if self._inotify is not None:
                loop.remove_reader(self._inotify.descriptor)
                self._inotify.close()
                self._inotify = None
            self._polled.clear()

    def _open(self) -> None:
        if not self._use_inotify:
            return
        try:
            self._inotify = _Inotify()
        except OSError as error:
            self._tell_once(error)

    def _add(self, folder: Path) -> None:
        """Have the kernel watch a folder, or look at it from time to time."""
        if self._inotify is not None:
            try:
                self._inotify.add(folder)
            except OSError as error:
                if error.errno not in _NOT_THERE:
                    self._tell_once(error)
            else:
                self._polled.pop(folder, None)
                return
        if folder not in self._polled:
            self._polled[folder] = _look(folder)
        self._begin_polling.set()

    def _tell_once(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning(
                "files are looked at every %g s: the kernel does not tell of their changes",
                self._poll_s,
                extra={"why": error.strerror},
            )

    # Told by the kernel

    def _on_events(self) -> None:
        """Gather: the descriptor stays readable, so it is not listened to until it is read."""
        loop = asyncio.get_running_loop()
        if self._inotify is not None and self._gathering is None:
            loop.remove_reader(self._inotify.descriptor)
            self._gathering = loop.call_later(self._gather_s, self._read)

    def _read(self) -> None:
        self._gathering = None
        if self._inotify is None:
            return
        try:
            changed = self._inotify.read()
        finally:
            asyncio.get_running_loop().add_reader(self._inotify.descriptor, self._on_events)
        if changed is None:
            changed = dict.fromkeys(self._followers, frozenset[str]())
        for folder, names in changed.items():
            if not names:
                # It may have been removed or renamed, and another one taken its place.
                self._add(folder)
            self._tell(folder, names)

    def _tell(self, folder: Path, names: frozenset[str]) -> None:
        for changed in self._followers.get(folder, ()):
            try:
                changed(names)
            except Exception:
                log.exception("a follower of a folder failed", extra={"folder": str(folder)})

    # Looked at

    async def _poll(self) -> None:
        for folder, before in list(self._polled.items()):
            now = await asyncio.to_thread(_look, folder)
            self._polled[folder] = now
            names = frozenset(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
            if self._inotify is not None:
                # It may be there by now.
                self._add(folder)
            if folder not in self._polled:
                # Files may have come between the look and the kernel's watch.
                names = frozenset()
            elif not names:
                continue
            self._tell(folder, names)
        if not self._polled:
            self._begin_polling.clear()


class _Inotify:
    """The kernel's interface, through libc.

    Raises
    ------
    OSError
        There is none, or no more of them.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError(errno.ENOSYS, "no inotify")
        self.descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise _os_error()
        self._folders: dict[int, Path] = {}

    def add(self, folder: Path) -> None:
        """Watch a folder.

        Raises
        ------
        OSError
            It is not there, or the kernel's limit is reached.
        """
        number = self._libc.inotify_add_watch(self.descriptor, os.fsencode(folder), ctypes.c_uint32(_WANTED))
        if number < 0:
            raise _os_error()
        self._folders[number] = folder

    def read(self) -> dict[Path, frozenset[str]] | None:
        """Return what changed, by folder: no names for a folder that is gone. None if too much did to tell."""
        first = content = self._read_once()
        for _ in range(_MAX_READS):
            if len(content) < _FULL_BYTES:
                break
            content = self._read_once()
        return self._parse(first) if content is first else None

    def _read_once(self) -> bytes:
        try:
            return os.read(self.descriptor, _MAX_READ_BYTES)
        except BlockingIOError:
            return b""

    def _parse(self, content: bytes) -> dict[Path, frozenset[str]] | None:
        names, at = dict[Path, set[str]](), 0
        gone = set[Path]()
        while at < len(content):
            number, mask, _, length = _EVENT.unpack_from(content, at)
            name = content[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                return None
            folder = self._folders.get(number)
            if folder is None:
                continue
            if mask & (_DELETE_SELF | _MOVE_SELF | _IGNORED):
                gone.add(folder)
                del self._folders[number]
                if mask & _MOVE_SELF:
                    self._libc.inotify_rm_watch(self.descriptor, number)
            elif name:
                names.setdefault(folder, set()).add(os.fsdecode(name))
        return {folder: frozenset(found) for folder, found in names.items()} | dict.fromkeys(gone, frozenset[str]())

    def close(self) -> None:
        """Let go of all watches."""
        os.close(self.descriptor)


def _os_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _look(folder: Path) -> _Seen:
    """Return what tells whether files of a folder changed. Blocks."""
    found: _Seen = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                found[entry.name] = (status.st_mtime_ns, status.st_size, status.st_ino)
    except OSError:
        return {}
    return found
