"""Rows of ``bot_duplications``: the runs of the duplication saga."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from master.ledger.rows.records import Duplication
from master.ledger.schema.tables import bot_duplications


def insert(connection: Connection, duplication: Duplication) -> None:
    """Add a run that has started."""
    connection.execute(
        bot_duplications.insert().values(
            id=duplication.id,
            at=duplication.at,
            node_id=duplication.node_id,
            source=duplication.source,
            requested_by=duplication.requested_by,
            outcome=duplication.outcome,
            detail=duplication.detail,
            finished_at=duplication.finished_at,
        )
    )


def finish_of_node(connection: Connection, node_id: str, outcome: str, *, at: datetime, detail: str = "") -> None:
    """Finish the run that made a node."""
    connection.execute(
        bot_duplications.update()
        .where(bot_duplications.c.node_id == node_id, bot_duplications.c.outcome == "running")
        .values(outcome=outcome, detail=detail[:400], finished_at=at)
    )


def source_of(connection: Connection, node_id: str) -> str:
    """Return the source that a node was made from; empty when unknown."""
    query = select(bot_duplications.c.source).where(bot_duplications.c.node_id == node_id)
    return connection.execute(query).scalars().first() or ""


def recent(connection: Connection, *, limit: int = 50) -> list[Duplication]:
    """Return the latest runs, newest first."""
    query = select(bot_duplications).order_by(bot_duplications.c.at.desc()).limit(limit)
    return [Duplication(**row._mapping) for row in connection.execute(query)]
