"""Rows of ``patch_nodes``: how far each patch is on each node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, select

from master.ledger.rows.records import PatchNode
from master.ledger.schema.tables import patch_nodes

HELD = ("applied", "healthy", "good")
"""States in which a node runs the patch."""
_FIGURES = [column for column in patch_nodes.c if column.name != "baseline"]


def save(connection: Connection, nodes: Iterable[PatchNode]) -> None:
    """Add how far a patch is on nodes, or replace it."""
    table = patch_nodes
    for node in nodes:
        values = {
            "wave": node.wave,
            "state": node.state,
            "changed_at": node.changed_at,
            "release_after": node.release_after,
            "release_before": node.release_before,
            "baseline": node.baseline,
            "detail": node.detail,
        }
        of_node = (table.c.patch_id == node.patch_id) & (table.c.node_id == node.node_id)
        if not connection.execute(table.update().where(of_node).values(**values)).rowcount:
            connection.execute(table.insert().values(patch_id=node.patch_id, node_id=node.node_id, **values))


def of_patch(connection: Connection, patch_id: str) -> list[PatchNode]:
    """Return how far a patch is on each node."""
    query = select(patch_nodes).where(patch_nodes.c.patch_id == patch_id)
    return [_node(row) for row in connection.execute(query.order_by(patch_nodes.c.wave, patch_nodes.c.node_id))]


def of_node(connection: Connection, node_id: str) -> list[PatchNode]:
    """Return how far each patch is on a node, the latest patch first; without baselines."""
    query = select(*_FIGURES).where(patch_nodes.c.node_id == node_id).order_by(patch_nodes.c.patch_id.desc())
    return [_node(row) for row in connection.execute(query)]


def at_a_glance(connection: Connection, patch_ids: Iterable[str]) -> list[PatchNode]:
    """Return how far these patches are on their nodes, the latest patch first; without baselines."""
    query = select(*_FIGURES).where(patch_nodes.c.patch_id.in_(tuple(patch_ids)))
    return [_node(row) for row in connection.execute(query.order_by(patch_nodes.c.patch_id.desc()))]


def _node(row: Row[Any]) -> PatchNode:
    return PatchNode(**{"baseline": "", **row._mapping})
