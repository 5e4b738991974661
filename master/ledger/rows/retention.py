"""Pruning of old events in small batches, so that no statement locks the database for long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Table, select

from master.ledger.identifiers import first_ulid_of
from master.ledger.schema.tables import (
    error_events,
    error_groups,
    handshake_events,
    patch_tracking,
    process_events,
    pulse_snapshots,
    solution_runs,
)

PRUNABLE: dict[str, Table] = {
    # Tables that refer to others come first. The audit log is not pruned: an incomplete chain proves nothing.
    "solution_runs": solution_runs,
    "patch_tracking": patch_tracking,
    "error_events": error_events,
    "error_groups": error_groups,
    "process_events": process_events,
    "handshake_events": handshake_events,
    "pulse_snapshots": pulse_snapshots,
}
BATCH_ROWS = 200


def prune(connection: Connection, name: str, before: datetime, *, limit: int = BATCH_ROWS) -> int:
    """Remove up to ``limit`` rows of a table that are older than ``before``; returns how many.

    Ids are ULIDs, which sort by time, so this is a range of the primary key on every table and both databases.
    """
    table = PRUNABLE[name]
    if table is error_groups:
        return _prune_groups(connection, before, limit)
    old = select(table.c.id).where(table.c.id < first_ulid_of(before))
    if table is error_events:
        # A row counts repeats of one error: its last time decides.
        old = old.where(table.c.last_at < before)
    ids = connection.execute(old.order_by(table.c.id).limit(limit)).scalars().all()
    if ids:
        connection.execute(table.delete().where(table.c.id.in_(ids)))
    return len(ids)


def _prune_groups(connection: Connection, before: datetime, limit: int) -> int:
    """Remove groups of errors that were not seen since; what an operator muted stays muted."""
    table = error_groups
    old = select(table.c.fingerprint).where(table.c.last_at < before, table.c.state != "muted")
    found = connection.execute(old.order_by(table.c.last_at).limit(limit)).scalars().all()
    if found:
        connection.execute(table.delete().where(table.c.fingerprint.in_(found)))
    return len(found)
