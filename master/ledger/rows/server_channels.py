"""Rows about the server's channels: what is wanted, made anew, repaired, and which messages stand there."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, Row, func, select

from master.ledger.rows.records import ChannelMove, ChannelPanel, ChannelRepair, WantedChannel
from master.ledger.schema.tables import channel_moves, channel_panels, channel_repairs, wanted_channels

UNFINISHED = ("repairing", "undoing")
"""States of a repair that a master was killed in, or that Discord kept from its end."""


def save_wanted(connection: Connection, wanted: WantedChannel) -> None:
    """Note how a wanted channel is."""
    values = structs.asdict(wanted)
    statement = wanted_channels.update().where(wanted_channels.c.key == wanted.key).values(**values)
    if not connection.execute(statement).rowcount:
        connection.execute(wanted_channels.insert().values(**values))


def forget_wanted(connection: Connection, key: str) -> None:
    """Forget a channel that nobody wants any more."""
    connection.execute(wanted_channels.delete().where(wanted_channels.c.key == key))


def all_wanted(connection: Connection) -> list[WantedChannel]:
    """Return the channels that are wanted, by their keys."""
    query = select(wanted_channels).order_by(wanted_channels.c.key)
    return [WantedChannel(**row._mapping) for row in connection.execute(query)]


def save_move(connection: Connection, move: ChannelMove) -> None:
    """Note that a channel has another id now."""
    values = structs.asdict(move)
    statement = channel_moves.update().where(channel_moves.c.old_id == move.old_id).values(**values)
    if not connection.execute(statement).rowcount:
        connection.execute(channel_moves.insert().values(**values))


def all_moves(connection: Connection) -> list[ChannelMove]:
    """Return all moves, the oldest first."""
    query = select(channel_moves).order_by(channel_moves.c.at, channel_moves.c.old_id)
    return [ChannelMove(**row._mapping) for row in connection.execute(query)]


def save_repair(connection: Connection, repair: ChannelRepair) -> None:
    """Add a repair, or replace it."""
    values = structs.asdict(repair)
    statement = channel_repairs.update().where(channel_repairs.c.id == repair.id).values(**values)
    if not connection.execute(statement).rowcount:
        connection.execute(channel_repairs.insert().values(**values))


def repairs_beginning_with(connection: Connection, prefix: str, *, limit: int = 2) -> list[ChannelRepair]:
    """Return repairs whose id begins so."""
    query = select(channel_repairs).where(channel_repairs.c.id.startswith(prefix, autoescape=True))
    return _repairs(connection.execute(query.order_by(channel_repairs.c.id).limit(limit)).all())


def repairs_between(connection: Connection, first: str, last: str, *, limit: int) -> list[ChannelRepair]:
    """Return the repairs from one id to another one, the oldest first."""
    query = select(channel_repairs).where(channel_repairs.c.id.between(first, last)).order_by(channel_repairs.c.id)
    return _repairs(connection.execute(query.limit(limit)).all())


def repairs_in_states(connection: Connection, states: Collection[str]) -> list[ChannelRepair]:
    """Return the repairs in any of these states, the oldest first."""
    query = select(channel_repairs).where(channel_repairs.c.state.in_(states)).order_by(channel_repairs.c.id)
    return _repairs(connection.execute(query).all())


def recent_repairs(
    connection: Connection, *, key: str = "", culprit_id: int | None = None, since: datetime | None = None, limit: int
) -> list[ChannelRepair]:
    """Return repairs, the newest first.

    Parameters
    ----------
    key
        Empty: of all channels.
    """
    conditions: list[ColumnElement[bool]] = []
    if key:
        conditions.append(channel_repairs.c.key == key)
    if culprit_id is not None:
        conditions.append(channel_repairs.c.culprit_id == culprit_id)
    if since is not None:
        conditions.append(channel_repairs.c.at >= since)
    query = select(channel_repairs).where(*conditions).order_by(channel_repairs.c.id.desc()).limit(limit)
    return _repairs(connection.execute(query).all())


def newest_of_each(connection: Connection) -> list[ChannelRepair]:
    """Return the newest repair of each channel and kind of drift."""
    newest = select(func.max(channel_repairs.c.id).label("id")).group_by(channel_repairs.c.key, channel_repairs.c.drift)
    query = select(channel_repairs).where(channel_repairs.c.id.in_(newest)).order_by(channel_repairs.c.id)
    return _repairs(connection.execute(query).all())


def count_repaired(connection: Connection, since: datetime) -> dict[str, int]:
    """Return how often each thing was repaired since a moment, also if that was undone."""
    conditions = (channel_repairs.c.at >= since, channel_repairs.c.state.in_(("repaired", "undone", "undoing")))
    query = select(channel_repairs.c.key, channel_repairs.c.drift, func.count().label("times")).where(*conditions)
    rows = connection.execute(query.group_by(channel_repairs.c.key, channel_repairs.c.drift))
    return {f"{row.key}:{row.drift}": row.times for row in rows}


def save_panel(connection: Connection, panel: ChannelPanel) -> None:
    """Note which message a panel is."""
    values = structs.asdict(panel)
    statement = channel_panels.update().where(channel_panels.c.key == panel.key).values(**values)
    if not connection.execute(statement).rowcount:
        connection.execute(channel_panels.insert().values(**values))


def all_panels(connection: Connection) -> list[ChannelPanel]:
    """Return the messages that have to be in channels, by their keys."""
    query = select(channel_panels).order_by(channel_panels.c.key)
    return [
        ChannelPanel(
            key=row.key,
            channel_id=row.channel_id,
            message_id=row.message_id,
            content_hash=bytes(row.content_hash),
            changed_at=row.changed_at,
        )
        for row in connection.execute(query)
    ]


def forget_panel(connection: Connection, key: str) -> None:
    """Forget a message that nobody wants any more."""
    connection.execute(channel_panels.delete().where(channel_panels.c.key == key))


def _repairs(rows: Collection[Row[Any]]) -> list[ChannelRepair]:
    return [ChannelRepair(**row._mapping) for row in rows]
