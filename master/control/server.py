"""Server of the control socket: decode a request strictly, run one operation, answer."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from handshake.sockets import Peer
from master.control.key import KEY_NAME, ControlKey
from master.control.listener import UnixListener
from master.control.protocol import MAX_REQUEST_BYTES, Answer, Request
from master.errors import ExitCode, FleetError
from master.operations import OPERATIONS
from master.operations.operation import Needs, Operation, Operations, Tell
from master.services.container import Services
from master.services.core.actors import Actor, unix_actor

T = TypeVar("T")

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 64


class ControlServer:
    """Serve the control socket; a method is the name of an operation.

    Parameters
    ----------
    operations
        Runs the operations.
    key
        What a caller has to show; None for nothing.
    """

    def __init__(self, path: Path, operations: Operations[Services], key: ControlKey | None = None) -> None:
        self._operations = operations
        self._key = key
        self._listener = UnixListener(
            path,
            self._converse,
            admits=lambda peer: peer.user_id in (0, os.geteuid()),
            limit=MAX_REQUEST_BYTES,
            max_connections=MAX_CONNECTIONS,
        )

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

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        async def send(answer: Answer) -> None:
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()

        async def tell(data: Any) -> None:
            await send(Answer(kind="event", data=data))

        try:
            line = await asyncio.wait_for(reader.readline(), REQUEST_TIMEOUT_S)
            answer = await self._answer(line, reader, unix_actor(peer.user_id), tell)
        except ValueError:
            answer = _error("bad_request", "the request line is too long", ExitCode.USAGE)
        await send(answer)

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, actor: Actor, tell: Tell) -> Answer:
        try:
            request = msgspec.json.decode(line, type=Request)
            if self._key is not None and not self._key.admits(request.key):
                hint = (
                    f"{KEY_NAME} beside the socket has it; isolated nodes cannot read that. If it was lost, try again"
                )
                return _error("no_key", "the caller did not show the control socket's key", ExitCode.REFUSED, hint)
            operation = _find(request.method)
            if operation is None:
                return _error("unknown_method", f"unknown method {request.method[:40]!r}", ExitCode.USAGE)
            parameters = msgspec.convert(request.params, operation.parameters)
        except msgspec.MsgspecError as error:
            return _error("bad_request", str(error), ExitCode.USAGE)
        running = self._operations.run(operation, actor, parameters, tell=tell)
        try:
            # What changes something is carried out even if the caller hangs up.
            data = await (_until_hang_up(reader, running) if operation.follows else running)
            return Answer(kind="result", data=data)
        except FleetError as error:
            return _error(error.code, error.message, error.exit_code, error.hint)
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            log.exception("control method failed", extra={"method": request.method})
            return _error("internal_error", f"{type(error).__name__} in the master", ExitCode.FAILED, "see its log")


async def _until_hang_up(reader: asyncio.StreamReader, operation: Coroutine[Any, Any, T]) -> T:
    """Run an operation until it ends, or its caller hangs up: without events no write would notice that.

    Raises
    ------
    ConnectionResetError
        The caller has hung up; the operation was cancelled.
    """
    running, hang_up = asyncio.create_task(operation), asyncio.create_task(_hang_up(reader))
    try:
        await asyncio.wait((running, hang_up), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ConnectionResetError("the caller has hung up")
        return running.result()
    finally:
        running.cancel()
        hang_up.cancel()
        await asyncio.gather(running, hang_up, return_exceptions=True)


async def _hang_up(reader: asyncio.StreamReader) -> None:
    """Wait for the end of the connection; what a caller sends after its request is ignored."""
    while await reader.read(MAX_REQUEST_BYTES):
        pass


def _find(method: str) -> Operation[Any, Any, Any] | None:
    """Return the operation of that name, if a running master can run it."""
    operation = OPERATIONS.get(method)
    return None if operation is None or operation.needs is Needs.STOPPED else operation


def _error(code: str, message: str, exit_code: ExitCode, hint: str = "") -> Answer:
    return Answer(kind="error", code=code, message=message, hint=hint, exit_code=exit_code)
