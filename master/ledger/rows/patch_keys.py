"""Rows of ``patch_keys``: keys of the authors whose patches are accepted, and those that were revoked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from master.ledger.rows.records import Lifecycle, PatchKey
from master.ledger.schema.tables import nodes, patch_keys, patch_nodes, patches

IN_FORCE = ("applied", "healthy", "good", "rollback_failed")
"""States of a patch on a node whose code is the patch's."""


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """A patch that is in force on a node."""

    patch_id: str
    key_id: str
    name: str
    version: int
    node: str


def insert(connection: Connection, key: PatchKey) -> None:
    """Add a key."""
    connection.execute(
        patch_keys.insert().values(
            id=key.id,
            name=key.name,
            kind=key.kind,
            public=key.public,
            added_at=key.added_at,
            added_by=key.added_by,
            revoked_at=key.revoked_at,
            revoked_by=key.revoked_by,
            why=key.why,
        )
    )


def list_all(connection: Connection) -> list[PatchKey]:
    """Return all keys that were ever added, the oldest first."""
    query = select(patch_keys).order_by(patch_keys.c.added_at, patch_keys.c.id)
    return [_record(row) for row in connection.execute(query)]


def revoke(connection: Connection, key_id: str, *, at: datetime, by: str, why: str) -> bool:
    """Revoke a key; False if it is revoked already, or not there."""
    not_yet = (patch_keys.c.id == key_id) & patch_keys.c.revoked_at.is_(None)
    statement = patch_keys.update().where(not_yet).values(revoked_at=at, revoked_by=by, why=why)
    return connection.execute(statement).rowcount > 0


def deployed(connection: Connection) -> list[Deployed]:
    """Return what is in force on nodes that were not removed, with the key that it is signed with."""
    query = (
        select(patches.c.id, patches.c.key_id, patches.c.name, patches.c.version, nodes.c.name.label("node"))
        .join(patch_nodes, patch_nodes.c.patch_id == patches.c.id)
        .join(nodes, nodes.c.id == patch_nodes.c.node_id)
        .where(patch_nodes.c.state.in_(IN_FORCE), nodes.c.lifecycle == Lifecycle.ACTIVE.value)
        .order_by(patches.c.id, nodes.c.name)
    )
    return [
        Deployed(patch_id=row.id, key_id=row.key_id, name=row.name, version=row.version, node=row.node)
        for row in connection.execute(query)
    ]


def _record(row: Row[Any]) -> PatchKey:
    return PatchKey(
        id=row.id,
        name=row.name,
        kind=row.kind,
        public=row.public,
        added_at=row.added_at,
        added_by=row.added_by,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
        why=row.why,
    )
