"""Builds the rows of ``handshake_events`` for verifications and refusals."""

from __future__ import annotations

from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import HandshakeEvent
from master.services.trust.source import Source
from master.supervision.clock import Clock


def handshake_event(
    clock: Clock, node_id: str | None, message_type: str, outcome: str, source: Source, *, detail: str = ""
) -> HandshakeEvent:
    """Return the row for one message."""
    return HandshakeEvent(
        id=new_ulid(clock),
        at=clock.now(),
        node_id=node_id,
        message_type=str(message_type)[:40],
        outcome=outcome,
        transport=source.transport,
        author_id=source.author_id,
        detail=detail,
    )
