"""What people ask about solutions: figures of all, the latest runs of one, the errors that none knows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from master.ledger.rows.records import ErrorGroup, SolutionRun
from master.ledger.schema.tables import error_groups, solution_runs

ACTED = ("running", "watching", "helped", "did_not_help", "failed", "interrupted")
"""Outcomes of runs in which something was done, or tried."""
DID_NOT_CURE = ("did_not_help", "failed")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one solution did."""

    runs: int = 0
    cures: int = 0
    failures: int = 0
    detected: int = 0
    last_run: datetime | None = None


def figures(connection: Connection) -> Mapping[str, Figures]:
    """Return what each solution did, by id."""
    table = solution_runs
    query = select(table.c.solution_id, table.c.outcome, func.count().label("times"), func.max(table.c.at).label("at"))
    found = dict[str, Figures]()
    for row in connection.execute(query.group_by(table.c.solution_id, table.c.outcome)):
        before, acted = found.get(row.solution_id, Figures()), row.outcome in ACTED
        last = [at for at in (before.last_run, row.at if acted else None) if at is not None]
        found[row.solution_id] = Figures(
            runs=before.runs + row.times * acted,
            cures=before.cures + row.times * (row.outcome == "helped"),
            failures=before.failures + row.times * (row.outcome in DID_NOT_CURE),
            detected=before.detected + row.times * (row.outcome == "detected"),
            last_run=max(last, default=None),
        )
    return found


def recent(connection: Connection, solution_id: str, *, limit: int = 20) -> list[SolutionRun]:
    """Return the latest runs of a solution, newest first."""
    table = solution_runs
    query = (
        select(table).where(table.c.solution_id == solution_id).order_by(table.c.at.desc(), table.c.id.desc())
    ).limit(limit)
    return [
        SolutionRun(
            id=row.id,
            at=row.at,
            node_id=row.node_id,
            solution_id=row.solution_id,
            content_hash=row.content_hash,
            fingerprint=row.fingerprint,
            seen_in=row.seen_in,
            line=row.line,
            action=row.action,
            outcome=row.outcome,
            detail=row.detail,
            actor=row.actor,
            ready_ms=row.ready_ms,
            finished_at=row.finished_at,
        )
        for row in connection.execute(query)
    ]


def latest_errors(connection: Connection, *, limit: int) -> list[ErrorGroup]:
    """Return the groups of errors that were seen last, newest first, with their samples."""
    query = select(error_groups).order_by(error_groups.c.last_at.desc()).limit(limit)
    return [_group(row) for row in connection.execute(query)]


def _group(row: Row[Any]) -> ErrorGroup:
    return ErrorGroup(
        fingerprint=row.fingerprint,
        kind=row.kind,
        title=row.title,
        state=row.state,
        first_at=row.first_at,
        last_at=row.last_at,
        count=row._mapping["count"],  # `row.count` is the tuple's method
        sample=row.sample,
        muted_until=row.muted_until,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )
