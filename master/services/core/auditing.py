"""Every operator action is one row of the append-only audit log, whichever face it came through."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.records import Outcome
from master.ledger.writer.entries import Audited, apply
from master.security.derivation import MasterSecret
from master.services.core.actors import Actor, Operators
from master.services.core.errors import NotAuthorised
from master.supervision.clock import Clock

log = logging.getLogger(__name__)


def audit_chain_of(secret: MasterSecret) -> AuditChain:
    """Return the chain that a master's audit log hangs in."""
    return AuditChain(secret.derive("audit"))


@dataclass(slots=True)
class AuditEntry:
    """What will be written about the action under way; the action fills it in as it learns more."""

    action: str
    node_id: str | None = None
    detail: str = ""
    written: bool = False


class Auditor:
    """Authorise an action, and write down how it ended.

    Parameters
    ----------
    ledger, chain, clock
        Where rows go, the HMAC chain they hang in, and what time it is.
    operators
        Who may act.
    """

    def __init__(self, ledger: Ledger, chain: AuditChain, clock: Clock, operators: Operators) -> None:
        self._ledger = ledger
        self._chain = chain
        self._clock = clock
        self._operators = operators

    @asynccontextmanager
    async def action(self, actor: Actor, name: str, *, node_id: str | None = None) -> AsyncIterator[AuditEntry]:
        """Run the block as ``actor``; one row says how it ended, refusals and failures included.

        Raises
        ------
        NotAuthorised
            Before the block is entered; that is audited too.
        """
        entry = AuditEntry(name, node_id)
        try:
            self._operators.require(actor, name)
            yield entry
        except NotAuthorised as error:
            await self._write(actor, entry, Outcome.REFUSED, error.code)
            raise
        except FleetError as error:
            await self._write(actor, entry, Outcome.FAILED, f"{error.code}: {error.message}")
            raise
        except BaseException as error:
            # Cancelled or a bug: the row must say that the action did not end well.
            await self._write(actor, entry, Outcome.FAILED, type(error).__name__)
            raise
        else:
            if not entry.written:
                await self._write(actor, entry, Outcome.DONE, entry.detail)

    def append(
        self, connection: Connection, actor: Actor, entry: AuditEntry, *, outcome: Outcome = Outcome.DONE
    ) -> None:
        """Write the row inside a transaction of the caller's, so that action and row are one."""
        apply(connection, [self._row(actor, entry, outcome, entry.detail)], self._chain)
        entry.written = True

    async def _write(self, actor: Actor, entry: AuditEntry, outcome: Outcome, detail: str) -> None:
        await self._ledger.write_durable(self._row(actor, entry, outcome, detail))

    def _row(self, actor: Actor, entry: AuditEntry, outcome: Outcome, detail: str) -> Audited:
        return Audited(
            at=self._clock.now(),
            actor=actor.label,
            face=actor.face,
            action=entry.action,
            node_id=entry.node_id,
            outcome=outcome,
            detail=detail,
        )
