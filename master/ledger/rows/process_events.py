"""Rows of ``process_events``."""

from __future__ import annotations

from msgspec.structs import asdict
from sqlalchemy import Connection, select

from master.ledger.rows.records import ProcessRecord
from master.ledger.schema.tables import process_events


def insert(connection: Connection, *records: ProcessRecord) -> None:
    """Add process events."""
    connection.execute(process_events.insert(), [asdict(record) for record in records])


def recent(connection: Connection, node_id: str, *, limit: int = 50) -> list[ProcessRecord]:
    """Return a node's latest process events, newest first."""
    query = (
        select(process_events)
        .where(process_events.c.node_id == node_id)
        .order_by(process_events.c.at.desc(), process_events.c.id.desc())
        .limit(limit)
    )
    return [ProcessRecord(**row._mapping) for row in connection.execute(query)]
