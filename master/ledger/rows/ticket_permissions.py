"""Rows of ``ticket_permissions``: who was let into a ticket. Every change is a compare-and-set on the state."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, Row, select

from master.ledger.rows.records import TicketPermission
from master.ledger.schema.tables import ticket_permissions


def insert(connection: Connection, permission: TicketPermission) -> None:
    """Add a permission."""
    connection.execute(ticket_permissions.insert().values(**structs.asdict(permission)))


def find(connection: Connection, permission_id: str) -> TicketPermission | None:
    """Return a permission."""
    row = connection.execute(select(ticket_permissions).where(ticket_permissions.c.id == permission_id)).one_or_none()
    return None if row is None else _record(row)


def of_ticket(connection: Connection, ticket_id: str, states: Collection[str] = ()) -> list[TicketPermission]:
    """Return the permissions in a ticket, the oldest first; those in these states, or all."""
    conditions: list[ColumnElement[bool]] = [ticket_permissions.c.ticket_id == ticket_id]
    if states:
        conditions.append(ticket_permissions.c.state.in_(states))
    query = select(ticket_permissions).where(*conditions).order_by(ticket_permissions.c.id)
    return [_record(row) for row in connection.execute(query)]


def in_states(connection: Connection, states: Collection[str]) -> list[TicketPermission]:
    """Return the permissions in any of these states, the oldest first."""
    query = select(ticket_permissions).where(ticket_permissions.c.state.in_(states)).order_by(ticket_permissions.c.id)
    return [_record(row) for row in connection.execute(query)]


def recent(connection: Connection, *, limit: int) -> list[TicketPermission]:
    """Return permissions, newest first."""
    query = select(ticket_permissions).order_by(ticket_permissions.c.id.desc()).limit(limit)
    return [_record(row) for row in connection.execute(query)]


def change(
    connection: Connection,
    permission_id: str,
    *,
    was: Collection[str],
    at: datetime,
    **values: object,
) -> TicketPermission | None:
    """Change a permission that is in one of the states ``was``; returns it as it is then, None if it is in another."""
    condition = (ticket_permissions.c.id == permission_id) & ticket_permissions.c.state.in_(was)
    statement = ticket_permissions.update().where(condition).values(changed_at=at, **values)
    if not connection.execute(statement).rowcount:
        return None
    return find(connection, permission_id)


def end_of_ticket(connection: Connection, ticket_id: str, *, at: datetime, detail: str) -> int:
    """End all permissions in a ticket whose channel is gone; returns how many were not ended before."""
    live = ("asking", "granting", "granted", "revoking")
    condition = (ticket_permissions.c.ticket_id == ticket_id) & ticket_permissions.c.state.in_(live)
    values = {"state": "revoked", "changed_at": at, "detail": detail}
    return connection.execute(ticket_permissions.update().where(condition).values(**values)).rowcount


def _record(row: Row[Any]) -> TicketPermission:
    return TicketPermission(**row._mapping)
