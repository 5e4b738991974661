"""The local transport: signed messages as lines over a Unix socket of mode 0600; the peer's user is checked."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from handshake.errors import TransportError
from handshake.listening import UnixListener
from handshake.messages import MAX_MESSAGE_BYTES
from handshake.sockets import Peer, short_path

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
        self._handler = handler
        self._listener = UnixListener(
            path,
            self._converse,
            admits=lambda peer: peer.user_id == os.geteuid(),
            limit=MAX_MESSAGE_BYTES,
            max_connections=MAX_CONNECTIONS,
        )

    async def start(self) -> None:
        """Begin to listen.

        Raises
        ------
        OSError
            Another process listens there, or the folder cannot be written.
        """
        await self._listener.start()

    async def close(self) -> None:
        """Stop listening and end the connections."""
        await self._listener.close()

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
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if not self.is_connected:
                    await self._connect()
                writer = self._writer
                if writer is None:
                    raise TransportError("the connection ended while it was made")
                writer.write(text.encode() + b"\n")
                await writer.drain()
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
