"""The audit log: every action of an operator is one row, and so is every refusal."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from master.bus import EventBus
from master.errors import FleetError
from master.events import ActionAudited
from master.ledger.database import Ledger
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.records import Outcome
from master.ledger.writer.entries import Audited, apply
from master.security.derivation import MasterSecret
from master.services.core.actors import Actor
from master.services.core.errors import NotAuthorised
from master.services.core.permissions import Permission, Permissions
from master.supervision.clock import Clock

log = logging.getLogger(__name__)


def audit_chain_of(secret: MasterSecret) -> AuditChain:
    """Return the chain that a master's audit log hangs in."""
    return AuditChain(secret.derive("audit"))


@dataclass(slots=True)
class AuditEntry:
    """What will be written about the action under way; the action fills it in as it learns more.

    Parameters
    ----------
    actor
        Who acts.
    action
        The operation's name in the log.
    """

    actor: Actor
    action: str
    chain: AuditChain
    clock: Clock
    node_id: str | None = None
    detail: str = ""
    written: bool = False
    """Set by an action that wrote the row inside a transaction of its own."""

    def append(self, connection: Connection) -> None:
        """Write the row inside the caller's transaction, so that action and row are committed together."""
        apply(connection, [self.row(Outcome.DONE, self.detail, self.clock.now())], self.chain)
        self.written = True

    def row(self, outcome: Outcome, detail: str, at: datetime) -> Audited:
        """Return the row."""
        return Audited(
            at=at,
            actor=self.actor.label,
            face=self.actor.face,
            action=self.action,
            node_id=self.node_id,
            outcome=outcome,
            detail=detail,
        )


class Auditor:
    """Refuse who may not, and write down what was done and how it ended.

    Parameters
    ----------
    ledger, chain, clock
        Where rows go, the HMAC chain they hang in, and what time it is.
    permissions
        Who may do what.
    bus
        Hears of each row.
    """

    def __init__(
        self, ledger: Ledger, chain: AuditChain, clock: Clock, permissions: Permissions, bus: EventBus
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._chain = chain
        self._clock = clock
        self._permissions = permissions

    async def authorise(self, actor: Actor, permission: Permission, action: str) -> None:
        """Let ``actor`` pass, or write his refusal down.

        Raises
        ------
        NotAuthorised
            He has not the permission that ``action`` needs.
        """
        try:
            self._permissions.require(actor, permission, action)
        except NotAuthorised as error:
            await self._write(self._entry(actor, action), Outcome.REFUSED, error.code)
            raise

    @asynccontextmanager
    async def action(self, actor: Actor, name: str, *, node_id: str | None = None) -> AsyncIterator[AuditEntry]:
        """Run the block as ``actor``; one row says how it ended, also when it failed or was cancelled."""
        entry = self._entry(actor, name, node_id)
        try:
            yield entry
        except FleetError as error:
            outcome = Outcome.REFUSED if isinstance(error, NotAuthorised) else Outcome.FAILED
            await self._write(entry, outcome, f"{error.code}: {error.message}")
            raise
        except BaseException as error:
            # Cancelled or a bug: the row must say that the action did not end well.
            await self._write(entry, Outcome.FAILED, type(error).__name__)
            raise
        else:
            if entry.written:
                self._announce(entry, Outcome.DONE, entry.detail)
            else:
                await self._write(entry, Outcome.DONE, entry.detail)

    def _entry(self, actor: Actor, action: str, node_id: str | None = None) -> AuditEntry:
        return AuditEntry(actor, action[:40], self._chain, self._clock, node_id)

    async def _write(self, entry: AuditEntry, outcome: Outcome, detail: str) -> None:
        await self._ledger.write_durable(entry.row(outcome, detail, self._clock.now()))
        self._announce(entry, outcome, detail)

    def _announce(self, entry: AuditEntry, outcome: Outcome, detail: str) -> None:
        self._bus.publish(
            ActionAudited(
                at=self._clock.now(),
                actor=entry.actor.label,
                action=entry.action,
                outcome=outcome.value,
                node_id=entry.node_id,
                detail=detail,
            )
        )
