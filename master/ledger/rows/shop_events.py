"""Rows of ``shop_events``: what a shop told, once each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from master.ledger.rows.records import ShopEvent
from master.ledger.schema.tables import licenses, shop_events

_LINK = "part:"
"""What the ids of events begin with that are none of the shop's, but say what belongs to what."""


def put(connection: Connection, event: ShopEvent) -> None:
    """Add an event, or write what became of one that was taken."""
    known = (shop_events.c.source == event.source, shop_events.c.event_id == event.event_id)
    values = {"outcome": event.outcome, "licence_id": event.licence_id, "detail": event.detail}
    if not connection.execute(shop_events.update().where(*known).values(**values)).rowcount:
        row = {"source": event.source, "event_id": event.event_id, "at": event.at, "reference": event.reference}
        connection.execute(shop_events.insert().values(**row, **values))


def find(connection: Connection, source: str, event_id: str) -> ShopEvent | None:
    """Return what became of an event; None if it was never told."""
    query = select(shop_events).where(shop_events.c.source == source, shop_events.c.event_id == event_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _record(row)


def find_issued(connection: Connection, origin: str) -> str | None:
    """Return the licence that was issued for an origin; None if none was."""
    found: str | None = connection.execute(select(licenses.c.id).where(licenses.c.origin == origin)).scalar()
    return found


def find_licence(connection: Connection, source: str, reference: str) -> str | None:
    """Return the licence that was last issued or renewed for a subscription or a payment."""
    known = (shop_events.c.source == source, shop_events.c.reference == reference)
    query = select(shop_events.c.licence_id).where(*known, shop_events.c.licence_id.is_not(None))
    found: str | None = connection.execute(query.order_by(shop_events.c.at.desc()).limit(1)).scalar()
    return found


def put_link(connection: Connection, source: str, part: str, whole: str, *, at: datetime) -> None:
    """Note that a payment is of an invoice, or an invoice of a subscription; known ones stay as they are."""
    if find(connection, source, f"{_LINK}{part}") is None:
        row = {"source": source, "event_id": f"{_LINK}{part}", "at": at, "reference": f"{_LINK}{whole}"}
        connection.execute(shop_events.insert().values(**row, licence_id=None, outcome="ignored", detail=whole))


def whole_of(connection: Connection, source: str, part: str) -> str:
    """Return what a payment or an invoice belongs to; empty if that was never told."""
    found = find(connection, source, f"{_LINK}{part}")
    return "" if found is None else found.detail


def newest_part_of(connection: Connection, source: str, whole: str) -> str:
    """Return the invoice of a subscription that was told last; empty if none was."""
    known = (shop_events.c.source == source, shop_events.c.reference == f"{_LINK}{whole}")
    query = select(shop_events.c.event_id).where(*known).order_by(shop_events.c.at.desc(), shop_events.c.event_id)
    found: str | None = connection.execute(query.limit(1)).scalar()
    return "" if found is None else found.removeprefix(_LINK)


def was_refunded(connection: Connection, source: str, reference: str) -> bool:
    """Tell whether a payment was refunded before a licence was known for it."""
    known = (shop_events.c.source == source, shop_events.c.reference == reference)
    query = select(shop_events.c.event_id).where(
        *known, shop_events.c.outcome == "revoked", shop_events.c.licence_id.is_(None)
    )
    return connection.execute(query.limit(1)).first() is not None


def _record(row: Row[Any]) -> ShopEvent:
    return ShopEvent(
        source=row.source,
        event_id=row.event_id,
        at=row.at,
        reference=row.reference,
        licence_id=row.licence_id,
        outcome=row.outcome,
        detail=row.detail,
    )
