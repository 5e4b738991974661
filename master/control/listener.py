"""A Unix socket server: limited number of connections, only from permitted users."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from handshake.sockets import SERVER_OPTIONS, Peer, bind_listener, peer_of

log = logging.getLogger(__name__)

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Peer], Awaitable[None]]


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
    """

    def __init__(
        self,
        path: Path,
        converse: Converse,
        *,
        admits: Callable[[Peer], bool],
        limit: int,
        max_connections: int,
    ) -> None:
        self._path = path
        self._converse = converse
        self._admits = admits
        self._limit = limit
        self._max_connections = max_connections
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start listening.

        Raises
        ------
        OSError
            Another process listens at the path, or the folder is not writable.
        """
        listener = bind_listener(self._path, backlog=self._max_connections)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=self._limit, **SERVER_OPTIONS)

    async def close(self) -> None:
        """Stop listening, close the connections, and remove the file."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served in a task")
        self._connections.add(task)
        try:
            peer = peer_of(writer.get_extra_info("socket"))
            if self._admits(peer) and len(self._connections) <= self._max_connections:
                await self._converse(reader, writer, peer)
            else:
                log.warning("connection refused", extra={"user_id": peer.user_id, "pid": peer.pid})
        except (ConnectionError, TimeoutError, ValueError) as error:
            log.debug("connection ended", extra={"why": type(error).__name__})
        except asyncio.CancelledError:
            # Only close() cancels this task, and waits for it. Not raised: Python 3.11's streams would log a traceback.
            log.debug("connection ended with its listener")
        finally:
            self._connections.discard(task)
            writer.close()
