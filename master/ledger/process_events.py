"""Rows of ``process_events``."""

from __future__ import annotations

from sqlalchemy import Connection, select

from master.ledger.records import ProcessRecord
from master.ledger.tables import process_events


def insert(connection: Connection, record: ProcessRecord) -> None:
    """Add a step of a process's life."""
    connection.execute(
        process_events.insert().values(
            id=record.id,
            at=record.at,
            node_id=record.node_id,
            kind=record.kind,
            pid=record.pid,
            exit_code=record.exit_code,
            signal=record.signal,
            detail=record.detail,
        )
    )


def recent(connection: Connection, node_id: str, *, limit: int = 50) -> list[ProcessRecord]:
    """Give the latest steps of a node, newest first."""
    query = (
        select(process_events)
        .where(process_events.c.node_id == node_id)
        .order_by(process_events.c.at.desc(), process_events.c.id.desc())
        .limit(limit)
    )
    return [ProcessRecord(**row._mapping) for row in connection.execute(query)]
