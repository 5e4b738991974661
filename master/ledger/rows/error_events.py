"""Rows of ``error_events``: the same error of one node within a day is one row with a count."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, select

from master.ledger.rows.records import ErrorEvent
from master.ledger.schema.tables import error_events

WINDOW = timedelta(days=1)


def record(connection: Connection, event: ErrorEvent) -> None:
    """Increment the count of an error seen within the last day, or add a row."""
    table = error_events
    known = connection.execute(
        table.update()
        .where(
            table.c.node_id == event.node_id,
            table.c.fingerprint == event.fingerprint,
            table.c.at > event.at - WINDOW,
        )
        .values(count=table.c.count + event.count, last_at=event.at)
    )
    if known.rowcount:
        return
    connection.execute(
        table.insert().values(
            id=event.id,
            at=event.at,
            last_at=event.at,
            node_id=event.node_id,
            source=event.source,
            fingerprint=event.fingerprint,
            summary=event.summary,
            detail=event.detail,
            count=event.count,
        )
    )


def recent(connection: Connection, *, node_id: str | None = None, limit: int = 50) -> list[ErrorEvent]:
    """Return the latest errors, newest first, of one node or of all."""
    table = error_events
    query = select(table).order_by(table.c.last_at.desc()).limit(limit)
    if node_id is not None:
        query = query.where(table.c.node_id == node_id)
    return [
        ErrorEvent(
            id=row.id,
            at=row.at,
            last_at=row.last_at,
            node_id=row.node_id,
            source=row.source,
            fingerprint=row.fingerprint,
            summary=row.summary,
            detail=row.detail,
            count=row._mapping["count"],  # `row.count` is the tuple's method
        )
        for row in connection.execute(query)
    ]
