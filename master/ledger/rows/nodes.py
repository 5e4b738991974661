"""Rows of ``nodes``. Writes are fenced: each names the host that the node is believed to belong to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from master.ledger.errors import Fenced
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
        host=row.host,
        options=row.options,
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
            host=node.host,
            options=node.options,
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


def ids_named(connection: Connection, name: str) -> list[str]:
    """Return the ids of all nodes called ``name``, without regard to case, or with that id; removed ones included."""
    query = select(nodes.c.id).where((nodes.c.name_key == name.casefold()) | (nodes.c.id == name))
    return list(connection.execute(query).scalars())


def names(connection: Connection) -> dict[str, str]:
    """Return the names of all nodes by their ids; removed ones included."""
    return {row.id: row.name for row in connection.execute(select(nodes.c.id, nodes.c.name))}


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


def _update(connection: Connection, node_id: str, at: datetime, *, host: str, **values: object) -> bool:
    """Write to a node's row while the node belongs to ``host``; False when it does not, or there is none."""
    written = connection.execute(
        nodes.update().where(nodes.c.id == node_id, nodes.c.host == host).values(updated_at=at, **values)
    )
    return bool(written.rowcount)


def _update_surely(connection: Connection, node_id: str, at: datetime, *, host: str, **values: object) -> None:
    if _update(connection, node_id, at, host=host, **values):
        return
    owner = connection.execute(select(nodes.c.host).where(nodes.c.id == node_id)).scalar_one_or_none()
    if owner is not None:
        raise Fenced(node_id, host=host, owner=owner)


def activate(connection: Connection, node_id: str, *, host: str, at: datetime) -> None:
    """End a node's provisioning.

    Raises
    ------
    Fenced
    """
    _update_surely(connection, node_id, at, host=host, lifecycle=Lifecycle.ACTIVE.value)


def change(connection: Connection, node: Node) -> None:
    """Write what an operator may change of a node: name, folder, entry, bot, readiness, tags, priority, options.

    Parameters
    ----------
    node
        As it is to be.

    Raises
    ------
    Conflict
        Its new name or bot belongs to another node.
    Fenced
    """
    _update_surely(
        connection,
        node.id,
        node.updated_at,
        host=node.host,
        name=node.name,
        name_key=node.name.casefold(),
        folder=node.folder,
        entry=node.entry,
        bot_user_id=node.bot_user_id,
        readiness=node.readiness.value,
        tags=",".join(node.tags),
        priority=node.priority,
        options=node.options,
    )


def mark_removed(connection: Connection, node_id: str, *, host: str, at: datetime) -> None:
    """Retire a node: its name, folder and bot are free again, its history stays. One that is not there is no mistake.

    Raises
    ------
    Fenced
    """
    _update_surely(
        connection,
        node_id,
        at,
        host=host,
        lifecycle=Lifecycle.REMOVED.value,
        desired_state=DesiredState.STOPPED.value,
        pid=None,
        pid_started_at=None,
    )


# What entries write may come long after it was meant, out of a spool: these say whether the node was still the host's.


def set_desired_state(connection: Connection, node_id: str, desired: DesiredState, *, host: str, at: datetime) -> bool:
    """Write what the operator wants of a node; False when it is not the host's."""
    return _update(connection, node_id, at, host=host, desired_state=desired.value)


def set_process(
    connection: Connection, node_id: str, pid: int | None, started_at: float | None, *, host: str, at: datetime
) -> bool:
    """Write which process a node is now (start in seconds since boot), or None; False when it is not the host's."""
    return _update(connection, node_id, at, host=host, pid=pid, pid_started_at=started_at)


def set_flag(connection: Connection, node_id: str, reason: str, *, host: str, at: datetime) -> bool:
    """Flag a node, because a message in its name was refused; False when it is not the host's."""
    return _update(connection, node_id, at, host=host, flagged_at=at, flag_reason=reason)


def clear_flag(connection: Connection, node_id: str, *, host: str, at: datetime) -> bool:
    """Take a node's flag away; False when it is not the host's."""
    return _update(connection, node_id, at, host=host, flagged_at=None, flag_reason="")


def raise_key_epoch(connection: Connection, node_id: str, *, at: datetime) -> None:
    """Make all keys that the node had worthless, on whichever host it is: keys are the master's."""
    connection.execute(
        nodes.update().where(nodes.c.id == node_id).values(updated_at=at, key_epoch=nodes.c.key_epoch + 1)
    )
