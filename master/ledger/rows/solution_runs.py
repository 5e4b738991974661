"""Rows of ``solution_runs``: each time that a solution knew an error, and what came of it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Select, func, select

from master.ledger.rows.records import SolutionRun
from master.ledger.schema.tables import audit_log, solution_runs

OPEN = ("running", "watching", "asked")
"""Outcomes that are not the last."""


def save(connection: Connection, run: SolutionRun) -> None:
    """Add a run, or write what became of it."""
    values = {
        "at": run.at,
        "node_id": run.node_id,
        "solution_id": run.solution_id,
        "content_hash": run.content_hash,
        "fingerprint": run.fingerprint,
        "seen_in": run.seen_in,
        "line": run.line,
        "action": run.action,
        "outcome": run.outcome,
        "detail": run.detail,
        "actor": run.actor,
        "ready_ms": run.ready_ms,
        "finished_at": run.finished_at,
    }
    known = connection.execute(solution_runs.update().where(solution_runs.c.id == run.id).values(**values)).rowcount
    if not known:
        connection.execute(solution_runs.insert().values(id=run.id, **values))


def recent(
    connection: Connection,
    *,
    node_id: str | None = None,
    solution_id: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[SolutionRun]:
    """Return the latest runs, newest first."""
    query = select(solution_runs).order_by(solution_runs.c.id.desc()).limit(limit)
    if node_id is not None:
        query = query.where(solution_runs.c.node_id == node_id)
    if solution_id is not None:
        query = query.where(solution_runs.c.solution_id == solution_id)
    if since is not None:
        query = query.where(solution_runs.c.at >= since)
    return _all(connection, query)


def unfinished(connection: Connection) -> list[SolutionRun]:
    """Return the runs that are open, oldest first."""
    query = select(solution_runs).where(solution_runs.c.outcome.in_(OPEN)).order_by(solution_runs.c.id)
    return _all(connection, query)


def find(connection: Connection, beginning: str, *, limit: int = 2) -> list[SolutionRun]:
    """Return the runs whose id begins so, newest first."""
    query = select(solution_runs).where(solution_runs.c.id.startswith(beginning, autoescape=True))
    return _all(connection, query.order_by(solution_runs.c.id.desc()).limit(limit))


def last_acts_of_operators(connection: Connection, since: datetime) -> dict[str, datetime]:
    """Return for each node when an operator did something to it last, by the audit log."""
    query = (
        select(audit_log.c.node_id, func.max(audit_log.c.at))
        .where(audit_log.c.node_id.is_not(None), audit_log.c.face != "system", audit_log.c.at >= since)
        .group_by(audit_log.c.node_id)
    )
    return {node_id: at for node_id, at in connection.execute(query)}


def _all(connection: Connection, query: Select[tuple[object, ...]]) -> list[SolutionRun]:
    return [SolutionRun(**row._mapping) for row in connection.execute(query)]
