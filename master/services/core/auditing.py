"""The audit log: one row for each operator action, and one for each refusal."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from master.bus import EventBus
from master.configuration.settings import Settings
from master.errors import FleetError
from master.events import ActionAudited
from master.ledger.database import Ledger
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.audit_head import HeadFile
from master.ledger.rows.records import Outcome
from master.ledger.writer.entries import Audited, apply
from master.services.core.actors import Actor
from master.services.core.errors import NotAuthorised
from master.services.core.keys import master_secret_of
from master.services.core.ledger_cache import read_older_head
from master.services.core.permissions import Permission, Permissions
from master.supervision.clock import Clock
from master.wording import encodable

log = logging.getLogger(__name__)


def audit_chain_of(settings: Settings) -> AuditChain:
    """Return the HMAC chain of a master's audit log, with the end that is remembered in the state folder."""
    key = master_secret_of(settings.identity).derive("audit")
    cache_path = settings.ledger_cache_path
    return AuditChain(key, HeadFile(settings.audit_head_path, key, older=lambda: read_older_head(cache_path)))


@dataclass(slots=True)
class AuditEntry:
    """The audit row of a running action; the action fills it in.

    Parameters
    ----------
    actor
        Who acts.
    action
        The operation's name in the audit log.
    """

    actor: Actor
    action: str
    chain: AuditChain
    clock: Clock
    node_id: str | None = None
    detail: str = ""
    unrecorded: bool = False
    """Set once the action ended, if its row waits in memory for room on the disk."""
    written: bool = False
    """Set by an action that wrote the row in its own transaction, once that is committed."""

    def append(self, connection: Connection) -> None:
        """Write the row in the caller's transaction: action and row are committed together, or neither is."""
        apply(connection, [self.row(Outcome.DONE, self.detail, self.clock.now())], self.chain)

    def row(self, outcome: Outcome, detail: str, at: datetime) -> Audited:
        """Return the row."""
        return Audited(
            at=at,
            actor=encodable(self.actor.label),
            face=self.actor.face,
            action=self.action,
            node_id=self.node_id,
            outcome=outcome,
            detail=encodable(detail),
        )


class Auditor:
    """Check permissions, and record each action with its outcome.

    Parameters
    ----------
    ledger, chain, clock
        Where rows are written, their HMAC chain, and the time.
    permissions
        Who may do what.
    bus
        Receives an event for each row.
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
        """Check that ``actor`` has ``permission``; a refusal is audited.

        Raises
        ------
        NotAuthorised
            The actor lacks the permission.
        """
        try:
            self._permissions.require(actor, permission, action)
        except NotAuthorised as error:
            await self._write(self._entry(actor, action), Outcome.REFUSED, error.code)
            raise

    @asynccontextmanager
    async def action(self, actor: Actor, name: str, *, node_id: str | None = None) -> AsyncIterator[AuditEntry]:
        """Run the block as ``actor``; writes one row with the outcome, also on failure and cancellation."""
        entry = self._entry(actor, name, node_id)
        try:
            yield entry
        except FleetError as error:
            outcome = Outcome.REFUSED if isinstance(error, NotAuthorised) else Outcome.FAILED
            await self._finish(entry, outcome, f"{error.code}: {error.message}")
            raise
        except BaseException as error:
            # Cancellation or a bug: the action must not be recorded as done.
            await self._finish(entry, Outcome.FAILED, type(error).__name__)
            raise
        else:
            await self._finish(entry, Outcome.DONE, entry.detail)

    def entry(self, actor: Actor, name: str) -> AuditEntry:
        """Return a row that the caller writes in a transaction of its own, and then announces."""
        return self._entry(actor, name)

    def announce(self, entry: AuditEntry) -> None:
        """Publish a row that was written with :meth:`AuditEntry.append`."""
        self._announce(entry, Outcome.DONE, entry.detail)

    async def _finish(self, entry: AuditEntry, outcome: Outcome, detail: str) -> None:
        """Write the row. One that the action wrote itself stands, even if something failed after it."""
        if not entry.written:
            await self._write(entry, outcome, detail)
            return
        if outcome is not Outcome.DONE:
            log.warning("an action failed after it was done", extra={"action": entry.action, "why": detail})
        self._announce(entry, Outcome.DONE, entry.detail)

    def _entry(self, actor: Actor, action: str, node_id: str | None = None) -> AuditEntry:
        return AuditEntry(actor, action[:40], self._chain, self._clock, node_id)

    async def _write(self, entry: AuditEntry, outcome: Outcome, detail: str) -> None:
        entry.unrecorded = not await self._ledger.write_durable(entry.row(outcome, detail, self._clock.now()))
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
