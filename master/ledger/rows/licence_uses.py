"""Rows of ``licence_uses``: the nodes and the people that use a licence."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select

from master.ledger.rows.records import LicenceUse, Lifecycle
from master.ledger.schema.tables import licence_uses, nodes

Kind = Literal["node", "person"]


def put(connection: Connection, licence_id: str, kind: Kind, subject: str, *, at: datetime) -> bool:
    """Write down that a licence is in use; False if it was before, of which the last time is set."""
    known = _is(licence_id, kind, subject)
    if connection.execute(licence_uses.update().where(known).values(last_at=at)).rowcount:
        return False
    connection.execute(
        licence_uses.insert().values(licence_id=licence_id, kind=kind, subject=subject, at=at, last_at=at)
    )
    return True


def has(connection: Connection, licence_id: str, kind: Kind, subject: str) -> bool:
    """Tell whether somebody uses a licence."""
    query = select(licence_uses.c.subject).where(_is(licence_id, kind, subject))
    return connection.execute(query).one_or_none() is not None


def list_of(connection: Connection, licence_id: str) -> list[LicenceUse]:
    """Return who uses a licence, nodes first."""
    query = (
        select(licence_uses)
        .where(licence_uses.c.licence_id == licence_id)
        .order_by(licence_uses.c.kind, licence_uses.c.at, licence_uses.c.subject)
    )
    return [_record(row) for row in connection.execute(query)]


def list_people(connection: Connection) -> list[LicenceUse]:
    """Return all people who redeemed a licence, with which."""
    query = select(licence_uses).where(licence_uses.c.kind == "person")
    ordered = query.order_by(licence_uses.c.subject, licence_uses.c.licence_id)
    return [_record(row) for row in connection.execute(ordered)]


def count_people(connection: Connection, licence_id: str) -> int:
    """Return how many people redeemed a licence."""
    query = select(func.count()).select_from(licence_uses)
    of_it = query.where(licence_uses.c.licence_id == licence_id, licence_uses.c.kind == "person")
    return connection.execute(of_it).scalar_one()


def count_nodes(connection: Connection, licence_id: str) -> int:
    """Return on how many nodes a licence is in use; a removed node uses none."""
    joined = licence_uses.join(nodes, nodes.c.id == licence_uses.c.subject)
    query = select(func.count()).select_from(joined)
    of_it = query.where(
        licence_uses.c.licence_id == licence_id,
        licence_uses.c.kind == "node",
        nodes.c.lifecycle == Lifecycle.ACTIVE.value,
    )
    return connection.execute(of_it).scalar_one()


def remove(connection: Connection, licence_id: str, kind: Kind, subject: str) -> bool:
    """Forget that somebody uses a licence; False if it was not known."""
    return connection.execute(licence_uses.delete().where(_is(licence_id, kind, subject))).rowcount > 0


def remove_other_of_node(connection: Connection, node_id: str, licence_id: str) -> int:
    """Forget that a node uses any other licence than this one; returns how many."""
    others = (
        licence_uses.c.kind == "node",
        licence_uses.c.subject == node_id,
        licence_uses.c.licence_id != licence_id,
    )
    return connection.execute(licence_uses.delete().where(*others)).rowcount


def _is(licence_id: str, kind: Kind, subject: str) -> ColumnElement[bool]:
    return and_(licence_uses.c.licence_id == licence_id, licence_uses.c.kind == kind, licence_uses.c.subject == subject)


def _record(row: Row[Any]) -> LicenceUse:
    return LicenceUse(licence_id=row.licence_id, kind=row.kind, subject=row.subject, at=row.at, last_at=row.last_at)
