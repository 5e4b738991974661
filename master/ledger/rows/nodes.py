"""Rows of ``nodes``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from master.ledger.rows.records import DesiredState, Lifecycle, Node, ReadinessKind
from master.ledger.schema.tables import nodes


def _record(row: Row[Any]) -> Node:
    return Node(
        id=row.id,
        name=row.name,
        folder=row.folder,
        entry=row.entry,
        bot_user_id=row.bot_user_id,
        desired_state=DesiredState(row.desired_state),
        lifecycle=Lifecycle(row.lifecycle),
        readiness=ReadinessKind(row.readiness),
        key_epoch=row.key_epoch,
        template_version=row.template_version,
        tags=tuple(row.tags.split(",")) if row.tags else (),
        priority=row.priority,
        flagged_at=row.flagged_at,
        flag_reason=row.flag_reason,
        pid=row.pid,
        pid_started_at=row.pid_started_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def insert(connection: Connection, node: Node) -> None:
    """Add a node.

    Raises
    ------
    Conflict
        Its name, folder or bot belongs to another node.
    """
    connection.execute(
        nodes.insert().values(
            id=node.id,
            name=node.name,
            name_key=node.name.casefold(),
            folder=node.folder,
            entry=node.entry,
            bot_user_id=node.bot_user_id,
            desired_state=node.desired_state.value,
            lifecycle=node.lifecycle.value,
            readiness=node.readiness.value,
            key_epoch=node.key_epoch,
            template_version=node.template_version,
            tags=",".join(node.tags),
            priority=node.priority,
            flagged_at=node.flagged_at,
            flag_reason=node.flag_reason,
            pid=node.pid,
            pid_started_at=node.pid_started_at,
            created_at=node.created_at,
            updated_at=node.updated_at,
        )
    )


def get(connection: Connection, node_id: str) -> Node | None:
    """Return the node with this id, removed ones included."""
    row = connection.execute(select(nodes).where(nodes.c.id == node_id)).one_or_none()
    return None if row is None else _record(row)


def find_by_name(connection: Connection, name: str) -> Node | None:
    """Return the active node called ``name``, without regard to case, or with that id; None when there is none."""
    query = select(nodes).where(
        nodes.c.lifecycle == Lifecycle.ACTIVE.value, (nodes.c.name_key == name.casefold()) | (nodes.c.id == name)
    )
    row = connection.execute(query).first()
    return None if row is None else _record(row)


def list_active(connection: Connection) -> list[Node]:
    """Return the active nodes in start order."""
    return _list(connection, Lifecycle.ACTIVE)


def list_provisioning(connection: Connection) -> list[Node]:
    """Return the nodes whose onboarding did not finish."""
    return _list(connection, Lifecycle.PROVISIONING)


def _list(connection: Connection, lifecycle: Lifecycle) -> list[Node]:
    rows = connection.execute(
        select(nodes).where(nodes.c.lifecycle == lifecycle.value).order_by(nodes.c.priority, nodes.c.name_key)
    )
    return [_record(row) for row in rows]


def _update(connection: Connection, node_id: str, at: datetime, **values: object) -> None:
    connection.execute(nodes.update().where(nodes.c.id == node_id).values(updated_at=at, **values))


def activate(connection: Connection, node_id: str, *, at: datetime) -> None:
    """Mark a node as active: its provisioning is complete."""
    _update(connection, node_id, at, lifecycle=Lifecycle.ACTIVE.value)


def mark_removed(connection: Connection, node_id: str, *, at: datetime) -> None:
    """Mark a node as removed: its name, folder and bot are free again, its history stays."""
    _update(
        connection,
        node_id,
        at,
        lifecycle=Lifecycle.REMOVED.value,
        desired_state=DesiredState.STOPPED.value,
        pid=None,
        pid_started_at=None,
    )


def set_desired_state(connection: Connection, node_id: str, desired: DesiredState, *, at: datetime) -> None:
    """Set a node's desired state."""
    _update(connection, node_id, at, desired_state=desired.value)


def set_process(
    connection: Connection, node_id: str, pid: int | None, started_at: float | None, *, at: datetime
) -> None:
    """Set a node's current process (start in seconds since boot); None for no process."""
    _update(connection, node_id, at, pid=pid, pid_started_at=started_at)


def set_flag(connection: Connection, node_id: str, reason: str, *, at: datetime) -> None:
    """Flag a node: a message that named it was refused."""
    _update(connection, node_id, at, flagged_at=at, flag_reason=reason)


def clear_flag(connection: Connection, node_id: str, *, at: datetime) -> None:
    """Clear a node's flag."""
    _update(connection, node_id, at, flagged_at=None, flag_reason="")


def raise_key_epoch(connection: Connection, node_id: str, *, at: datetime) -> None:
    """Invalidate all keys that the node had."""
    _update(connection, node_id, at, key_epoch=nodes.c.key_epoch + 1)
