"""Rows of ``handshake_events``: accepted verifications and refused messages."""

from __future__ import annotations

from sqlalchemy import Connection, select

from master.ledger.records import HandshakeEvent
from master.ledger.tables import handshake_events


def insert(connection: Connection, event: HandshakeEvent) -> None:
    """Add an event."""
    connection.execute(
        handshake_events.insert().values(
            id=event.id,
            at=event.at,
            node_id=event.node_id,
            message_type=event.message_type,
            outcome=event.outcome,
            transport=event.transport,
            author_id=event.author_id,
            detail=event.detail,
        )
    )


def recent(connection: Connection, *, node_id: str | None = None, limit: int = 50) -> list[HandshakeEvent]:
    """Give the latest events, newest first; of one node, or of all."""
    query = select(handshake_events).order_by(handshake_events.c.at.desc(), handshake_events.c.id.desc())
    if node_id is not None:
        query = query.where(handshake_events.c.node_id == node_id)
    return [HandshakeEvent(**row._mapping) for row in connection.execute(query.limit(limit))]
