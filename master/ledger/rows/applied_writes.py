"""Rows of ``applied_writes``: up to which of its numbered writes a session of the master has been carried out.

Moved on in the same transaction as the writes themselves, this answers the one question that a lost connection leaves
open, whether the last commit was carried out, and makes what waits in a spool apply once. The server's own locks are
not relied on: a session has one writer.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from master.ledger.schema.tables import applied_writes


def last_of(connection: Connection, session_id: str) -> int:
    """Return the number of a session's last applied write; 0 when none was."""
    query = select(applied_writes.c.sequence).where(applied_writes.c.session_id == session_id)
    return connection.execute(query).scalar_one_or_none() or 0


def move_on(connection: Connection, session_id: str, sequence: int, *, at: datetime) -> None:
    """Say that all writes of a session up to ``sequence`` are applied."""
    moved = connection.execute(
        applied_writes.update().where(applied_writes.c.session_id == session_id).values(sequence=sequence, at=at)
    )
    if not moved.rowcount:
        connection.execute(applied_writes.insert().values(session_id=session_id, sequence=sequence, at=at))


def forget(connection: Connection, session_id: str) -> None:
    """Drop a session of which nothing waits any more."""
    connection.execute(applied_writes.delete().where(applied_writes.c.session_id == session_id))


def forget_older(connection: Connection, before: datetime) -> None:
    """Drop sessions that ended in a crash long ago."""
    connection.execute(applied_writes.delete().where(applied_writes.c.at < before))
