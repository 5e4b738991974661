"""Rows of ``patch_tracking``: reactions to patches that came or went, and what nodes said of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from master.ledger.rows.records import PatchTrack
from master.ledger.schema.tables import patch_tracking


def add_all(connection: Connection, tracks: Sequence[PatchTrack]) -> None:
    """Add rows, in one statement; those that are there already are not added again."""
    table = patch_tracking
    known = set(connection.scalars(select(table.c.id).where(table.c.id.in_([track.id for track in tracks]))))
    added = [_values(track) for track in tracks if track.id not in known]
    if added:
        connection.execute(table.insert(), added)


def of_patch(connection: Connection, patch_id: str, *, limit: int = 1_000) -> list[PatchTrack]:
    """Return the latest rows of a patch, oldest first."""
    table = patch_tracking
    query = select(table).where(table.c.patch_id == patch_id).order_by(table.c.id.desc()).limit(limit)
    return [PatchTrack(**row._mapping) for row in reversed(connection.execute(query).all())]


def standing(connection: Connection, patch_id: str) -> set[tuple[int, str]]:
    """Return the reactions to a patch that are there by what was tracked: who, and with which emoji."""
    table = patch_tracking
    query = (
        select(table.c.user_id, table.c.emoji, table.c.kind)
        .where(table.c.patch_id == patch_id, table.c.user_id.is_not(None))
        .order_by(table.c.id)
    )
    found = set[tuple[int, str]]()
    for user_id, emoji, kind in connection.execute(query):
        if kind == "reaction":
            found.add((user_id, emoji))
        else:
            found.discard((user_id, emoji))
    return found


def _values(track: PatchTrack) -> dict[str, object]:
    return {
        "id": track.id,
        "at": track.at,
        "patch_id": track.patch_id,
        "node_id": track.node_id,
        "kind": track.kind,
        "user_id": track.user_id,
        "emoji": track.emoji[:64],
        "status": track.status,
        "detail": track.detail[:400],
    }
