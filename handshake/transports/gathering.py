"""Reading many quiet connections together: one wake-up for the pulses of a whole box. For the local transport alone."""

from __future__ import annotations

import asyncio
import os
import select
from typing import Protocol

GATHER_S = 0.025
"""How long the first that has something waits for the others. All nodes of a box pulse within about 10 ms."""
AT_ONCE = 64
"""Connections read before everything else of the loop gets its turn."""
_READ_BYTES = 16_384


class Gathered(Protocol):
    """A connection that can wait."""

    def data_received(self, data: bytes) -> None:
        """Take what was read."""
        ...

    def leave_gathering(self) -> None:
        """Read by itself again: it has ended, or is broken."""
        ...


class Gathering:
    """Reads connections together that are in no hurry.

    Nodes that pulse in step still come to the socket one after the other, over some milliseconds: read one by one
    each wakes the master, and finds its caches taken by the nodes in between. So the connections are in an epoll of
    their own, that one is what the event loop watches, and once it stirs all that comes soon is read in one go.

    Must be made inside a running event loop.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._connections: dict[int, Gathered] = {}
        self._timer: asyncio.Handle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._begin)

    def add(self, descriptor: int, connection: Gathered) -> None:
        """Read a connection with the others from now on; nobody else may."""
        self._connections[descriptor] = connection
        self._epoll.register(descriptor, select.EPOLLIN)

    def discard(self, descriptor: int) -> None:
        """Leave a connection to somebody else; before its descriptor is closed."""
        if self._connections.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Read no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._connections.clear()
        self._epoll.close()

    def _begin(self) -> None:
        """Wait for the others: somebody has something."""
        self._loop.remove_reader(self._epoll.fileno())
        self._timer = self._loop.call_later(GATHER_S, self._read)

    def _read(self) -> None:
        ready = self._epoll.poll(0, AT_ONCE)
        for descriptor, _ in ready:
            # What is read may end any other connection.
            connection = self._connections.get(descriptor)
            if connection is not None:
                self._read_one(descriptor, connection)
        if self._epoll.closed:
            return
        if len(ready) == AT_ONCE:
            self._timer = self._loop.call_soon(self._read)
        else:
            self._timer = None
            self._loop.add_reader(self._epoll.fileno(), self._begin)

    def _read_one(self, descriptor: int, connection: Gathered) -> None:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # Whoever reads it next is told the same, and knows what to do.
        if data:
            connection.data_received(data)
        else:
            self.discard(descriptor)
            connection.leave_gathering()
