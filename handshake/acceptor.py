"""Accepts connections on a Unix socket through what ends or floods asyncio's server: no descriptors, a removed file.

asyncio's server logs a traceback for each of its backlog's attempts when descriptors run out, and schedules as many
retries, a second later, over and over: 98,846 tracebacks in a minute with 64 descriptors.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from handshake.rare_log import RareLog
from handshake.sockets import bind_listener

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Connections accepted before everything else of the loop gets its turn, such as closing those that had to leave."""
RETRY_S = 1.0
REFILL_S = 5.0
"""How long what was asked for with the last descriptors may use them."""
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Listen at a path with mode 0600.

    Parameters
    ----------
    path
        Path of the socket; a stale file of a dead process is replaced.
    take
        Called with each connection, non-blocking, which it has to close.
    backlog
        Connections that the kernel holds until they are accepted; a quarter of them is accepted at once.
    reserve
        Descriptors held back: when there are no others left, they are freed for the next connection and what it asks.
    """

    def __init__(self, path: Path, take: Callable[[socket.socket], None], *, backlog: int, reserve: int = 0) -> None:
        self.path = path
        self._take = take
        self._backlog = backlog
        self._at_once = max(1, min(AT_ONCE, backlog // 4))
        self._reserve_size = reserve
        self._reserve: list[int] = []
        self._listener: socket.socket | None = None
        self._place = (0, 0)
        """Device and inode of the socket's file: another file at the path is not it."""
        self._retry: asyncio.TimerHandle | None = None
        self._refill: asyncio.TimerHandle | None = None
        self._short = RareLog(log, "connections have to wait: no descriptors are left")

    def start(self) -> None:
        """Start listening, in the running event loop.

        Raises
        ------
        OSError
            Another process listens at the path, or the folder is not writable.
        """
        listener = bind_listener(self.path, backlog=self._backlog)
        try:
            found = self.path.lstat()
        except OSError:
            listener.close()
            raise
        before, self._listener, self._place = self._listener, listener, (found.st_dev, found.st_ino)
        if before is not None:
            asyncio.get_running_loop().remove_reader(before)
            before.close()
        self._fill_reserve()
        self._listen()

    def close(self) -> None:
        """Stop listening, and remove the file if it is this one's."""
        for timer in (self._retry, self._refill):
            if timer is not None:
                timer.cancel()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            if self.is_in_place():
                self.path.unlink(missing_ok=True)
            self._listener.close()
            self._listener = None
        self._free_reserve()

    def is_in_place(self) -> bool:
        """Tell whether the path still leads here."""
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return stat.S_ISSOCK(found.st_mode) and (found.st_dev, found.st_ino) == self._place

    def make_again(self) -> None:
        """Listen at the path anew, with its folder if that is gone too; open connections stay.

        Raises
        ------
        OSError
        """
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        self.start()

    def _listen(self) -> None:
        self._retry = None
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(self._at_once):
            if self._listener is None:
                return
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORTAGES:
                    raise
                if self._use_reserve():
                    continue
                self._back_off(self._listener, error)
                return
            connection.setblocking(False)
            self._take(connection)

    def _back_off(self, listener: socket.socket, error: OSError) -> None:
        """Accept nothing for a while: the listener would stay ready to read, and spin."""
        self._short(socket=self.path.name, why=error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        self._retry = loop.call_later(RETRY_S, self._listen)

    def _fill_reserve(self) -> None:
        try:
            while len(self._reserve) < self._reserve_size:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self._refill = asyncio.get_running_loop().call_later(REFILL_S, self._fill_reserve)

    def _use_reserve(self) -> bool:
        """Free the reserve for the next connection; False if there is none."""
        if not self._reserve:
            return False
        self._free_reserve()
        self._refill = asyncio.get_running_loop().call_later(REFILL_S, self._fill_reserve)
        return True

    def _free_reserve(self) -> None:
        while self._reserve:
            os.close(self._reserve.pop())
