"""Rows of ``applied_writes``: the highest write applied per session; makes a replay idempotent.

The number is advanced in the same transaction as the writes. After a lost connection it tells whether the last commit
was carried out, and it makes each spooled write apply exactly once. No server lock is needed: a session has one writer.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from master.ledger.schema.tables import applied_writes


def last_applied(connection: Connection, session_id: str) -> int:
    """Return the highest write applied of a session; 0 for none."""
    query = select(applied_writes.c.sequence).where(applied_writes.c.session_id == session_id)
    return connection.execute(query).scalar_one_or_none() or 0


def advance(connection: Connection, session_id: str, sequence: int, *, at: datetime) -> None:
    """Record that all writes of a session up to ``sequence`` are applied."""
    moved = connection.execute(
        applied_writes.update().where(applied_writes.c.session_id == session_id).values(sequence=sequence, at=at)
    )
    if not moved.rowcount:
        connection.execute(applied_writes.insert().values(session_id=session_id, sequence=sequence, at=at))


def delete_session(connection: Connection, session_id: str) -> None:
    """Delete the row of a session whose spool is empty."""
    connection.execute(applied_writes.delete().where(applied_writes.c.session_id == session_id))


def delete_older_than(connection: Connection, before: datetime) -> None:
    """Delete the rows of sessions that crashed before that moment."""
    connection.execute(applied_writes.delete().where(applied_writes.c.at < before))
