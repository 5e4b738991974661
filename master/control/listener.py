"""A Unix socket server over streams: limited number of connections, only from permitted users."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from handshake.acceptor import Acceptor
from handshake.crowd import Crowd
from handshake.rare_log import RareLog
from handshake.sockets import Peer, peer_of

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 10.0
RESERVED_DESCRIPTORS = 8
"""For an operator's command when the master has no other descriptors left."""

Prove = Callable[[], None]
"""Called once a connection has asked for something: until then it has to make room for others."""
Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Peer, Prove], Awaitable[None]]


class UnixListener:
    """Listen at a path with mode 0600.

    Parameters
    ----------
    path
        Path of the socket; a stale file of a dead process is replaced.
    converse
        Handles one connection. ``ConnectionError``, ``TimeoutError``, and ``ValueError`` (a line is too long) end only
        that connection.
    admits
        Tells whether a peer may connect.
    limit
        Largest length of a line, in bytes.
    refusal
        What a connection beyond ``max_connections`` is sent before it is closed.
    """

    def __init__(
        self,
        path: Path,
        converse: Converse,
        *,
        admits: Callable[[Peer], bool],
        limit: int,
        max_connections: int,
        refusal: bytes = b"",
    ) -> None:
        self.acceptor = Acceptor(path, self._take, backlog=max_connections, reserve=RESERVED_DESCRIPTORS)
        self._converse = converse
        self._admits = admits
        self._limit = limit
        self._refusal = refusal
        self._crowd: Crowd[asyncio.Task[None]] = Crowd(max_connections, one_each=False)
        self._connections: set[asyncio.Task[None]] = set()
        self._refused = RareLog(log, "connection refused")

    async def start(self) -> None:
        """Start listening.

        Raises
        ------
        OSError
            Another process listens at the path, or the folder is not writable.
        """
        self.acceptor.start()

    async def close(self) -> None:
        """Stop listening, close the connections, and remove the file."""
        self.acceptor.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _take(self, accepted: socket.socket) -> None:
        peer = peer_of(accepted)
        if not self._admits(peer):
            self._refused(user_id=peer.user_id, pid=peer.pid, why="another user")
            accepted.close()
            return
        serving = asyncio.get_running_loop().create_task(self._serve(accepted, peer), name="control connection")
        self._connections.add(serving)
        leaving = self._crowd.enter(serving, peer.pid)
        if leaving is not None:
            self._refused(pid=peer.pid, why=f"more than {self._crowd.capacity} connections")
            if leaving is serving:
                _say(accepted, self._refusal)
            leaving.cancel()
            self._crowd.leave(leaving)
        serving.add_done_callback(lambda task: self._end(task, accepted))

    async def _serve(self, accepted: socket.socket, peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        task = asyncio.current_task()
        try:
            await self._converse(reader, writer, peer, lambda: None if task is None else self._crowd.prove(task))
            writer.close()
            # Until what was said is read: a connection that nobody counts would still hold its descriptor.
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await writer.wait_closed()
        except (ConnectionError, TimeoutError, ValueError) as error:
            log.debug("connection ended", extra={"why": type(error).__name__})
        finally:
            transport.abort()

    def _end(self, serving: asyncio.Task[None], accepted: socket.socket) -> None:
        self._connections.discard(serving)
        self._crowd.leave(serving)
        if serving.cancelled():
            # By close(), or to make room; before it had begun nobody else would close its socket.
            accepted.close()
            log.debug("connection ended with its listener, or made room")
        elif (error := serving.exception()) is not None:
            accepted.close()
            log.error("a connection could not be served", exc_info=error)


def _say(connection: socket.socket, line: bytes) -> None:
    """Send what fits into the socket's buffer."""
    try:
        connection.send(line)
    except OSError as error:
        log.debug("a refusal was not sent", extra={"why": error.strerror})
