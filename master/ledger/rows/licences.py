"""Rows of ``licenses``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from master.ledger.rows.records import Licence, LicenceState
from master.ledger.schema.tables import licence_uses, licenses


def insert(connection: Connection, licence: Licence) -> None:
    """Add a licence."""
    connection.execute(
        licenses.insert().values(
            id=licence.id,
            node_id=licence.node_id,
            tier=licence.tier,
            state=licence.state.value,
            code_hash=licence.code_hash,
            issued_at=licence.issued_at,
            expires_at=licence.expires_at,
            activated_at=licence.activated_at,
            holder_id=licence.holder_id,
            guild_id=licence.guild_id,
            origin=licence.origin[:120],
            note=licence.note[:200],
            warned_days=licence.warned_days,
            changed_at=licence.changed_at,
            changed_by=licence.changed_by[:120],
        )
    )


def get(connection: Connection, licence_id: str) -> Licence | None:
    """Return a licence by its id."""
    row = connection.execute(select(licenses).where(licenses.c.id == licence_id)).one_or_none()
    return None if row is None else _record(row)


def list_beginning(connection: Connection, start: str, *, limit: int = 3) -> list[Licence]:
    """Return licences whose ids begin so."""
    query = select(licenses).where(licenses.c.id.startswith(start, autoescape=True)).order_by(licenses.c.id)
    return [_record(row) for row in connection.execute(query.limit(limit))]


def list_matching(
    connection: Connection,
    *,
    state: LicenceState | None = None,
    tier: str = "",
    holder_id: int | None = None,
    node_id: str = "",
    limit: int = 100,
    offset: int = 0,
) -> list[Licence]:
    """Return licences, the newest first; each filter that is given must be met."""
    query = select(licenses).order_by(licenses.c.issued_at.desc(), licenses.c.id.desc()).limit(limit).offset(offset)
    if state is not None:
        query = query.where(licenses.c.state == state.value)
    if tier:
        query = query.where(func.lower(licenses.c.tier) == tier.lower())
    if holder_id is not None:
        query = query.where(licenses.c.holder_id == holder_id)
    if node_id:
        query = query.where(licenses.c.node_id == node_id)
    return [_record(row) for row in connection.execute(query)]


def list_of_person(connection: Connection, user_id: int) -> list[Licence]:
    """Return the licences that a person redeemed or got, the newest first."""
    joined = licenses.join(licence_uses, licence_uses.c.licence_id == licenses.c.id)
    query = select(licenses).select_from(joined)
    of_person = query.where(licence_uses.c.kind == "person", licence_uses.c.subject == str(user_id))
    ordered = of_person.order_by(licenses.c.issued_at.desc(), licenses.c.id.desc())
    return [_record(row) for row in connection.execute(ordered)]


def list_of_origin(connection: Connection, origin: str) -> list[Licence]:
    """Return the licences that were issued for an origin, the newest first."""
    query = select(licenses).where(licenses.c.origin == origin)
    return [_record(row) for row in connection.execute(query.order_by(licenses.c.issued_at.desc()))]


def list_of_node(connection: Connection, node_id: str) -> list[Licence]:
    """Return a node's own licences."""
    query = select(licenses).where(licenses.c.node_id == node_id).order_by(licenses.c.issued_at)
    return [_record(row) for row in connection.execute(query)]


def list_ending(connection: Connection, before: datetime) -> list[Licence]:
    """Return the licences in use, or to be used, that end before a moment, the first to end first."""
    in_use = licenses.c.state.in_((LicenceState.ISSUED.value, LicenceState.ACTIVE.value))
    query = select(licenses).where(in_use, licenses.c.expires_at <= before).order_by(licenses.c.expires_at)
    return [_record(row) for row in connection.execute(query)]


def list_told_nothing(connection: Connection, by: str, since: datetime) -> list[Licence]:
    """Return the licences that ended since a moment, as ``by`` wrote down, and of whose end nobody was told."""
    ended = licenses.c.state.in_((LicenceState.EXPIRED.value, LicenceState.REVOKED.value))
    untold = licenses.c.warned_days.is_(None) | (licenses.c.warned_days >= 0)
    query = select(licenses).where(ended, untold, licenses.c.changed_by == by, licenses.c.changed_at >= since)
    return [_record(row) for row in connection.execute(query.order_by(licenses.c.changed_at))]


