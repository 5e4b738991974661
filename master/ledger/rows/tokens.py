"""Rows of ``node_tokens``: sealed bot tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from master.ledger.schema.tables import node_tokens


def store(connection: Connection, node_id: str, sealed: bytes, *, at: datetime) -> None:
    """Store a node's sealed token, replacing an earlier one."""
    delete(connection, node_id)
    connection.execute(node_tokens.insert().values(node_id=node_id, sealed=sealed, updated_at=at))


def load(connection: Connection, node_id: str) -> bytes | None:
    """Return a node's sealed token."""
    return connection.execute(select(node_tokens.c.sealed).where(node_tokens.c.node_id == node_id)).scalar_one_or_none()


def load_all(connection: Connection) -> dict[str, bytes]:
    """Return every node's sealed token."""
    return {row.node_id: row.sealed for row in connection.execute(select(node_tokens))}


def delete(connection: Connection, node_id: str) -> None:
    """Delete a node's token."""
    connection.execute(node_tokens.delete().where(node_tokens.c.node_id == node_id))
