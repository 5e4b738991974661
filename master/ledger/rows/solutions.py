"""Rows of ``solutions``: whether each of them acts."""

from __future__ import annotations

from sqlalchemy import Connection, select

from master.ledger.rows.records import SolutionState
from master.ledger.schema.tables import solutions


def save(connection: Connection, state: SolutionState) -> None:
    """Add a solution's state, or replace it."""
    values = {
        "mode": state.mode,
        "since": state.since,
        "first_at": state.first_at,
        "content_hash": state.content_hash,
        "why": state.why,
        "changed_by": state.changed_by,
    }
    known = connection.execute(
        solutions.update().where(solutions.c.solution_id == state.solution_id).values(**values)
    ).rowcount
    if not known:
        connection.execute(solutions.insert().values(solution_id=state.solution_id, **values))


def list_all(connection: Connection) -> list[SolutionState]:
    """Return the states of all solutions that were ever seen, by id."""
    return [
        SolutionState(
            solution_id=row.solution_id,
            mode=row.mode,
            since=row.since,
            first_at=row.first_at,
            content_hash=row.content_hash,
            why=row.why,
            changed_by=row.changed_by,
        )
        for row in connection.execute(select(solutions).order_by(solutions.c.solution_id))
    ]
