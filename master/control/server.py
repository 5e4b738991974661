"""The master's end of the operator's socket: decode strictly, call one service, answer."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from handshake.redaction import Secret
from handshake.sockets import Peer
from master.control.listener import UnixListener
from master.control.protocol import (
    MAX_REQUEST_BYTES,
    Answer,
    AuditParams,
    BackupParams,
    DuplicateParams,
    LedgerParams,
    NamesParams,
    NodeParams,
    NoParams,
    RegisterParams,
    Request,
    RollParams,
    ShutdownParams,
    StatusParams,
)
from master.errors import ExitCode, FleetError
from master.services.container import Services
from master.services.core.actors import Actor, unix_actor
from master.services.core.views import FleetEvent
from master.services.fleet.fleet import Verb
from master.services.onboarding.saga import CloneRequest, RegisterRequest
from master.services.upkeep.ledger_admin import check_backup_path

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 64

Tell = Callable[[Any], Awaitable[None]]
"""Sends one event line to the caller."""


@dataclass(frozen=True, slots=True)
class _Method:
    params: type[msgspec.Struct]
    call: Callable[[Actor, Any, Tell], Awaitable[Any]]


class ControlServer:
    """Serve the control socket.

    Parameters
    ----------
    shut_down
        Begins the master's end; told whether to stop the nodes too.
    begin_anew
        Has the master begin anew, with its settings read again; the nodes live on.
    """

    def __init__(
        self,
        path: Path,
        services: Services,
        shut_down: Callable[[bool], None],
        begin_anew: Callable[[], None],
    ) -> None:
        self._services = services
        self._shut_down = shut_down
        self._begin_anew = begin_anew
        self._listener = UnixListener(
            path,
            self._converse,
            admits=lambda peer: peer.user_id in (0, os.geteuid()),
            limit=MAX_REQUEST_BYTES,
            max_connections=MAX_CONNECTIONS,
        )
        self._methods: dict[str, _Method] = {
            "ping": _Method(NoParams, self._ping),
            "status": _Method(StatusParams, self._status),
            "start": _Method(NamesParams, self._verb("start")),
            "stop": _Method(NamesParams, self._verb("stop")),
            "restart": _Method(NamesParams, self._verb("restart")),
            "kill": _Method(NamesParams, self._verb("kill")),
            "release": _Method(NamesParams, self._verb("release")),
            "clear": _Method(NamesParams, self._verb("clear")),
            "roll": _Method(RollParams, self._roll),
            "history": _Method(NodeParams, self._history),
            "logs": _Method(NamesParams, self._logs),
            "audit": _Method(AuditParams, self._audit),
            "audit_verify": _Method(NoParams, self._audit_verify),
            "ledger_status": _Method(LedgerParams, self._ledger_status),
            "ledger_verify": _Method(NoParams, self._ledger_verify),
            "backup": _Method(BackupParams, self._backup),
            "register": _Method(RegisterParams, self._register),
            "dup": _Method(DuplicateParams, self._duplicate),
            "events": _Method(NoParams, self._events),
            "rotate_secret": _Method(NoParams, self._rotate_secret),
            "shutdown": _Method(ShutdownParams, self._shutdown),
        }

    async def start(self) -> None:
        """Begin to listen.

        Raises
        ------
        OSError
            The socket cannot be made.
        """
        await self._listener.start()

    async def close(self) -> None:
        """Stop listening and end the connections."""
        await self._listener.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        async def send(answer: Answer) -> None:
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()

        async def tell(data: Any) -> None:
            await send(Answer(kind="event", data=data))

        try:
            line = await asyncio.wait_for(reader.readline(), REQUEST_TIMEOUT_S)
            answer = await self._answer(line, unix_actor(peer.user_id), tell)
        except ValueError:
            answer = _error("bad_request", "the request line is too long", ExitCode.USAGE)
        await send(answer)

    async def _answer(self, line: bytes, actor: Actor, tell: Tell) -> Answer:
        try:
            request = msgspec.json.decode(line, type=Request)
            method = self._methods.get(request.method)
            if method is None:
                return _error("unknown_method", f"unknown method {request.method[:40]!r}", ExitCode.USAGE)
            params = msgspec.convert(request.params, method.params)
        except msgspec.MsgspecError as error:
            return _error("bad_request", str(error), ExitCode.USAGE)
        try:
            return Answer(kind="result", data=await method.call(actor, params, tell))
        except FleetError as error:
            return _error(error.code, error.message, error.exit_code, error.hint)
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            log.exception("control method failed", extra={"method": request.method})
            return _error("internal_error", f"{type(error).__name__} in the master", ExitCode.FAILED, "see its log")

    async def _ping(self, _actor: Actor, _params: NoParams, _tell: Tell) -> Any:
        return self._services.fleet.master_status()

    async def _status(self, _actor: Actor, params: StatusParams, _tell: Tell) -> Any:
        return await self._services.fleet.status(strays=params.strays)

    def _verb(self, verb: Verb) -> Callable[[Actor, NamesParams, Tell], Awaitable[Any]]:
        async def call(actor: Actor, params: NamesParams, tell: Tell) -> Any:
            chosen = self._services.fleet.choose(params.names, everyone=params.all)
            results = []
            async for result in self._services.fleet.act(actor, verb, chosen):
                results.append(result)
                await tell(result)
            return results

        return call

    async def _roll(self, actor: Actor, params: RollParams, tell: Tell) -> Any:
        fleet = self._services.fleet
        chosen = fleet.choose(params.names, everyone=params.all)
        results = []
        async for result in fleet.roll(actor, chosen, width=params.width):
            results.append(result)
            await tell(result)
        return results

    async def _history(self, _actor: Actor, params: NodeParams, _tell: Tell) -> Any:
        return await self._services.fleet.history(params.name)

    async def _audit(self, _actor: Actor, params: AuditParams, _tell: Tell) -> Any:
        node_id = self._services.fleet.find(params.node).id if params.node else None
        return await self._services.ledger_admin.audit(limit=params.limit, node_id=node_id, action=params.action)

    async def _audit_verify(self, _actor: Actor, _params: NoParams, _tell: Tell) -> Any:
        return await self._services.ledger_admin.verify_audit()

    async def _ledger_status(self, _actor: Actor, params: LedgerParams, _tell: Tell) -> Any:
        return await self._services.ledger_admin.status(exact=params.exact)

    async def _ledger_verify(self, _actor: Actor, _params: NoParams, _tell: Tell) -> Any:
        return await self._services.ledger_admin.verify()

    async def _backup(self, actor: Actor, params: BackupParams, _tell: Tell) -> Any:
        async with self._services.auditor.action(actor, "backup") as entry:
            made = await self._services.ledger_admin.back_up(check_backup_path(params.path))
            entry.detail = made.path
            return made

    async def _logs(self, _actor: Actor, params: NamesParams, _tell: Tell) -> Any:
        fleet = self._services.fleet
        return fleet.log_paths(fleet.choose(params.names, everyone=params.all))

    async def _register(self, actor: Actor, params: RegisterParams, tell: Tell) -> Any:
        if not params.folder:
            return await self._clone(actor, params, "", tell)
        request = RegisterRequest(
            name=params.name,
            token=Secret(params.token),
            folder=params.folder,
            entry=params.entry,
            readiness=params.readiness,
            link=params.link,
            token_env=params.token_env,
            tier=params.tier,
            tags=params.tags,
            start=params.start,
        )
        return await self._with_progress(
            lambda progress: self._services.onboarding.register(actor, request, progress), params.name, tell
        )

    async def _duplicate(self, actor: Actor, params: DuplicateParams, tell: Tell) -> Any:
        return await self._clone(actor, params, params.source, tell)

    async def _clone(self, actor: Actor, params: RegisterParams | DuplicateParams, source: str, tell: Tell) -> Any:
        request = CloneRequest(
            name=params.name,
            token=Secret(params.token),
            source=source,
            tier=params.tier,
            tags=params.tags,
            start=params.start,
        )
        return await self._with_progress(
            lambda progress: self._services.onboarding.clone(actor, request, progress), params.name, tell
        )

    async def _with_progress(
        self, begin: Callable[[Callable[[str], None]], Awaitable[Any]], node: str, tell: Tell
    ) -> Any:
        """Run a saga and send each of its steps as an event."""
        steps: asyncio.Queue[str] = asyncio.Queue()

        async def forward() -> None:
            while True:
                step = await steps.get()
                at = self._services.clock.now().timestamp()
                await tell(FleetEvent(at=at, kind="step", node=node, detail=step))

        forwarding = asyncio.create_task(forward())
        try:
            return await begin(steps.put_nowait)
        finally:
            forwarding.cancel()
            await asyncio.gather(forwarding, return_exceptions=True)

    async def _events(self, _actor: Actor, _params: NoParams, tell: Tell) -> Any:
        with self._services.announcer.events.subscribe() as events:
            async for event in events:
                await tell(event)

    async def _rotate_secret(self, actor: Actor, _params: NoParams, _tell: Tell) -> Any:
        rotated = await self._services.rotation.rotate(actor)
        self._begin_anew()
        return rotated

    async def _shutdown(self, actor: Actor, params: ShutdownParams, _tell: Tell) -> Any:
        async with self._services.auditor.action(actor, "shutdown") as entry:
            entry.detail = "with its nodes" if params.stop_nodes else "its nodes run on"
        self._shut_down(params.stop_nodes)


def _error(code: str, message: str, exit_code: ExitCode, hint: str = "") -> Answer:
    return Answer(kind="error", code=code, message=message, hint=hint, exit_code=exit_code)
