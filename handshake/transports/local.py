"""The local transport: signed messages as lines over a Unix socket of mode 0600; the peer's user is checked."""

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
from handshake.sockets import Peer, bind_listener, peer_of, short_path
from handshake.transports.gathering import Gathering

log = logging.getLogger(__name__)

Handler = Callable[[str, Peer], str | Awaitable[str | None] | None]
"""Takes a message and who sent it; returns the answer, None for none, or what will give either."""

MAX_CONNECTIONS = 1_024
MAX_WAITING = 64
"""Messages of one connection that may wait behind one that takes its time; then it is not read from."""
CONNECT_TIMEOUT_S = 5.0


class LocalServer:
    """The master's end.

    It does without streams and a task for each connection: most of what it gets are pulses, which are taken at once.
    A connection whose last message was one is in no hurry, and is read together with its like; all others at once.

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
        self._gathering: Gathering | None = None
        self._conversations: set[_Conversation] = set()

    async def start(self) -> None:
        """Begin to listen.

        Raises
        ------
        OSError
            Another process listens there, or the folder cannot be written.
        """
        listener = bind_listener(self._path, backlog=MAX_CONNECTIONS)
        gathering = self._gathering = Gathering()
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Conversation(self._handler, self._conversations, gathering), sock=listener
        )

    async def close(self) -> None:
        """Stop listening and end the connections."""
        if self._server is not None:
            self._server.close()
        for conversation in list(self._conversations):
            await conversation.end()
        if self._gathering is not None:
            self._gathering.close()
            self._gathering = None
        self._path.unlink(missing_ok=True)


class _Conversation(asyncio.Protocol):
    """One connection: lines in, answers out, in order."""

    def __init__(self, handler: Handler, conversations: set[_Conversation], gathering: Gathering) -> None:
        self._handler = handler
        self._conversations = conversations
        self._gathering = gathering
        self._gathered = False
        self._hurried = True
        """Whether the last message needed an answer; then more may come that cannot wait."""
        self._transport: asyncio.Transport | None = None
        self._descriptor = -1
        self._peer = Peer(0, -1)
        self._rest = b""
        self._waiting: deque[bytes] = deque()
        self._answering: asyncio.Task[None] | None = None
        self._may_write = self._reads = True
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look who it is: only processes of our own user may speak."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a Unix stream is a transport")
        self._transport = transport
        connection = transport.get_extra_info("socket")
        self._peer, self._descriptor = peer_of(connection), connection.fileno()
        self._conversations.add(self)
        if self._peer.user_id != os.geteuid() or len(self._conversations) > MAX_CONNECTIONS:
            log.warning("connection refused", extra={"user_id": self._peer.user_id, "pid": self._peer.pid})
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Take what waits all the same: a node says good-bye and hangs up."""
        self._stop_gathering()
        self._transport = None
        self._may_write = True
        self._work()

    def data_received(self, data: bytes) -> None:
        """Take the lines that are whole."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_MESSAGE_BYTES or any(len(line) > MAX_MESSAGE_BYTES for line in lines):
            self._hang_up("a line is too long")
            return
        self._waiting.extend(lines)
        self._work()

    def eof_received(self) -> bool:
        """Stay open until what was said is answered."""
        self._ended = True
        self._work()
        return True

    def pause_writing(self) -> None:
        """Take nothing more from a peer that does not read its answers."""
        self._may_write = False
        self._balance()

    def resume_writing(self) -> None:
        """Go on."""
        self._may_write = True
        self._work()

    def _work(self) -> None:
        """Take what waits, until one message takes its time."""
        while self._waiting and self._answering is None and self._may_write:
            try:
                answer = self._handler(self._waiting.popleft().decode("ascii", "replace"), self._peer)
            except Exception as error:
                self._give_up(error)
                break
            self._hurried = answer is not None
            if isinstance(answer, str):
                self._say(answer)
            elif answer is not None:
                self._answering = asyncio.ensure_future(self._answer(answer))
                self._answering.add_done_callback(self._answered)
        if self._hurried:
            self.leave_gathering()
        elif not self._gathered:
            self._join_gathering()
        self._balance()

    def _join_gathering(self) -> None:
        """Be read together with others: what was said last needed no answer."""
        if self._transport is not None and self._reads and not self._ended and not self._transport.is_closing():
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
        said = await answer
        if said is not None:
            self._say(said)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering = None
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._give_up(error)
            self._work()

    def _give_up(self, error: BaseException) -> None:
        """End this connection for a mistake of ours; the others go on."""
        log.error("a message could not be handled", exc_info=error)
        self._hang_up("its message could not be handled")

    def _say(self, answer: str) -> None:
        if self._transport is not None:
            self._transport.write(answer.encode() + b"\n")

    def _balance(self) -> None:
        """Read on only while what waits is bounded."""
        reads = self._may_write and len(self._waiting) < MAX_WAITING
        idle = self._answering is None and not self._waiting
        if self._transport is None:
            if idle:
                self._conversations.discard(self)
        elif self._ended and idle:
            self._transport.close()
        elif reads is not self._reads and not self._transport.is_closing():
            self._reads = reads
            self._stop_gathering()
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _hang_up(self, why: str) -> None:
        log.debug("connection ended", extra={"why": why, "pid": self._peer.pid})
        self._waiting.clear()
        self._stop_gathering()
        if self._transport is not None:
            self._transport.abort()

    async def end(self) -> None:
        """Hang up, and wait for what is being answered."""
        self._waiting.clear()
        self._stop_gathering()
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()
        self._conversations.discard(self)


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
