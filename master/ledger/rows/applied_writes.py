"""Rows of ``applied_writes``: the highest write applied per session; makes a replay idempotent.

The number moves in the same transaction as the writes, before them, and is read back before the commit. After a lost
connection it tells whether the last commit was carried out; it makes each spooled write apply exactly once; and it
notices a transaction that the database rolled back without saying so. Each move names the number that it starts from,
so that a transaction which hung, and was given up, cannot write after its successor.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from master.ledger.errors import TransactionLost
from master.ledger.schema.tables import applied_writes


def last_applied(connection: Connection, session_id: str) -> int:
    """Return the highest write applied of a session; 0 for none."""
    query = select(applied_writes.c.sequence).where(applied_writes.c.session_id == session_id)
    return connection.execute(query).scalar_one_or_none() or 0


def advance(connection: Connection, session_id: str, sequence: int, *, after: int, at: datetime) -> None:
    """Record that the writes of a session up to ``sequence`` are applied; the first statement of their transaction.

    Parameters
    ----------
    after
        The highest write applied until now; 0 for none.

    Raises
    ------
    TransactionLost
        It is another: an earlier transaction was committed after all.
    """
    try:
        if after:
            moved = connection.execute(
                applied_writes.update()
                .where(applied_writes.c.session_id == session_id, applied_writes.c.sequence == after)
                .values(sequence=sequence, at=at)
            )
            found = bool(moved.rowcount)
        else:
            connection.execute(applied_writes.insert().values(session_id=session_id, sequence=sequence, at=at))
            found = True
    except IntegrityError:
        found = False
    if not found:
        raise TransactionLost(f"the writes of {session_id} are not at number {after}: one was committed after all")


def require(connection: Connection, session_id: str, sequence: int) -> None:
    """Check that the transaction is still the one in which the number moved; its last statement.

    Raises
    ------
    TransactionLost
    """
    if last_applied(connection, session_id) != sequence:
        raise TransactionLost(
            "the database rolled a transaction back without saying so",
            hint="what was to be written is written again, or waits; the server's own log says more",
        )


def delete_session(connection: Connection, session_id: str) -> None:
    """Delete the row of a session whose spool is empty."""
    connection.execute(applied_writes.delete().where(applied_writes.c.session_id == session_id))


def delete_older_than(connection: Connection, before: datetime) -> None:
    """Delete the rows of sessions that crashed before that moment."""
    connection.execute(applied_writes.delete().where(applied_writes.c.at < before))