def list_ended_early(connection: Connection, by: str, now: datetime) -> list[Licence]:
    """Return the licences that ``by`` ended although their time is not over: the clock was ahead then."""
    ended = licenses.c.state.in_((LicenceState.EXPIRED.value, LicenceState.REVOKED.value))
    query = select(licenses).where(ended, licenses.c.changed_by == by, licenses.c.expires_at > now)
    return [_record(row) for row in connection.execute(query.order_by(licenses.c.id))]


def first_end_after(connection: Connection, moment: datetime) -> datetime | None:
    """Return when the next licence in use ends after a moment; None if none does."""
    in_use = licenses.c.state.in_((LicenceState.ISSUED.value, LicenceState.ACTIVE.value))
    query = select(licenses.c.expires_at).where(in_use, licenses.c.expires_at > moment)
    found: datetime | None = connection.execute(query.order_by(licenses.c.expires_at).limit(1)).scalar_one_or_none()
    return found


def count(connection: Connection) -> int:
    """Return how many licences there are."""
    return connection.execute(select(func.count()).select_from(licenses)).scalar_one()


def change(connection: Connection, before: Licence, after: Licence) -> bool:
    """Write a licence as it is now; False if it is not as it was when it was read."""
    unchanged = (
        licenses.c.id == before.id,
        licenses.c.state == before.state.value,
        _same(licenses.c.expires_at, before.expires_at),
        _same(licenses.c.holder_id, before.holder_id),
    )
    return (
        connection.execute(
            licenses.update()
            .where(*unchanged)
            .values(
                state=after.state.value,
                expires_at=after.expires_at,
                activated_at=after.activated_at,
                holder_id=after.holder_id,
                guild_id=after.guild_id,
                note=after.note[:200],
                warned_days=after.warned_days,
                changed_at=after.changed_at,
                changed_by=after.changed_by[:120],
            )
        ).rowcount
        > 0
    )


def _same(column: ColumnElement[Any], value: object) -> ColumnElement[bool]:
    return column.is_(None) if value is None else column == value


def find_by_hash(connection: Connection, code_hash: bytes) -> Licence | None:
    """Return the licence whose code has this keyed hash."""
    row = connection.execute(select(licenses).where(licenses.c.code_hash == code_hash)).one_or_none()
    return None if row is None else _record(row)


def newest_of_node(connection: Connection, node_id: str) -> Licence | None:
    """Return the licence that a node got last."""
    query = select(licenses).where(licenses.c.node_id == node_id).order_by(licenses.c.issued_at.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> Licence:
    return Licence(
        id=row.id,
        node_id=row.node_id,
        tier=row.tier,
        state=LicenceState(row.state),
        code_hash=row.code_hash,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        activated_at=row.activated_at,
        holder_id=row.holder_id,
        guild_id=row.guild_id,
        origin=row.origin,
        note=row.note,
        warned_days=row.warned_days,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )


def revoke_of_node(connection: Connection, node_id: str) -> int:
    """Revoke all licences of a node; returns how many were not revoked before."""
    known = (licenses.c.node_id == node_id, licenses.c.state != LicenceState.REVOKED.value)
    return connection.execute(licenses.update().where(*known).values(state=LicenceState.REVOKED.value)).rowcount


def list_revoked(connection: Connection) -> frozenset[str]:
    """Return the ids of all nodes of which :func:`is_revoked` is true."""
    revoked, state = LicenceState.REVOKED.value, licenses.c.state
    # A licence that no node uses yet has no node_id.
    of_nodes = select(licenses.c.node_id).where(licenses.c.node_id.is_not(None)).group_by(licenses.c.node_id)
    # The first of its states and the last, so all of them.
    query = of_nodes.having(func.min(state) == revoked, func.max(state) == revoked)
    return frozenset(connection.execute(query).scalars())


def is_revoked(connection: Connection, node_id: str) -> bool:
    """Tell whether a node has licences, and all of them are revoked."""
    states = connection.execute(select(licenses.c.state).where(licenses.c.node_id == node_id)).scalars().all()
    return bool(states) and set(states) == {LicenceState.REVOKED.value}


def own_block(connection: Connection, node_id: str) -> LicenceState | None:
    """Return why no licence may cover a node: all of its own are revoked or suspended; None if it may."""
    found = connection.execute(select(licenses.c.state).where(licenses.c.node_id == node_id)).scalars().all()
    states = {LicenceState(state) for state in found}
    if not states or not states <= {LicenceState.REVOKED, LicenceState.SUSPENDED}:
        return None
    return LicenceState.SUSPENDED if LicenceState.SUSPENDED in states else LicenceState.REVOKED
