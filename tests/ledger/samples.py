"""Rows for the ledger's tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from master.ledger.identifiers import first_ulid_of
from master.ledger.rows import handshake_events
from master.ledger.rows.records import HandshakeEvent


def an_event(number: int, node_id: str, *, at: datetime) -> HandshakeEvent:
    """Make an event at a time; the number makes its id unique."""
    return HandshakeEvent(
        id=f"{first_ulid_of(at)[:10]}{number:016d}",
        at=at,
        node_id=node_id,
        message_type="heartbeat",
        outcome="accepted",
        transport="local",
        author_id=None if number % 2 else 2**63 - 1,
        detail="Grüße 🛰",
    )


def events(count: int, node_id: str, *, at: datetime) -> Callable[[Connection], None]:
    """Return a write of that many events."""

    def write(connection: Connection) -> None:
        for number in range(count):
            handshake_events.insert(connection, an_event(number, node_id, at=at))

    return write
