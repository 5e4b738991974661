"""Rows of ``licenses``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from master.ledger.rows.records import Licence, LicenceState
from master.ledger.schema.tables import licenses


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
        )
    )


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
    )


def set_state(connection: Connection, licence_id: str, state: LicenceState, *, at: datetime) -> None:
    """Change a licence's state; an activation sets its date."""
    values: dict[str, object] = {"state": state.value}
    if state is LicenceState.ACTIVE:
        values["activated_at"] = at
    connection.execute(licenses.update().where(licenses.c.id == licence_id).values(**values))


def revoke_of_node(connection: Connection, node_id: str) -> int:
    """Revoke all licences of a node; returns how many were not revoked before."""
    known = (licenses.c.node_id == node_id, licenses.c.state != LicenceState.REVOKED.value)
    return connection.execute(licenses.update().where(*known).values(state=LicenceState.REVOKED.value)).rowcount


def reinstate_of_node(connection: Connection, node_id: str) -> int:
    """Restore the state of a node's revoked licences: active if they ever were; returns how many."""
    revoked = (licenses.c.node_id == node_id, licenses.c.state == LicenceState.REVOKED.value)
    count = 0
    for condition, state in (
        (licenses.c.activated_at.is_(None), LicenceState.ISSUED),
        (licenses.c.activated_at.is_not(None), LicenceState.ACTIVE),
    ):
        count += connection.execute(licenses.update().where(*revoked, condition).values(state=state.value)).rowcount
    return count


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
