"""Rows of ``error_events``: the same error of one node within a day, seen in one way, is one row with a count."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, func, select

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
            table.c.source == event.source,
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


class OnNode(msgspec.Struct, frozen=True, kw_only=True):
    """How often an error was seen on a node."""

    fingerprint: str
    node_id: str
    count: int
    last_at: datetime


def by_node(connection: Connection, fingerprints: Collection[str]) -> list[OnNode]:
    """Return how often errors were seen on each node; one that was seen in several ways counts as often as in one."""
    table = error_events
    total, last_at = func.sum(table.c.count).label("total"), func.max(table.c.last_at).label("last_at")
    query = (
        select(table.c.fingerprint, table.c.node_id, table.c.source, total, last_at)
        .where(table.c.fingerprint.in_(fingerprints))
        .group_by(table.c.fingerprint, table.c.node_id, table.c.source)
    )
    found = dict[tuple[str, str], OnNode]()
    for row in connection.execute(query):
        known = found.get((row.fingerprint, row.node_id))
        found[row.fingerprint, row.node_id] = OnNode(
            fingerprint=row.fingerprint,
            node_id=row.node_id,
            count=int(row.total) if known is None else max(known.count, int(row.total)),
            last_at=row.last_at if known is None else max(known.last_at, row.last_at),
        )
    return list(found.values())


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows of an error on a node come to."""

    node_id: str
    fingerprint: str
    count: int
    first_at: datetime
    last_at: datetime


def sums(connection: Connection, *, since: datetime, node_id: str | None = None) -> list[Sum]:
    """Return what was seen on each node, or on one, since then; seen in several ways it counts as often as in one."""
    table = error_events
    total, first_at = func.sum(table.c.count).label("total"), func.min(table.c.at).label("first_at")
    last_at = func.max(table.c.last_at).label("last_at")
    query = (
        select(table.c.node_id, table.c.fingerprint, table.c.source, total, first_at, last_at)
        .where(table.c.last_at >= since)
        .group_by(table.c.node_id, table.c.fingerprint, table.c.source)
    )
    if node_id is not None:
        query = query.where(table.c.node_id == node_id)
    found = dict[tuple[str, str], Sum]()
    for row in connection.execute(query):
        known = found.get((row.node_id, row.fingerprint))
        count, began, last = int(row.total), row.first_at, row.last_at
        if known is not None:
            count, began, last = max(count, known.count), min(began, known.first_at), max(last, known.last_at)
        found[row.node_id, row.fingerprint] = Sum(
            node_id=row.node_id, fingerprint=row.fingerprint, count=count, first_at=began, last_at=last
        )
    return list(found.values())


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
