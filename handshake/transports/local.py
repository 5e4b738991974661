"""The local transport: signed messages as lines over a Unix socket of mode 0600; the peer's user is checked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from handshake.errors import TransportError
from handshake.messages import MAX_MESSAGE_BYTES
from handshake.sockets import Peer, bind_listener, peer_of, short_path

log = logging.getLogger(__name__)

Handler = Callable[[str, Peer], Awaitable[str | None]]
"""Takes a message and who sent it; gives the answer, or None."""

MAX_CONNECTIONS = 1_024
CONNECT_TIMEOUT_S = 5.0


class LocalServer:
    """The master's end.

    Parameters
    ----------
    path
        Where to listen; a file that a dead master left there is replaced.
    handler
        Called for each message, one after the other for one connection.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen.

        Raises
        ------
        OSError
            Another process listens there, or the folder cannot be written.
        """
        listener = bind_listener(self._path, backlog=MAX_CONNECTIONS)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_MESSAGE_BYTES)

    async def close(self) -> None:
        """Stop listening and end the connections."""
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
            if peer.user_id == os.geteuid() and len(self._connections) <= MAX_CONNECTIONS:
                await self._converse(reader, writer, peer)
            else:
                log.warning("connection refused", extra={"user_id": peer.user_id, "pid": peer.pid})
        except (ConnectionError, ValueError) as error:
            # ValueError: a line longer than any message. Either way this connection is of no more use.
            log.debug("connection ended", extra={"why": type(error).__name__})
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        while line := await reader.readline():
            answer = await self._handler(line.decode("ascii", "replace").rstrip("\n"), peer)
            if answer is not None:
                writer.write(answer.encode() + b"\n")
                await writer.drain()


class LocalClient:
    """A node's end: connects when it is needed, and again after a failure."""

    def __init__(self, path: Path, on_message: Callable[[str], None]) -> None:
        self._path = path
        self._on_message = on_message
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Tell whether messages can be sent without connecting first."""
        return self._writer is not None and not self._writer.is_closing()

    async def send(self, text: str) -> None:
        """Send one message.

        Raises
        ------
        TransportError
            Nobody listens, or the connection broke.
        """
        if len(text) >= MAX_MESSAGE_BYTES:
            raise TransportError(f"a message of {len(text)} bytes is too long")
        try:
            if not self.is_connected:
                await asyncio.wait_for(self._connect(), CONNECT_TIMEOUT_S)
            writer = self._writer
            if writer is None:
                raise TransportError("the connection ended while it was made")
            writer.write(text.encode() + b"\n")
            await asyncio.wait_for(writer.drain(), CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            await self.close()
            raise TransportError(f"{self._path.name}: {error or type(error).__name__}") from error

    async def _connect(self) -> None:
        await self.close()
        with short_path(self._path) as name:
            reader, self._writer = await asyncio.open_unix_connection(name, limit=MAX_MESSAGE_BYTES)
        self._reading = asyncio.create_task(self._read(reader), name="handshake reader")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                self._on_message(line.decode("ascii", "replace").rstrip("\n"))
        if self._writer is not None:
            self._writer.close()

    async def close(self) -> None:
        """End the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
