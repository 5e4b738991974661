"""The operation: one entry in the table of everything that the master can do.

A face (command line, Discord, socket, later the web) looks up the entry, passes parameters, and renders the result or
the error. :class:`Operations` authorises and audits, once for all faces. Imports nothing heavy: the command line loads
the table too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from master.services.core.errors import MasterEnding
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.ledger.rows.records import Node
    from master.services.container import LedgerServices
    from master.services.core.actors import Actor
    from master.services.core.auditing import AuditEntry

log = logging.getLogger(__name__)

END_TIMEOUT_S = 10.0
"""How long an ending master waits for operations that it cut off."""

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R")
S = TypeVar("S")
L = TypeVar("L", bound="LedgerServices")

Tell = Callable[[Any], Awaitable[None]]
"""Sends an event of a running operation to the caller: a step, or the result for one node."""


class Audit(Enum):
    """How an operation is audited."""

    NOTHING = "nothing"
    """Not audited: read-only."""
    ONE_ROW = "one row"
    EACH_NODE = "each node"
    """The handler writes a row for each node: :func:`on_node`."""


class Needs(Enum):
    """What an operation requires."""

    MASTER = "master"
    """A running master."""
    LEDGER = "ledger"
    """The ledger: through the master if one runs, otherwise directly."""
    STOPPED = "stopped"
    """No running master: it replaces or migrates the whole ledger."""


@dataclass(slots=True)
class Call(Generic[S]):
    """A running operation.

    Parameters
    ----------
    services
        The services that the handler uses.
    actor
        The caller.
    operation
        The operation.
    tell
        Sends events to the caller.
    """

    services: S
    actor: Actor
    operation: Operation[Any, Any, S]
    tell: Tell
    afterwards: list[Callable[[], None]] = field(default_factory=list, init=False)
    """Called after the operation has succeeded and was audited, without an await before its result is returned."""
    _entry: AuditEntry | None = field(default=None, init=False)

    @property
    def entry(self) -> AuditEntry:
        """The audit row, to be filled in by the handler.

        Raises
        ------
        RuntimeError
            The operation does not write one row.
        """
        if self._entry is None:
            raise RuntimeError(f"{self.operation.name} does not write one audit row")
        return self._entry


Handler = Callable[[Call[S], P], Awaitable[R]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[P, R, S]):
    """One entry of the table.

    Parameters
    ----------
    name
        Method name on the control socket; never changes.
    summary
        One line for people: the first line of the handler's docstring.
    parameters, result
        Types of parameters and result; both are validated on a socket.
    permission
        Permission that the caller needs.
    handler
        Runs it by calling services; contains no business logic.
    destructive
        Whether a face asks for confirmation.
    audit
        How it is audited.
        audit_name
        Its name in the audit log.
    needs
        What it requires.
    follows
        Whether it only follows what happens, for as long as its caller stays; it is cancelled when the caller hangs up.
    """

    name: str
    summary: str
    parameters: type[P]
    result: type[R] | Any
    permission: Permission
    handler: Handler[S, P, R]
    destructive: bool = False
    audit: Audit = Audit.NOTHING
    audit_name: str = ""
    needs: Needs = Needs.MASTER
    follows: bool = False


def operation(
    name: str,
    *,
    result: Any,
    permission: Permission,
    destructive: bool = False,
    audit: Audit = Audit.NOTHING,
    audit_name: str = "",
    needs: Needs = Needs.MASTER,
    follows: bool = False,
    parameters: type[P],
) -> Callable[[Handler[S, P, R]], Operation[P, R, S]]:
    """Turn a handler into an :class:`Operation`, which describes the arguments."""

    def make(handler: Handler[S, P, R]) -> Operation[P, R, S]:
        return Operation(
            name=name,
            summary=(handler.__doc__ or "").strip().partition("\n")[0],
            parameters=parameters,
            result=result,
            permission=permission,
            handler=handler,
            destructive=destructive,
            audit=audit,
            audit_name=audit_name or name,
            needs=needs,
            follows=follows,
        )

    return make


async def _ignore_event(_data: Any) -> None:
    """Ignore events, for callers that only need the result."""


class Operations(Generic[L]):
    """Run operations: authorise, audit, call the handler.

    Parameters
    ----------
    services
        The services that handlers use: a master's :class:`Services`, or :class:`LedgerServices` without one.
    """

    def __init__(self, services: L) -> None:
        self.services = services
        self._acting: dict[asyncio.Task[Any], str] = {}
        self._ended = asyncio.Event()

    async def authorise(self, operation: Operation[Any, Any, Any], actor: Actor) -> None:
        """Check that ``actor`` may run ``operation``; a refusal is audited. Faces call it before they show a form.

        Raises
        ------
        NotAuthorised
        """
        await self.services.auditor.authorise(actor, operation.permission, operation.audit_name)

    async def run(
        self, operation: Operation[P, R, Any], actor: Actor, parameters: P, *, tell: Tell = _ignore_event
    ) -> R:
        """Run an operation.

        Raises
        ------
        NotAuthorised
            Nothing was done; the refusal was audited.
        MasterEnding
            The master ends; what the operation did until then is audited.
        FleetError
            What the handler raises.
        """
        await self.authorise(operation, actor)
        call = Call(self.services, actor, operation, tell)
        if operation.permission is Permission.VIEW:
            return await self._carry_out(call, operation, parameters)
        return await self._carry_out_unless_ended(call, operation, parameters)

    def running(self) -> list[str]:
        """Return the operations that act now, and for whom."""
        return list(self._acting.values())

    async def end(self) -> None:
        """Refuse every operation that acts from now on; cut off those that run, and wait until they are audited.

        Whoever runs it, a connection or discord.py, outlives it, and could otherwise write when the ledger is closed.
        """
        self._ended.set()
        running = set(self._acting)
        for task in running:
            task.cancel()
        if running:
            _, stuck = await asyncio.wait(running, timeout=END_TIMEOUT_S)
            if stuck:
                log.error("operations did not end in time", extra={"count": len(stuck)})

    async def _carry_out_unless_ended(self, call: Call[Any], operation: Operation[P, R, Any], parameters: P) -> R:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an operation runs in a task")
        if self._ended.is_set():
            raise MasterEnding(
                f"the master is ending: {operation.name} was not begun", hint="try again when it runs again"
            )
        self._acting[task] = f"{operation.name} ({call.actor.label})"
        try:
            return await self._carry_out(call, operation, parameters)
        except asyncio.CancelledError:
            # Only end() is answered with an error; whoever else cancels gets the cancellation.
            if not self._ended.is_set() or task.uncancel() > 0:
                raise
            raise MasterEnding(
                f"the master is ending: {operation.name} was cut off", hint="`fleet status` shows what was done"
            ) from None
        finally:
            self._acting.pop(task, None)

    async def _carry_out(self, call: Call[Any], operation: Operation[P, R, Any], parameters: P) -> R:
        if operation.audit is Audit.ONE_ROW:
            async with self.services.auditor.action(call.actor, operation.audit_name) as entry:
                call._entry = entry
                result = await operation.handler(call, parameters)
        else:
            result = await operation.handler(call, parameters)
        for act in call.afterwards:
            act()
        return result


@asynccontextmanager
async def on_node(call: Call[L], node: Node) -> AsyncIterator[AuditEntry]:
    """Run the block as an audited action on one node, with its own row in the audit log."""
    name = call.operation.audit_name
    async with call.services.auditor.action(call.actor, name, node_id=node.id) as entry:
        entry.detail = node.name
        yield entry
