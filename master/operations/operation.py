"""What an operation is: one entry of the table of everything that the master can be asked to do.

A face (command line, Discord, socket, later the web) finds the entry, gives parameters, and renders the result or the
error. Authorising and auditing happen in :class:`Operations`, once for all faces. Imports nothing heavy: the command
line reads the table too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.ledger.rows.records import Node
    from master.services.container import LedgerServices
    from master.services.core.actors import Actor
    from master.services.core.auditing import AuditEntry

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R")
S = TypeVar("S")
L = TypeVar("L", bound="LedgerServices")

Tell = Callable[[Any], Awaitable[None]]
"""Sends one event about the operation under way to the caller: a step, or the result for one node."""


class Audit(Enum):
    """What an operation leaves in the audit log."""

    NOTHING = "nothing"
    """It only looks."""
    ONE_ROW = "one row"
    EACH_NODE = "each node"
    """The handler writes a row for each node: :func:`on_node`."""


class Needs(Enum):
    """What must be there for an operation."""

    MASTER = "master"
    """A running master."""
    LEDGER = "ledger"
    """The ledger: through the master when one runs, and without it else."""
    STOPPED = "stopped"
    """No master: it replaces or migrates the ledger as a whole."""


@dataclass(slots=True)
class Call(Generic[S]):
    """One operation under way.

    Parameters
    ----------
    services
        What the handler works with.
    actor
        Who asks.
    operation
        What is asked for.
    tell
        Tells the caller what happens meanwhile.
    """

    services: S
    actor: Actor
    operation: Operation[Any, Any, S]
    tell: Tell
    afterwards: list[Callable[[], None]] = field(default_factory=list, init=False)
    """Called once the operation has succeeded and is audited, in the step in which its result is returned."""
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
        Its method on the control socket; never changes.
    summary
        One line for people: the first line of the handler's docstring.
    parameters, result
        What it takes and returns; both are checked where they cross a socket.
    permission
        What its caller must have.
    handler
        Does it. Calls services, and decides nothing that they should.
    destructive
        A face asks before it.
    audit
        What it leaves in the audit log.
    audit_name
        Its word there.
    needs
        What must be there.
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


def operation(
    name: str,
    *,
    result: Any,
    permission: Permission,
    destructive: bool = False,
    audit: Audit = Audit.NOTHING,
    audit_name: str = "",
    needs: Needs = Needs.MASTER,
    parameters: type[P],
) -> Callable[[Handler[S, P, R]], Operation[P, R, S]]:
    """Make a handler an entry of the table; :class:`Operation` describes the arguments."""

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
        )

    return make


async def _tell_nobody(_data: Any) -> None:
    """For a caller who wants the result alone."""


class Operations(Generic[L]):
    """Carry out operations: authorise, audit, call the handler.

    Parameters
    ----------
    services
        What handlers work with: a master's :class:`Services`, or :class:`LedgerServices` without one.
    """

    def __init__(self, services: L) -> None:
        self.services = services

    async def authorise(self, operation: Operation[Any, Any, Any], actor: Actor) -> None:
        """Let ``actor`` pass, or write his refusal down; for a face that asks before it shows a form.

        Raises
        ------
        NotAuthorised
        """
        await self.services.auditor.authorise(actor, operation.permission, operation.audit_name)

    async def run(
        self, operation: Operation[P, R, Any], actor: Actor, parameters: P, *, tell: Tell = _tell_nobody
    ) -> R:
        """Carry an operation out.

        Raises
        ------
        NotAuthorised
            Nothing was done; the refusal is in the audit log.
        FleetError
            What the handler raises.
        """
        await self.authorise(operation, actor)
        call = Call(self.services, actor, operation, tell)
        if operation.audit is Audit.ONE_ROW:
            async with self.services.auditor.action(actor, operation.audit_name) as entry:
                call._entry = entry
                result = await operation.handler(call, parameters)
        else:
            result = await operation.handler(call, parameters)
        for act in call.afterwards:
            act()
        return result


@asynccontextmanager
async def on_node(call: Call[L], node: Node) -> AsyncIterator[AuditEntry]:
    """Do the block's work on one node, as a row of its own in the audit log."""
    name = call.operation.audit_name
    async with call.services.auditor.action(call.actor, name, node_id=node.id) as entry:
        entry.detail = node.name
        yield entry
