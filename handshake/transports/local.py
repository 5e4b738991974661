"""The local transport: signed messages as lines over a Unix socket of mode 0600, with a check of the peer's user."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from handshake.acceptor import Acceptor
from handshake.crowd import Crowd
from handshake.errors import Refused, TransportError
from handshake.messages import MAX_MESSAGE_BYTES
from handshake.rare_log import RareLog
from handshake.sockets import Peer, peer_of, short_path
from handshake.transports.gathering import Gathering

log = logging.getLogger(__name__)

Handler = Callable[[str, Peer], str | Awaitable[str | None] | None]
"""Called with a message and its sender; returns the answer or None, or an awaitable of either.

It, or the awaitable, raises ``Refused`` for a message that is not to be trusted.
"""

MAX_CONNECTIONS = 1_024
READ_BYTES = 16_384
"""Most that is read at once. What is not handled yet waits in a connection's buffer, which reads no further then."""
MAX_REFUSED = 8
"""Refused messages in a row after which a connection is closed."""
PENALTY_S = 1.0
"""How long such a connection is kept without being read."""
PROVE_TIMEOUT_S = 20.0
"""How long a connection may stay without one genuine message."""
CONNECT_TIMEOUT_S = 5.0
NUDGE = "nudge"
"""A line of the master that makes a node pulse at once: an order waits for it, which is the answer to a pulse.

It is not signed, for it says nothing: whoever forges one gets a pulse. A node heeds four a second.
"""


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
    max_connections
        When there are more, one has to leave: :class:`~handshake.crowd.Crowd` says which.
    """

    def __init__(self, path: Path, handler: Handler, *, max_connections: int = MAX_CONNECTIONS) -> None:
        self.acceptor = Acceptor(path, self._take, backlog=max_connections)
        self._handler = handler
        self._gathering: Gathering | None = None
        self._crowd: Crowd[_Connection] = Crowd(max_connections, one_each=True)
        self._connections: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._hung_up = RareLog(log, "connection refused")

    async def start(self) -> None:
        """Start listening.

        Raises
        ------
        OSError
            Another process listens there, or the folder cannot be written.
        """
        self._gathering = Gathering()
        self.acceptor.start()

    async def close(self) -> None:
        """Stop listening and close the connections."""
        self.acceptor.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in list(self._connections):
            await connection.end()
        if self._gathering is not None:
            self._gathering.close()
            self._gathering = None

    def nudge(self, pid: int) -> bool:
        """Have a process pulse at once, if it has a connection on which it has proven itself; tells whether it has."""
        nudged = [connection.nudge() for connection in self._connections if connection.peer.pid == pid]
        return any(nudged)

    def _take(self, accepted: socket.socket) -> None:
        """Serve a connection, if it is from a process of our own user."""
        peer = peer_of(accepted)
        if peer.user_id != os.geteuid() or self._gathering is None:
            self._hung_up(user_id=peer.user_id, pid=peer.pid, why="another user")
            accepted.close()
            return
        connection = _Connection(self._handler, peer, self._connections, self._crowd, self._gathering, self._buffer)
        leaving = self._crowd.enter(connection, peer.pid)
        if leaving is not None:
            self._hung_up(pid=leaving.peer.pid, why=f"more than {self._crowd.capacity} connections")
            leaving.abort("too many connections")
        if leaving is connection:
            accepted.close()
            return
        opening = asyncio.get_running_loop().create_task(_open(connection, accepted), name="node connection")
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)


async def _open(connection: _Connection, accepted: socket.socket) -> None:
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)
    except OSError as error:
        log.debug("connection closed", extra={"why": str(error)})
        connection.abort("it could not be opened")
        accepted.close()


class _Connection(asyncio.BufferedProtocol):
    """One connection: reads lines, and writes the answers in order."""

    def __init__(
        self,
        handler: Handler,
        peer: Peer,
        connections: set[_Connection],
        crowd: Crowd[_Connection],
        gathering: Gathering,
        shared: memoryview,
    ) -> None:
        self.peer = peer
        self._handler = handler
        self._connections = connections
        """Those with something to do, which outlasts their place in the crowd."""
        self._crowd = crowd
        self._gathering = gathering
        self._gathered = False
        self._hurried = True
        """Whether the last message needed an answer; then more may come that cannot wait."""
        self._descriptor = -1
        self._transport: asyncio.Transport | None = None
        self._shared = shared
        """What is read into. One for all: it is emptied before anybody else reads."""
        self._buffer = bytearray()
        """What was read and is not handled yet."""
        self._answering: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writable = self._is_reading = True
        self._got_eof = self._ended = False
        self._proven = False
        self._refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; whoever connects has to prove itself before long."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a Unix stream has a transport for both directions")
        self._transport = transport
        self._descriptor = transport.get_extra_info("socket").fileno()
        if self._ended:
            transport.abort()
            return
        self._connections.add(self)
        self._timer = asyncio.get_running_loop().call_later(PROVE_TIMEOUT_S, self._overdue)

    def connection_lost(self, error: Exception | None) -> None:
        """Handle what was read all the same: a node sends its shutdown notice and closes."""
        self._stop_gathering()
        self._transport = None
        self._writable = True
        self._crowd.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        self._handle_pending()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return what to read into: asyncio's own choice would be 256 KiB of whatever is sent."""
        return self._shared

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(bytes(self._shared[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Handle the complete lines."""
        if not self._ended:
            self._buffer += data
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
        while self._answering is None and self._writable and (line := self._next_line()) is not None:
            try:
                answer = self._handler(line.decode("ascii", "replace"), self.peer)
            except Refused:
                self._count_refused()
                continue
            except Exception as error:
                self._fail(error)
                break
            self._hurried = answer is not None
            if answer is None or isinstance(answer, str):
                self._believe()
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

    def _next_line(self) -> bytes | None:
        """Take the next complete line from the buffer; None if there is none."""
        end = self._buffer.find(b"\n", 0, MAX_MESSAGE_BYTES + 1)
        if end < 0:
            if len(self._buffer) > MAX_MESSAGE_BYTES:
                self.abort("a line is too long")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _believe(self) -> None:
        """Note a genuine message: this is no stranger, and may stay."""
        self._refused = 0
        if not self._proven:
            self._proven = True
            self._crowd.prove(self)
            if self._timer is not None:
                self._timer.cancel()

    def _count_refused(self) -> None:
        """Hang up on whoever sends one refused message after the other, and on one that has hung up itself."""
        self._refused += 1
        self._hurried = True
        if self._has_hung_up():
            self.abort("it has hung up, and what it sent is refused")
        elif self._refused >= MAX_REFUSED:
            self._buffer.clear()
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
            # Not at once: whoever connects again and again is slowed down.
            self._timer = asyncio.get_running_loop().call_later(PENALTY_S, self.abort, "its messages are refused")

    def _has_hung_up(self) -> bool:
        """Tell whether anybody is there still, which a connection that is not read would not be told."""
        if self._transport is None or self._transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self._descriptor, 0)  # POLLHUP is always told
        return bool(poll.poll(0))

    def _overdue(self) -> None:
        if self._answering is not None:
            self._timer = asyncio.get_running_loop().call_later(PROVE_TIMEOUT_S, self._overdue)
        else:
            self.abort("it has sent nothing genuine")

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
        try:
            text = await answer
        except Refused:
            self._count_refused()
            return
        self._believe()
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
        self.abort("its message could not be handled")

    def _send(self, answer: str) -> None:
        if self._transport is not None:
            self._transport.write(answer.encode() + b"\n")

    def nudge(self) -> bool:
        """Make the other end send something, and read that at once; tells whether it is one to be heard."""
        if not self._proven or not self._writable or self._transport is None or self._transport.is_closing():
            return False
        self._hurried = True
        self.leave_gathering()
        self._send(NUDGE)
        return True

    def _update_reading(self) -> None:
        """Pause or resume reading, so that what waits stays bounded; close when done."""
        waiting = b"\n" in self._buffer
        wants_more = self._writable and not waiting and not self._ended and len(self._buffer) <= MAX_MESSAGE_BYTES
        idle = self._answering is None and not waiting
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

    def abort(self, why: str) -> None:
        """Close at once; what was read and not handled is dropped."""
        log.debug("connection closed", extra={"why": why, "pid": self.peer.pid})
        self._ended = True
        self._buffer.clear()
        self._crowd.leave(self)
        self._stop_gathering()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def end(self) -> None:
        """Abort, and wait for the answer in progress."""
        self.abort("the listener ends")
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)
        self._connections.discard(self)


class LocalClient:
    """A node's side: connects when needed, and again after a failure.

    Parameters
    ----------
    on_lost
        Called when the connection is closed, by whichever side: what was asked over it is not answered any more.
    """

    def __init__(
        self, path: Path, on_message: Callable[[str], None], *, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._on_message = on_message
        self._on_lost = on_lost
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        """Two that connect at a time would each close the other's connection, with the answers that it waits for."""

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
                    async with self._connecting:
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
        try:
            with contextlib.suppress(ConnectionError, ValueError):
                while line := await reader.readline():
                    self._on_message(line.decode("ascii", "replace").rstrip("\n"))
            if self._writer is not None:
                self._writer.close()
        finally:
            self._on_lost()

    async def close(self) -> None:
        """Close the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
