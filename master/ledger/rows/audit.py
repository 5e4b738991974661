"""Rows of ``audit_log``: append-only, each with an HMAC over itself and the row before it.

A log that was cut at its end is a whole chain again, only shorter. So its last row is remembered outside of the ledger,
and compared before each row is added: what is missing is itself written down as a row, the alarm. It stands until an
operator acknowledges it, with one more row.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, Row, func, select

from master.ledger.rows.audit_head import AuditHead, HeadFile, Remembered
from master.ledger.rows.records import AuditRow, Outcome
from master.ledger.schema.tables import audit_log, nodes

ALARM_ACTION = "audit_alarm"
"""The action of a row that the master adds by itself, when the end of the log is not as it was remembered."""
ACKNOWLEDGE_ACTION = "audit_acknowledge"
_GENESIS = bytes(32)


@dataclass(frozen=True, slots=True)
class AuditFault:
    """The first row at which the chain breaks."""

    sequence: int
    problem: str


class AuditChain:
    """Append and verify audit rows.

    The ledger's single writer keeps the sequence free of gaps, so a removed row is as visible as an altered one.

    Parameters
    ----------
    key
        Empty for a ledger in which nothing is audited.
    head_file
        Remembers the log's end across restarts. None: only what this chain itself appended is known.
    """

    def __init__(self, key: bytes, head_file: HeadFile | None = None) -> None:
        self._key = key
        self._head_file = head_file
        self._pending: AuditHead | None = None
        self._pending_alarm = ""
        self._trouble = ""
        """Why there is no remembered head."""
        self.head: AuditHead | None = None
        """The last committed row."""
        self.on_alarm: Callable[[str], None] = _ignore
        """Called on the writer's thread with what is wrong with the end of the log, once that is on record."""

    @property
    def has_key(self) -> bool:
        """Whether the chain proves anything."""
        return bool(self._key)

    def open(self, connection: Connection) -> str:
        """Begin with a ledger: read the remembered head; returns what is wrong with the end of the log."""
        self._pending, self._pending_alarm = None, ""
        self._recall()
        if self.head is None and self._head_file is not None and _is_new(connection):
            self._set_head(AuditHead(0, _GENESIS))
        return self.find_cut(connection)

    def _recall(self) -> None:
        remembered = Remembered() if self._head_file is None else self._head_file.load()
        self.head, self._trouble = remembered.head, remembered.trouble

    def rebase(self, connection: Connection) -> AuditHead:
        """Take the log as it is, after an operator has replaced the ledger; returns the head that was remembered."""
        before, self._pending = self.head, None
        last = _last(connection)
        self._set_head(AuditHead(0, _GENESIS) if last is None else last)
        return before or AuditHead(0, _GENESIS)

    def mark_committed(self) -> None:
        """Mark the pending head as committed; called by the ledger's writer."""
        if self._pending is None:
            return
        alarm, self._pending_alarm = self._pending_alarm, ""
        head, self._pending = self._pending, None
        self._set_head(head)
        if alarm:
            self.on_alarm(alarm)

    def _set_head(self, head: AuditHead) -> None:
        self.head, self._trouble = head, ""
        if self._head_file is not None:
            self._head_file.save(head)

    def discard_pending(self) -> None:
        """Discard the pending head: its transaction was rolled back."""
        self._pending, self._pending_alarm = None, ""

    def find_cut(self, connection: Connection) -> str:
        """Compare the end of the log with the remembered head; returns what is wrong, empty if nothing is."""
        if self.head is None:
            if self._head_file is None:
                return ""
            last = _last(connection)
            upto = "which is empty" if last is None else f"after row {last.sequence}"
            return f"the end of the audit log, {upto}, is not checkable: {self._trouble}"
        return _compare_end(connection, self.head)

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
        """Add a row, after an alarm where the end of the log is not as it was remembered; returns its sequence."""
        if not self._key:
            raise ValueError("an audit chain without a key proves nothing")
        cut = self.find_cut(connection) if self._pending is None else ""
        last = self._pending or _last(connection) or AuditHead(0, _GENESIS)
        if cut:
            last = self._insert(connection, last, _alarm_row(cut, at))
            self._pending_alarm = cut
        row = AuditRow(
            sequence=0,
            at=at,
            actor=actor[:120],
            face=face,
            action=action,
            node_id=node_id,
            outcome=outcome,
            detail=detail[:400],
            chain=b"",
        )
        self._pending = self._insert(connection, last, row)
        return self._pending.sequence

    def _insert(self, connection: Connection, last: AuditHead, row: AuditRow) -> AuditHead:
        """Insert ``row`` after ``last``, with its number and its link."""
        at = row.at.replace(microsecond=row.at.microsecond // 1000 * 1000)
        row = replace(row, sequence=last.sequence + 1, at=at)
        link = self._link(row, last.chain)
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
        return AuditHead(row.sequence, link)

    def verify(self, connection: Connection, head: AuditHead | None = None) -> AuditFault | None:
        """Check the whole log; returns the first fault, or None when every row is unaltered and no alarm stands.

        Parameters
        ----------
        head
            The last row that was committed; None for the one that is remembered.
        """
        if self.head is None and not self._trouble:
            # The ledger has been away since the start, and may yet be readable, as one on a full disk is.
            self._recall()
        head = head or self.head
        alarm: AuditFault | None = None
        previous, expected = _GENESIS, 1
        for row in _rows(connection):
            if row.sequence != expected:
                return AuditFault(expected, f"row {expected} is missing")
            if not hmac.compare_digest(row.chain, self._link(row, previous)):
                return AuditFault(row.sequence, f"row {row.sequence} was altered")
            if head is not None and row.sequence == head.sequence and not hmac.compare_digest(row.chain, head.chain):
                return AuditFault(row.sequence, f"row {row.sequence} was replaced")
            if row.action == ALARM_ACTION:
                alarm = alarm or AuditFault(row.sequence, f"{row.detail}; noticed in row {row.sequence}")
            elif row.action == ACKNOWLEDGE_ACTION and row.outcome is Outcome.DONE:
                alarm = None
            previous, expected = row.chain, expected + 1
        if head is not None and head.sequence >= expected:
            return AuditFault(expected, f"the log ends before row {expected}, and there were {head.sequence}")
        if head is None and (cut := self.find_cut(connection)):
            return AuditFault(expected, cut)
        return alarm

    def standing_alarms(self, connection: Connection) -> tuple[str, ...]:
        """Return the alarms that nobody has acknowledged."""
        acknowledged = select(func.coalesce(func.max(audit_log.c.sequence), 0)).where(
            audit_log.c.action == ACKNOWLEDGE_ACTION, audit_log.c.outcome == Outcome.DONE.value
        )
        query = select(audit_log.c.detail).where(
            audit_log.c.action == ALARM_ACTION, audit_log.c.sequence > acknowledged.scalar_subquery()
        )
        return tuple(connection.execute(query.order_by(audit_log.c.sequence)).scalars())

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


def _alarm_row(cut: str, at: datetime) -> AuditRow:
    return AuditRow(
        sequence=0,
        at=at,
        actor="system",
        face="system",
        action=ALARM_ACTION,
        node_id=None,
        outcome=Outcome.FAILED,
        detail=cut[:400],
        chain=b"",
    )


def _compare_end(connection: Connection, head: AuditHead) -> str:
    """Compare the row at the remembered head. Later ones are what a crash kept from being remembered."""
    if head.sequence == 0:
        return ""
    chain = connection.execute(select(audit_log.c.chain).where(audit_log.c.sequence == head.sequence)).scalar()
    if chain is None:
        last = _last(connection)
        first = 1 if last is None else last.sequence + 1
        lost = f"row {first} is" if first == head.sequence else f"rows {first} to {head.sequence} are"
        return f"{lost} missing at the end of the audit log"
    return "" if hmac.compare_digest(chain, head.chain) else f"row {head.sequence} of the audit log was replaced"


def _last(connection: Connection) -> AuditHead | None:
    newest = select(func.max(audit_log.c.sequence)).scalar_subquery()
    found = connection.execute(
        select(audit_log.c.sequence, audit_log.c.chain).where(audit_log.c.sequence == newest)
    ).one_or_none()
    return None if found is None else AuditHead(found.sequence, found.chain)


def _is_new(connection: Connection) -> bool:
    """Tell whether nothing was ever done with this ledger: a fleet without a log has lost it."""
    return _last(connection) is None and connection.execute(select(func.count()).select_from(nodes)).scalar() == 0


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


def search(
    connection: Connection, *, limit: int = 50, node_ids: Sequence[str] = (), action: str = ""
) -> list[AuditRow]:
    """Return the latest rows, newest first, optionally of some nodes or one action only."""
    query = select(audit_log).order_by(audit_log.c.sequence.desc()).limit(limit)
    if node_ids:
        query = query.where(audit_log.c.node_id.in_(node_ids))
    if action:
        query = query.where(audit_log.c.action == action)
    return [_record(row) for row in connection.execute(query)]


def _ignore(_cut: str) -> None:
    """Do nothing: no callback is set."""
