"""Rows of ``handshake_events``: accepted verifications and refused messages."""

from __future__ import annotations

from msgspec.structs import asdict
from sqlalchemy import Connection, select

from master.ledger.rows.records import HandshakeEvent
from master.ledger.schema.tables import handshake_events


def insert(connection: Connection, *events: HandshakeEvent) -> None:
    """Add events."""
    connection.execute(handshake_events.insert(), [asdict(event) for event in events])


def recent(connection: Connection, *, node_id: str | None = None, limit: int = 50) -> list[HandshakeEvent]:
    """Return the latest events, newest first, of one node or of all."""
    query = select(handshake_events).order_by(handshake_events.c.at.desc(), handshake_events.c.id.desc())
    if node_id is not None:
        query = query.where(handshake_events.c.node_id == node_id)
    return [HandshakeEvent(**row._mapping) for row in connection.execute(query.limit(limit))]
