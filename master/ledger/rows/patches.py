"""Rows of ``patches``: each patch that was accepted, and how far its roll-out is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from master.ledger.rows.records import Patch
from master.ledger.schema.tables import patch_nodes, patches

UNFINISHED = ("received", "approved", "rolling", "soaking", "asking", "paused", "rolling_back")
"""States in which a roll-out goes on, or may begin."""
_WITHOUT_DOCUMENT = [column for column in patches.c if column.name != "document"]


def insert(connection: Connection, patch: Patch) -> None:
    """Add a patch that was accepted."""
    connection.execute(
        patches.insert().values(
            id=patch.id,
            name=patch.name,
            channel=patch.channel,
            version=patch.version,
            key_id=patch.key_id,
            author=patch.author,
            received_at=patch.received_at,
            received_from=patch.received_from,
            bundle_hash=patch.bundle_hash,
            bundle_bytes=patch.bundle_bytes,
            document=patch.document,
            **_state_of(patch),
        )
    )


def update(connection: Connection, patch: Patch) -> None:
    """Write how far a patch is; what was signed never changes."""
    connection.execute(patches.update().where(patches.c.id == patch.id).values(**_state_of(patch)))


def get(connection: Connection, patch_id: str) -> Patch | None:
    """Return a patch, with its document; None if there is none."""
    row = connection.execute(select(patches).where(patches.c.id == patch_id)).first()
    return None if row is None else _patch(row)


def find_by_hash(connection: Connection, bundle_hash: bytes) -> Patch | None:
    """Return the patch of a bundle, with its document; None if it was never accepted."""
    row = connection.execute(select(patches).where(patches.c.bundle_hash == bundle_hash)).first()
    return None if row is None else _patch(row)


def recent(connection: Connection, *, limit: int) -> list[Patch]:
    """Return the patches that were received last, the latest first; without their documents."""
    query = select(*_WITHOUT_DOCUMENT).order_by(patches.c.id.desc()).limit(limit)
    return [_patch(row) for row in connection.execute(query)]


def in_states(connection: Connection, states: tuple[str, ...]) -> list[Patch]:
    """Return the patches in one of these states, the oldest first; with their documents."""
    query = select(patches).where(patches.c.state.in_(states)).order_by(patches.c.id)
    return [_patch(row) for row in connection.execute(query)]


def with_nodes_left(connection: Connection) -> list[Patch]:
    """Return the patches whose roll-out is over but for some nodes, the oldest first; with their documents.

    They get it before they start, or did not call it good yet; one that was aborted stays on those that have it.
    """
    left = select(patch_nodes.c.patch_id).where(patch_nodes.c.state.in_(("absent", "healthy")))
    query = (
        select(patches).where(patches.c.state.in_(("done", "aborted")), patches.c.id.in_(left)).order_by(patches.c.id)
    )
    return [_patch(row) for row in connection.execute(query)]


def _state_of(patch: Patch) -> dict[str, Any]:
    return {
        "state": patch.state,
        "rollout_plan": patch.rollout_plan,
        "wave": patch.wave,
        "changed_at": patch.changed_at,
        "changed_by": patch.changed_by,
        "reason": patch.reason,
        "message_channel_id": patch.message_channel_id,
        "message_id": patch.message_id,
        "finished_at": patch.finished_at,
    }


def _patch(row: Row[Any]) -> Patch:
    return Patch(**{"document": "", **row._mapping})
