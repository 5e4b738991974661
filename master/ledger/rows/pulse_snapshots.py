"""Rows of ``pulse_snapshots``: the nodes' state every few minutes; the pulses themselves stay in memory."""

from __future__ import annotations

from msgspec.structs import asdict
from sqlalchemy import Connection, select

from master.ledger.rows.records import PulseSnapshot
from master.ledger.schema.tables import pulse_snapshots


def insert(connection: Connection, *snapshots: PulseSnapshot) -> None:
    """Add snapshots."""
    connection.execute(pulse_snapshots.insert(), [asdict(snapshot) for snapshot in snapshots])


def recent(connection: Connection, node_id: str, *, limit: int = 288) -> list[PulseSnapshot]:
    """Return a node's latest snapshots, newest first."""
    query = (
        select(pulse_snapshots)
        .where(pulse_snapshots.c.node_id == node_id)
        .order_by(pulse_snapshots.c.at.desc(), pulse_snapshots.c.id.desc())
        .limit(limit)
    )
    return [PulseSnapshot(**row._mapping) for row in connection.execute(query)]
