"""The local transport: signed messages as lines over a Unix socket of mode 0600, with a check of the peer's user."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from handshake.errors import TransportError
from handshake.messages import MAX_MESSAGE_BYTES
from handshake.sockets import SERVER_OPTIONS, Peer, bind_listener, peer_of, short_path
from handshake.transports.gathering import Gathering

log = logging.getLogger(__name__)

Handler = Callable[[str, Peer], str | Awaitable[str | None] | None]
"""Called with a message and its sender; returns the answer or None, or an awaitable of either."""

MAX_CONNECTIONS = 1_024
MAX_PENDING = 64
"""Messages of a connection that may be pending behind a slow one; beyond that, reading pauses."""
CONNECT_TIMEOUT_S = 5.0


class LocalServer:
    """The master's side.

    It uses no streams and no task for each connection: most messages are pulses, which are handled synchronously.
    A connection whose last message needed no answer is read together with others like it; all others at once.

    Parameters
    ----------
    path
        Where to listen; the stale socket of a dead master is replaced.
    handler
        Called for each message, sequentially for each connection.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._gathering: Gathering | None = None
        self._connections: set[_Connection] = set()

    async def start(self) -> None:
        """Start listening.

        Raises
        ------
        OSError
            Another process listens there, or the folder cannot be written.
        """
        listener = bind_listener(self._path, backlog=MAX_CONNECTIONS)
        gathering = self._gathering = Gathering()
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Connection(self._handler, self._connections, gathering), sock=listener, **SERVER_OPTIONS
        )

    async def close(self) -> None:
        """Stop listening and close the connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            await connection.end()
        if self._gathering is not None:
            self._gathering.close()
            self._gathering = None
        self._path.unlink(missing_ok=True)


class _Connection(asyncio.Protocol):
    """One connection: reads lines, and writes the answers in order."""

    def __init__(self, handler: Handler, connections: set[_Connection], gathering: Gathering) -> None:
        self._handler = handler
        self._connections = connections
        self._gathering = gathering
        self._gathered = False
        self._hurried = True
        """Whether the last message needed an answer; then more may come that cannot wait."""
        self._descriptor = -1
        self._transport: asyncio.Transport | None = None
        self._descriptor = -1
        self._peer = Peer(0, -1)
        self._buffer = b""
        self._pending: deque[bytes] = deque()
        self._answering: asyncio.Task[None] | None = None
        self._writable = self._is_reading = True
        self._got_eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the peer: only processes of our own user are accepted."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a Unix stream has a transport for both directions")
        self._transport = transport
        connection = transport.get_extra_info("socket")
        self._peer, self._descriptor = peer_of(connection), connection.fileno()
        self._connections.add(self)
        if self._peer.user_id != os.geteuid() or len(self._connections) > MAX_CONNECTIONS:
            log.warning("connection refused", extra={"user_id": self._peer.user_id, "pid": self._peer.pid})
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Handle pending messages all the same: a node sends its shutdown notice and closes."""
        self._stop_gathering()
        self._transport = None
        self._writable = True
        self._handle_pending()

    def data_received(self, data: bytes) -> None:
        """Handle the complete lines."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_MESSAGE_BYTES or any(len(line) > MAX_MESSAGE_BYTES for line in lines):
            self._abort("a line is too long")
            return
        self._pending.extend(lines)
        self._handle_pending()

    def eof_received(self) -> bool:
        """Stay open until all received messages are answered."""
        self._got_eof = True
        self._handle_pending()
        return True

    def pause_writing(self) -> None:
        """Stop handling messages of a peer that does not read its answers."""
        self._writable = False
        self._update_reading()

    def resume_writing(self) -> None:
        """Continue."""
        self._writable = True
        self._handle_pending()

    def _handle_pending(self) -> None:
        """Handle pending messages, until one needs to be awaited."""
        while self._pending and self._answering is None and self._writable:
            try:
                answer = self._handler(self._pending.popleft().decode("ascii", "replace"), self._peer)
            except Exception as error:
                self._fail(error)
                break
            self._hurried = answer is not None
            if isinstance(answer, str):
                self._send(answer)
            elif answer is not None:
                self._answering = asyncio.ensure_future(self._answer(answer))
                self._answering.add_done_callback(self._answered)
        if self._hurried:
            self.leave_gathering()
        elif not self._gathered:
            self._join_gathering()
        self._update_reading()

    def _join_gathering(self) -> None:
        """Be read together with others: the last message needed no answer."""
        if self._transport is None or self._got_eof or not self._is_reading or self._transport.is_closing():
            return
        self._transport.pause_reading()
        self._gathering.add(self._descriptor, self)
        self._gathered = True

    def leave_gathering(self) -> None:
        """Be read at once again."""
        if self._gathered:
            self._stop_gathering()
            if self._transport is not None:
                self._transport.resume_reading()

    def _stop_gathering(self) -> None:
        if self._gathered:
            self._gathered = False
            self._gathering.discard(self._descriptor)

    async def _answer(self, answer: Awaitable[str | None]) -> None:
        text = await answer
        if text is not None:
            self._send(text)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering = None
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._fail(error)
            self._handle_pending()

    def _fail(self, error: BaseException) -> None:
        """Close this connection after a bug of ours; the others continue."""
        log.error("a message could not be handled", exc_info=error)
        self._abort("its message could not be handled")

    def _send(self, answer: str) -> None:
        if self._transport is not None:
            self._transport.write(answer.encode() + b"\n")

    def _update_reading(self) -> None:
        """Pause or resume reading, so that pending messages stay bounded; close when done."""
        wants_more = self._writable and len(self._pending) < MAX_PENDING
        idle = self._answering is None and not self._pending
        if self._transport is None:
            if idle:
                self._connections.discard(self)
        elif self._got_eof and idle:
            self._transport.close()
        elif wants_more is not self._is_reading and not self._transport.is_closing():
            self._is_reading = wants_more
            self._stop_gathering()
            if wants_more:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _abort(self, why: str) -> None:
        log.debug("connection closed", extra={"why": why, "pid": self._peer.pid})
        self._pending.clear()
        self._stop_gathering()
        if self._transport is not None:
            self._transport.abort()

    async def end(self) -> None:
        """Abort, and wait for the answer in progress."""
        self._pending.clear()
        self._stop_gathering()
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()
        self._connections.discard(self)


class LocalClient:
    """A node's side: connects when needed, and again after a failure."""

    def __init__(self, path: Path, on_message: Callable[[str], None]) -> None:
        self._path = path
        self._on_message = on_message
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent without connecting first."""
        return self._writer is not None and not self._writer.is_closing()

    async def send(self, text: str) -> None:
        """Send one message.

        Raises
        ------
        TransportError
            No process listens, or the connection broke.
        """
        if len(text) >= MAX_MESSAGE_BYTES:
            raise TransportError(f"a message of {len(text)} bytes is too long")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if not self.is_connected:
                    await self._connect()
                writer = self._writer
                if writer is None:
                    raise TransportError("the connection closed while it was opened")
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
        """Close the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
