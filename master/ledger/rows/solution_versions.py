"""Rows of ``solution_versions``: each text that a solution of the operator's had, and who wrote it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from master.ledger.rows.records import SolutionVersion
from master.ledger.schema.tables import solution_versions


def add(
    connection: Connection, *, id: str, solution_id: str, at: datetime, actor: str, why: str, content: str
) -> SolutionVersion:
    """Add a text as the newest version, and return it; the same text as before is not added again."""
    table = solution_versions
    newest = select(table).where(table.c.solution_id == solution_id).order_by(table.c.version.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    if row is not None and row.content == content:
        return _record(row)
    version = SolutionVersion(
        id=id,
        solution_id=solution_id,
        version=1 if row is None else row.version + 1,
        at=at,
        actor=actor,
        why=why,
        content=content,
    )
    connection.execute(
        table.insert().values(
            id=version.id,
            solution_id=version.solution_id,
            version=version.version,
            at=version.at,
            actor=version.actor,
            why=version.why,
            content=version.content,
        )
    )
    return version


def find(connection: Connection, solution_id: str, version: int) -> SolutionVersion | None:
    """Return one version of a solution."""
    table = solution_versions
    query = select(table).where(table.c.solution_id == solution_id, table.c.version == version)
    row = connection.execute(query).one_or_none()
    return None if row is None else _record(row)


def list_of(connection: Connection, solution_id: str, *, limit: int = 50) -> list[SolutionVersion]:
    """Return the versions of a solution, newest first."""
    table = solution_versions
    query = select(table).where(table.c.solution_id == solution_id).order_by(table.c.version.desc()).limit(limit)
    return [_record(row) for row in connection.execute(query)]


def newest(connection: Connection) -> list[SolutionVersion]:
    """Return the newest version of each solution."""
    table = solution_versions
    last = select(table.c.solution_id, func.max(table.c.version).label("version")).group_by(table.c.solution_id)
    found = last.subquery()
    query = select(table).join(
        found, (table.c.solution_id == found.c.solution_id) & (table.c.version == found.c.version)
    )
    return [_record(row) for row in connection.execute(query)]


def _record(row: Row[Any]) -> SolutionVersion:
    return SolutionVersion(
        id=row.id,
        solution_id=row.solution_id,
        version=row.version,
        at=row.at,
        actor=row.actor,
        why=row.why,
        content=row.content,
    )
