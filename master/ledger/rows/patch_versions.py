"""Rows of ``patch_versions``: the highest version that was accepted, for each key of an author and each channel."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from master.ledger.schema.tables import patch_versions


def highest(connection: Connection, key_id: str, channel: str) -> int:
    """Return the highest version that was accepted of a key; 0: none."""
    table = patch_versions
    query = select(table.c.version).where(table.c.key_id == key_id, table.c.channel == channel)
    return connection.execute(query).scalar_one_or_none() or 0


def list_all(connection: Connection) -> dict[tuple[str, str], int]:
    """Return all of them, by key and channel."""
    query = select(patch_versions).order_by(patch_versions.c.key_id, patch_versions.c.channel)
    return {(row.key_id, row.channel): row.version for row in connection.execute(query)}


def advance(connection: Connection, key_id: str, channel: str, version: int, *, at: datetime) -> bool:
    """Note that a version was accepted; False, and nothing is written, if it is not above the highest."""
    table = patch_versions
    before = highest(connection, key_id, channel)
    if version <= before:
        return False
    if not before:
        connection.execute(table.insert().values(key_id=key_id, channel=channel, version=version, at=at))
        return True
    of_channel = (table.c.key_id == key_id) & (table.c.channel == channel)
    connection.execute(table.update().where(of_channel).values(version=version, at=at))
    return True
