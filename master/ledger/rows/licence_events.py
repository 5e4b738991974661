"""Rows of ``licence_events``: what became of licences."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from master.ledger.rows.records import LicenceChange, LicenceEvent
from master.ledger.schema.tables import licence_events

MAX_DETAIL = 400


def insert(connection: Connection, event: LicenceEvent) -> None:
    """Add an event."""
    connection.execute(
        licence_events.insert().values(
            id=event.id,
            at=event.at,
            licence_id=event.licence_id,
            what=event.what,
            actor=event.actor[:120],
            detail=event.detail[:MAX_DETAIL],
        )
    )


def list_of(connection: Connection, licence_id: str, *, limit: int = 50) -> list[LicenceEvent]:
    """Return what became of a licence, the newest first."""
    query = (
        select(licence_events)
        .where(licence_events.c.licence_id == licence_id)
        .order_by(licence_events.c.at.desc(), licence_events.c.id.desc())
        .limit(limit)
    )
    return [_record(row) for row in connection.execute(query)]


def list_since(connection: Connection, what: LicenceChange, since: datetime) -> list[LicenceEvent]:
    """Return what of a kind happened to any licence since a moment, the oldest first."""
    query = select(licence_events).where(licence_events.c.what == what, licence_events.c.at >= since)
    return [_record(row) for row in connection.execute(query.order_by(licence_events.c.at))]


def count_since(connection: Connection, licence_id: str, what: LicenceChange, since: datetime) -> int:
    """Return how often something happened to a licence since a moment."""
    query = (
        select(func.count())
        .select_from(licence_events)
        .where(licence_events.c.licence_id == licence_id, licence_events.c.what == what, licence_events.c.at >= since)
    )
    return connection.execute(query).scalar_one()


def _record(row: Row[Any]) -> LicenceEvent:
    return LicenceEvent(
        id=row.id, at=row.at, licence_id=row.licence_id, what=row.what, actor=row.actor, detail=row.detail
    )
