"""Rows of ``announcements`` and ``announcement_places``. Every change is a compare-and-set on the state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from msgspec import structs
from sqlalchemy import Connection, Row, func, select

from master.ledger.rows.records import Announcement, AnnouncementPlace
from master.ledger.schema.tables import announcement_places, announcements


def insert(connection: Connection, announcement: Announcement, places: Sequence[AnnouncementPlace]) -> None:
    """Add an announcement with its places."""
    connection.execute(announcements.insert().values(**structs.asdict(announcement)))
    connection.execute(announcement_places.insert(), [structs.asdict(place) for place in places])


def find(connection: Connection, announcement_id: str) -> Announcement | None:
    """Return an announcement."""
    row = connection.execute(select(announcements).where(announcements.c.id == announcement_id)).one_or_none()
    return None if row is None else _record(row)


def beginning(connection: Connection, prefix: str, limit: int = 2) -> list[Announcement]:
    """Return the announcements whose id begins so, newest first."""
    query = select(announcements).where(announcements.c.id.startswith(prefix, autoescape=True))
    return [_record(row) for row in connection.execute(query.order_by(announcements.c.id.desc()).limit(limit))]


def recent(connection: Connection, *, states: Collection[str] = (), limit: int) -> list[Announcement]:
    """Return announcements, newest first; of all states when none is named."""
    query = select(announcements)
    if states:
        query = query.where(announcements.c.state.in_(states))
    return [_record(row) for row in connection.execute(query.order_by(announcements.c.id.desc()).limit(limit))]


def count_scheduled(connection: Connection) -> int:
    """Return how many wait for their time."""
    query = select(func.count()).select_from(announcements).where(announcements.c.state == "scheduled")
    return connection.execute(query).scalar_one()


def due(connection: Connection, now: datetime) -> list[Announcement]:
    """Return the scheduled announcements whose time has come, the earliest first."""
    condition = (announcements.c.state == "scheduled") & (announcements.c.due_at <= now)
    return [_record(row) for row in connection.execute(select(announcements).where(condition).order_by("due_at", "id"))]


def next_due(connection: Connection) -> datetime | None:
    """Return when a scheduled announcement is due next."""
    query = select(func.min(announcements.c.due_at)).where(announcements.c.state == "scheduled")
    return connection.execute(query).scalar_one_or_none()


def change(
    connection: Connection, announcement_id: str, *, was: Collection[str], at: datetime, **values: object
) -> Announcement | None:
    """Change an announcement that is in one of the states ``was``; None if it is in another."""
    condition = (announcements.c.id == announcement_id) & announcements.c.state.in_(was)
    statement = announcements.update().where(condition).values(changed_at=at, **values)
    return find(connection, announcement_id) if connection.execute(statement).rowcount else None


def places_of(connection: Connection, announcement_ids: Collection[str]) -> list[AnnouncementPlace]:
    """Return the places of announcements, in the order of their names."""
    query = select(announcement_places).where(announcement_places.c.announcement_id.in_(announcement_ids))
    ordered = query.order_by(announcement_places.c.announcement_id, announcement_places.c.place)
    return [_place(row) for row in connection.execute(ordered)]


def places_to_send(connection: Connection) -> list[AnnouncementPlace]:
    """Return the places that wait, of announcements that are being sent."""
    return _places_in(connection, "waiting")


def places_left(connection: Connection) -> list[AnnouncementPlace]:
    """Return the places that an earlier master was sending to when it ended."""
    return _places_in(connection, "sending")


def _places_in(connection: Connection, state: str) -> list[AnnouncementPlace]:
    query = (
        select(announcement_places)
        .join(announcements, announcements.c.id == announcement_places.c.announcement_id)
        .where(announcements.c.state == "sending", announcement_places.c.state == state)
        .order_by(announcement_places.c.announcement_id, announcement_places.c.place)
    )
    return [_place(row) for row in connection.execute(query)]


def change_place(
    connection: Connection, announcement_id: str, place: str, *, was: Collection[str], at: datetime, **values: object
) -> bool:
    """Change a place that is in one of the states ``was``; False if it is in another."""
    columns = announcement_places.c
    condition = (columns.announcement_id == announcement_id) & (columns.place == place) & columns.state.in_(was)
    return bool(
        connection.execute(announcement_places.update().where(condition).values(changed_at=at, **values)).rowcount
    )


def _record(row: Row[Any]) -> Announcement:
    return Announcement(**row._mapping)


def _place(row: Row[Any]) -> AnnouncementPlace:
    return AnnouncementPlace(**row._mapping)
