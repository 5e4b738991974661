"""Server of the control socket: decode a request strictly, run one operation, answer."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from handshake.acceptor import Acceptor
from handshake.sockets import Peer
from master.control.key import KEY_NAME, ControlKey
from master.control.listener import Prove, UnixListener
from master.control.protocol import MAX_REQUEST_BYTES, Answer, Request
from master.errors import ExitCode, FleetError
from master.operations import OPERATIONS
from master.operations.operation import Needs, Operation, Operations
from master.services.container import Services
from master.services.core.actors import Actor, unix_actor

T = TypeVar("T")

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 30.0
"""How long the caller of a command may leave its answer unread."""
STALLED_S = 10.0
"""A follower that has left its events unread for this long makes room for another."""
MAX_CONNECTIONS = 64


class TooManyCallers(FleetError):
    """As many callers follow what happens as may."""

    code: ClassVar[str] = "too_many_callers"


class ControlServer:
    """Serve the control socket; a method is the name of an operation.

    Parameters
    ----------
    operations
        Runs the operations.
    key
        What a caller has to show; None for nothing.
    max_connections
        Half of them may follow what happens: the rest is kept for commands.
    """

    def __init__(
        self,
        path: Path,
        operations: Operations[Services],
        key: ControlKey | None = None,
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._operations = operations
        self._key = key
        self._max_followers = max(1, max_connections // 2)
        self._followers: set[_Caller] = set()
        self._listener = UnixListener(
            path,
            self._converse,
            admits=lambda peer: peer.user_id in (0, os.geteuid()),
            limit=MAX_REQUEST_BYTES,
            max_connections=max_connections,
            refusal=_line(_too_many(f"as many callers as may ({max_connections}) are connected already")),
        )

    @property
    def acceptor(self) -> Acceptor:
        """What accepts the connections."""
        return self._listener.acceptor

    async def start(self) -> None:
        """Start listening.

        Raises
        ------
        OSError
            The socket cannot be created.
        """
        await self._listener.start()

    async def close(self) -> None:
        """Stop listening and close the connections."""
        await self._listener.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer, prove: Prove
    ) -> None:
        caller = _Caller(reader, writer, unix_actor(peer.user_id), peer.pid, prove)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line = await reader.readline()
            answer = await self._answer(line, caller)
        except ValueError:
            answer = _error("bad_request", "the request line is too long", ExitCode.USAGE)
        await caller.send(answer)

    async def _answer(self, line: bytes, caller: _Caller) -> Answer:
        try:
            request = msgspec.json.decode(line, type=Request)
            if self._key is not None and not self._key.admits(request.key, caller.pid):
                hint = (
                    f"{KEY_NAME} beside the socket has it; isolated nodes cannot read that. If it was lost, try again"
                )
                return _error("no_key", "the caller did not show the control socket's key", ExitCode.REFUSED, hint)
            operation = _find(request.method)
            if operation is None:
                return _error("unknown_method", f"unknown method {request.method[:40]!r}", ExitCode.USAGE)
            parameters = msgspec.convert(request.params, operation.parameters)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return _error("bad_request", str(error)[:300], ExitCode.USAGE)
        try:
            data = await (self._follow if operation.follows else self._carry_out)(operation, parameters, caller)
            return Answer(kind="result", data=data)
        except FleetError as error:
            return _error(error.code, error.message, error.exit_code, error.hint)
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            log.exception("control method failed", extra={"method": request.method})
            return _error("internal_error", f"{type(error).__name__} in the master", ExitCode.FAILED, "see its log")

    async def _carry_out(self, operation: Operation[Any, T, Any], parameters: Any, caller: _Caller) -> T:
        """Run an operation to its end, even if its caller hangs up or stops reading."""
        caller.prove()
        return await self._operations.run(operation, caller.actor, parameters, tell=caller.tell_while_there)

    async def _follow(self, operation: Operation[Any, T, Any], parameters: Any, caller: _Caller) -> T:
        """Run an operation for as long as its caller stays.

        Raises
        ------
        TooManyCallers
        """
        if len(self._followers) >= self._max_followers:
            self._make_room()
        self._followers.add(caller)
        caller.prove()
        try:
            running = self._operations.run(operation, caller.actor, parameters, tell=caller.tell)
            return await caller.until_hang_up(running)
        finally:
            self._followers.discard(caller)

    def _make_room(self) -> None:
        """Hang up on the follower that has not read for the longest time."""
        stalled = max(self._followers, key=lambda follower: follower.stalled_s)
        if stalled.stalled_s < STALLED_S:
            raise TooManyCallers(
                f"{len(self._followers)} callers follow the fleet's events already", hint="end one of them"
            )
        self._followers.discard(stalled)
        stalled.hang_up()


class _Caller:
    """The other end of a connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, actor: Actor, pid: int, prove: Prove
    ) -> None:
        self.actor = actor
        self.pid = pid
        self.prove = prove
        self._reader = reader
        self._writer = writer
        self._is_there = True
        self._unread_since: float | None = None

    @property
    def stalled_s(self) -> float:
        """For how long the caller has not read what was sent."""
        return 0.0 if self._unread_since is None else time.monotonic() - self._unread_since

    async def send(self, answer: Answer) -> None:
        """Send one line, and wait until the caller reads.

        Raises
        ------
        ConnectionError, TimeoutError
            The caller is gone, or does not read.
        """
        self._writer.write(_line(answer))
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self._writer.drain()

    async def tell(self, data: Any) -> None:
        """Send an event, however long that takes; who follows may be paused.

        Raises
        ------
        ConnectionError
        """
        self._writer.write(_line(Answer(kind="event", data=data)))
        self._unread_since = time.monotonic()
        await self._writer.drain()
        self._unread_since = None

    async def tell_while_there(self, data: Any) -> None:
        """Send an event of a command; who does not read it misses this and all others, and the command goes on."""
        if not self._is_there:
            return
        try:
            await self.send(Answer(kind="event", data=data))
        except (ConnectionError, TimeoutError) as error:
            self._is_there = False
            log.info("a caller left before its command had ended", extra={"why": type(error).__name__})

    def hang_up(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()

    async def until_hang_up(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run an operation until it ends, or the caller hangs up: without events no write would notice that.

        Raises
        ------
        ConnectionResetError
            The caller has hung up; the operation was cancelled.
        """
        running, hung_up = asyncio.create_task(operation), asyncio.create_task(self._hung_up())
        try:
            await asyncio.wait((running, hung_up), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise ConnectionResetError("the caller has hung up")
            return running.result()
        finally:
            running.cancel()
            hung_up.cancel()
            await asyncio.gather(running, hung_up, return_exceptions=True)

    async def _hung_up(self) -> None:
        """Wait for the end of the connection; what a caller sends after its request is ignored."""
        while await self._reader.read(MAX_REQUEST_BYTES):
            pass


def _find(method: str) -> Operation[Any, Any, Any] | None:
    """Return the operation of that name, if a running master can run it."""
    operation = OPERATIONS.get(method)
    return None if operation is None or operation.needs is Needs.STOPPED else operation


def _too_many(message: str) -> Answer:
    return _error("too_many_callers", message, ExitCode.FAILED, "try again; `fleet doctor` looks closer")


def _line(answer: Answer) -> bytes:
    return msgspec.json.encode(answer) + b"\n"


def _error(code: str, message: str, exit_code: ExitCode, hint: str = "") -> Answer:
    return Answer(kind="error", code=code, message=message, hint=hint, exit_code=exit_code)
