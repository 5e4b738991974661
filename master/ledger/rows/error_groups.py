"""Rows of ``error_groups``: one for everything that is taken for the same error, on all nodes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, select

from master.ledger.rows.records import ErrorGroup
from master.ledger.schema.tables import error_groups

_WITHOUT_SAMPLE = [column for column in error_groups.c if column.name != "sample"]


def add(connection: Connection, group: ErrorGroup, *, sets_state: bool) -> None:
    """Add a group, or its count to the one that there is.

    Parameters
    ----------
    group
        ``count`` is what is added; an empty ``sample`` leaves the former one.
    sets_state
        Whether a group that there is takes over the state.
    """
    table = error_groups
    values: dict[str, Any] = {"count": table.c.count + group.count, "last_at": group.last_at, "title": group.title}
    if group.sample:
        values["sample"] = group.sample
    if sets_state:
        values |= _state_values(group.state, group.muted_until, group.changed_at, group.changed_by)
    known = connection.execute(table.update().where(table.c.fingerprint == group.fingerprint).values(**values))
    if known.rowcount:
        return
    connection.execute(
        table.insert().values(
            fingerprint=group.fingerprint,
            kind=group.kind,
            title=group.title,
            first_at=group.first_at,
            last_at=group.last_at,
            count=group.count,
            sample=group.sample,
            **_state_values(group.state, group.muted_until, group.changed_at, group.changed_by),
        )
    )


def set_state(
    connection: Connection,
    fingerprint: str,
    state: Literal["known", "resolved", "muted"],
    *,
    muted_until: datetime | None,
    at: datetime,
    by: str,
) -> None:
    """Set the state of a group, as an operator wants it."""
    table = error_groups
    connection.execute(
        table.update().where(table.c.fingerprint == fingerprint).values(**_state_values(state, muted_until, at, by))
    )


def recent(connection: Connection, *, limit: int) -> list[ErrorGroup]:
    """Return the groups that were seen last, the latest first; without their samples."""
    query = select(*_WITHOUT_SAMPLE).order_by(error_groups.c.last_at.desc()).limit(limit)
    return [_group(row) for row in connection.execute(query)]


def some(connection: Connection, fingerprints: Collection[str]) -> list[ErrorGroup]:
    """Return the groups with these fingerprints, without their samples."""
    query = select(*_WITHOUT_SAMPLE).where(error_groups.c.fingerprint.in_(fingerprints))
    return [_group(row) for row in connection.execute(query)]


def beginning_with(connection: Connection, prefix: str, *, limit: int) -> list[ErrorGroup]:
    """Return the groups whose fingerprints begin with some hex digits, samples included."""
    table = error_groups
    query = select(table).where(table.c.fingerprint.startswith(prefix, autoescape=True))
    return [_group(row) for row in connection.execute(query.order_by(table.c.fingerprint).limit(limit))]


def _state_values(state: str, muted_until: datetime | None, at: datetime | None, by: str) -> dict[str, Any]:
    return {"state": state, "muted_until": muted_until, "changed_at": at, "changed_by": by}


def _group(row: Row[Any]) -> ErrorGroup:
    values = dict(row._mapping)
    return ErrorGroup(**values)
