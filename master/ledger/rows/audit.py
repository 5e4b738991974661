"""Rows of ``audit_log``: append-only, each with an HMAC over itself and the row before it."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from master.ledger.rows.records import AuditRow, Outcome
from master.ledger.schema.tables import audit_log

_GENESIS = bytes(32)


@dataclass(frozen=True, slots=True)
class AuditFault:
    """The first row at which the chain breaks."""

    sequence: int
    problem: str


class AuditHead(msgspec.Struct, frozen=True):
    """The last row of the log, as remembered outside of the ledger."""

    sequence: int
    chain: bytes


class AuditChain:
    """Append and verify audit rows.

    The ledger's single writer keeps the sequence free of gaps, so a removed row is as visible as an altered one. A
    truncated log is detected by its head, which is also kept outside of the ledger.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._pending: AuditHead | None = None
        self.head: AuditHead | None = None
        """The last committed row."""
        self.on_head_change: Callable[[], None] = _ignore
        """Called on the writer's thread when the head changes."""

    def mark_committed(self) -> None:
        """Mark the pending head as committed; called by the ledger's writer."""
        if self._pending is not None:
            self.head, self._pending = self._pending, None
            self.on_head_change()

    def discard_pending(self) -> None:
        """Discard the pending head: its transaction was rolled back."""
        self._pending = None

    def append(
        self,
        connection: Connection,
        *,
        at: datetime,
        actor: str,
        face: str,
        action: str,
        node_id: str | None,
        outcome: Outcome,
        detail: str,
    ) -> int:
        """Add a row; returns its sequence number."""
        if not self._key:
            raise ValueError("an audit chain without a key proves nothing")
        last = connection.execute(
            select(audit_log.c.sequence, audit_log.c.chain).where(
                audit_log.c.sequence == select(func.max(audit_log.c.sequence)).scalar_subquery()
            )
        ).one_or_none()
        sequence, previous = (1, _GENESIS) if last is None else (last.sequence + 1, last.chain)
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        row = AuditRow(
            sequence=sequence,
            at=at,
            actor=actor[:120],
            face=face,
            action=action,
            node_id=node_id,
            outcome=outcome,
            detail=detail[:400],
            chain=b"",
        )
        link = self._link(row, previous)
        connection.execute(
            audit_log.insert().values(
                sequence=row.sequence,
                at=row.at,
                actor=row.actor,
                face=row.face,
                action=row.action,
                node_id=row.node_id,
                outcome=row.outcome.value,
                detail=row.detail,
                chain=link,
            )
        )
        self._pending = AuditHead(sequence, link)
        return sequence

    def verify(self, connection: Connection, head: AuditHead | None = None) -> AuditFault | None:
        """Check the whole log; returns the first fault, or None when every row is unaltered.

        Parameters
        ----------
        head
            The last row that was committed, as remembered outside of the ledger.
        """
        previous, expected = _GENESIS, 1
        for row in _rows(connection):
            if row.sequence != expected:
                return AuditFault(expected, f"row {expected} is missing")
            if not hmac.compare_digest(row.chain, self._link(row, previous)):
                return AuditFault(row.sequence, f"row {row.sequence} was altered")
            if head is not None and row.sequence == head.sequence and not hmac.compare_digest(row.chain, head.chain):
                return AuditFault(row.sequence, f"row {row.sequence} was replaced")
            previous, expected = row.chain, expected + 1
        if head is not None and head.sequence >= expected:
            return AuditFault(expected, f"the log ends before row {expected}, and there were {head.sequence}")
        return None

    def began_here(self, connection: Connection) -> bool | None:
        """Tell whether the first row was written with this key; None if there is no first row."""
        row = connection.execute(select(audit_log).where(audit_log.c.sequence == 1)).one_or_none()
        return None if row is None else hmac.compare_digest(row.chain, self._link(_record(row), _GENESIS))

    def length(self, connection: Connection) -> int:
        """Return the number of rows."""
        return connection.execute(select(func.count()).select_from(audit_log)).scalar_one()

    def _link(self, row: AuditRow, previous: bytes) -> bytes:
        content = msgspec.json.encode(
            [
                row.sequence,
                row.at.isoformat(timespec="milliseconds"),
                row.actor,
                row.face,
                row.action,
                row.node_id,
                row.outcome.value,
                row.detail,
            ]
        )
        return hmac.digest(self._key, previous + content, "sha256")


def _rows(connection: Connection) -> Iterator[AuditRow]:
    query = select(audit_log).order_by(audit_log.c.sequence).execution_options(yield_per=500)
    for row in connection.execute(query):
        yield _record(row)


def _record(row: Row[Any]) -> AuditRow:
    return AuditRow(
        sequence=row.sequence,
        at=row.at,
        actor=row.actor,
        face=row.face,
        action=row.action,
        node_id=row.node_id,
        outcome=Outcome(row.outcome),
        detail=row.detail,
        chain=row.chain,
    )


def search(connection: Connection, *, limit: int = 50, node_id: str | None = None, action: str = "") -> list[AuditRow]:
    """Return the latest rows, newest first, optionally of one node or one action only."""
    query = select(audit_log).order_by(audit_log.c.sequence.desc()).limit(limit)
    if node_id is not None:
        query = query.where(audit_log.c.node_id == node_id)
    if action:
        query = query.where(audit_log.c.action == action)
    return [_record(row) for row in connection.execute(query)]


def _ignore() -> None:
    """Do nothing: no callback is set."""
