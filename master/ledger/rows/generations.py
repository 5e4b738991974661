"""Rows of ``generations``: what nodes, the template, patches and solutions were, one after another."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select

from master.ledger.rows.records import Generation
from master.ledger.schema.tables import generations

Kind = Literal["node", "template", "patch", "solution"]


def insert(connection: Connection, generation: Generation) -> None:
    """Add a generation."""
    connection.execute(
        generations.insert().values(
            id=generation.id,
            kind=generation.kind,
            subject=generation.subject,
            generation=generation.generation,
            at=generation.at,
            cause=generation.cause,
            parent=generation.parent,
            actor=generation.actor,
            detail=generation.detail,
            manifest=generation.manifest,
            signature=generation.signature,
        )
    )


def get(connection: Connection, generation_id: str) -> Generation | None:
    """Return a generation by its id."""
    row = connection.execute(select(generations).where(generations.c.id == generation_id)).first()
    return None if row is None else _record(row)


def newest(connection: Connection, kind: Kind, subject: str) -> Generation | None:
    """Return what something is now; None if nothing was ever noted of it."""
    query = select(generations).where(generations.c.kind == kind, generations.c.subject == subject)
    row = connection.execute(query.order_by(generations.c.generation.desc()).limit(1)).first()
    return None if row is None else _record(row)


def of_subject(connection: Connection, kind: Kind, subject: str, *, limit: int = 200) -> list[Generation]:
    """Return the generations of something, the newest first."""
    query = select(generations).where(generations.c.kind == kind, generations.c.subject == subject)
    return [_record(row) for row in connection.execute(query.order_by(generations.c.generation.desc()).limit(limit))]


def known_subjects(connection: Connection, kind: Kind) -> dict[str, int]:
    """Return the number of the newest generation of each thing of a kind."""
    number = func.max(generations.c.generation).label("number")
    query = select(generations.c.subject, number).where(generations.c.kind == kind).group_by(generations.c.subject)
    return {row.subject: row.number for row in connection.execute(query)}


def _record(row: Row[Any]) -> Generation:
    return Generation(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        generation=row.generation,
        at=row.at,
        cause=row.cause,
        parent=row.parent,
        actor=row.actor,
        detail=row.detail,
        manifest=row.manifest,
        signature=bytes(row.signature),
    )
