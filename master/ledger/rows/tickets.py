"""Rows of ``tickets``. Every change is a compare-and-set on the state, so that one of two wins."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, Row, func, select

from master.ledger.rows.records import Ticket, TicketState
from master.ledger.schema.tables import tickets

LIVE: tuple[TicketState, ...] = ("queued", "opening", "open", "closing")
"""States of a ticket that its author waits for."""


def insert(connection: Connection, ticket: Ticket) -> None:
    """Add a ticket."""
    connection.execute(tickets.insert().values(**structs.asdict(ticket)))


def next_number(connection: Connection, guild_id: int) -> int:
    """Return the number for the next ticket of a server; the caller inserts it in the same transaction."""
    query = select(func.max(tickets.c.number)).where(tickets.c.guild_id == guild_id)
    return (connection.execute(query).scalar_one_or_none() or 0) + 1


def find(connection: Connection, ticket_id: str) -> Ticket | None:
    """Return a ticket."""
    row = connection.execute(select(tickets).where(tickets.c.id == ticket_id)).one_or_none()
    return None if row is None else _record(row)


def find_by_number(connection: Connection, guild_id: int, number: int) -> Ticket | None:
    """Return the ticket that people know by this number on a server."""
    query = select(tickets).where(tickets.c.guild_id == guild_id, tickets.c.number == number)
    row = connection.execute(query.order_by(tickets.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _record(row)


def find_by_channel(connection: Connection, channel_id: int) -> Ticket | None:
    """Return the ticket whose channel or thread this is."""
    query = select(tickets).where(tickets.c.channel_id == channel_id)
    row = connection.execute(query.order_by(tickets.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _record(row)


def in_states(connection: Connection, states: Collection[str]) -> list[Ticket]:
    """Return the tickets in any of these states, the oldest first."""
    query = select(tickets).where(tickets.c.state.in_(states)).order_by(tickets.c.id)
    return [_record(row) for row in connection.execute(query)]


def with_channel(connection: Connection) -> list[Ticket]:
    """Return the tickets that have a channel, also those whose channel is to be deleted; the oldest first."""
    query = select(tickets).where(tickets.c.channel_id.is_not(None)).order_by(tickets.c.id)
    return [_record(row) for row in connection.execute(query)]


def recent(
    connection: Connection,
    *,
    node_id: str | None = None,
    author_id: int | None = None,
    states: Collection[str] = (),
    limit: int,
) -> list[Ticket]:
    """Return tickets, newest first.

    Parameters
    ----------
    states
        Empty: all.
    """
    conditions: list[ColumnElement[bool]] = []
    if node_id is not None:
        conditions.append(tickets.c.node_id == node_id)
    if author_id is not None:
        conditions.append(tickets.c.author_id == author_id)
    if states:
        conditions.append(tickets.c.state.in_(states))
    query = select(tickets).where(*conditions).order_by(tickets.c.id.desc()).limit(limit)
    return [_record(row) for row in connection.execute(query)]


def count_live(connection: Connection, guild_id: int, author_id: int, category: str) -> int:
    """Return how many tickets of a category somebody has that are not closed."""
    conditions = (tickets.c.author_id == author_id, tickets.c.category == category, tickets.c.state.in_(LIVE))
    query = select(func.count()).select_from(tickets).where(tickets.c.guild_id == guild_id, *conditions)
    return connection.execute(query).scalar_one()


def count_since(connection: Connection, guild_id: int, author_id: int, category: str, since: datetime) -> int:
    """Return how many tickets of a category somebody has opened since a moment; not those that Discord refused."""
    conditions = (tickets.c.author_id == author_id, tickets.c.category == category, tickets.c.opened_at >= since)
    was_there = (tickets.c.state != "deleted") | tickets.c.closed_at.is_not(None)
    query = select(func.count()).select_from(tickets).where(tickets.c.guild_id == guild_id, *conditions, was_there)
    return connection.execute(query).scalar_one()


def change(
    connection: Connection, ticket_id: str, *, was: Collection[str], at: datetime, **values: object
) -> Ticket | None:
    """Change a ticket that is in one of the states ``was``; returns it as it is then, None if it is in another."""
    condition = (tickets.c.id == ticket_id) & tickets.c.state.in_(was)
    statement = tickets.update().where(condition).values(changed_at=at, **values)
    return find(connection, ticket_id) if connection.execute(statement).rowcount else None


def claim(connection: Connection, ticket_id: str, user_id: int, *, at: datetime) -> Ticket | None:
    """Have somebody claim an open ticket that nobody has claimed; None if it is not, or somebody has."""
    condition = (tickets.c.id == ticket_id) & (tickets.c.state == "open") & tickets.c.claimed_by.is_(None)
    statement = tickets.update().where(condition).values(changed_at=at, claimed_by=user_id)
    return find(connection, ticket_id) if connection.execute(statement).rowcount else None


def _record(row: Row[Any]) -> Ticket:
    return Ticket(**row._mapping)
