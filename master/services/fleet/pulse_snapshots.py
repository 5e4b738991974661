"""Periodic snapshots of the nodes in the ledger; the data of single pulses stays in memory."""

from __future__ import annotations

import asyncio

from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import PulseSnapshot
from master.ledger.writer.entries import PulsesSampled
from master.supervision.clock import Clock
from master.supervision.supervisor import Supervisor

EVERY_S = 300.0


class PulseSnapshots:
    """Take periodic snapshots of the running nodes."""

    def __init__(self, ledger: Ledger, supervisor: Supervisor, clock: Clock) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._clock = clock

    async def run(self) -> None:
        """Take a snapshot every five minutes, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.take()

    def take(self) -> None:
        """Take a snapshot now; never blocks."""
        now = self._clock.now()
        snapshots = tuple(
            PulseSnapshot(
                id=new_ulid(self._clock),
                at=now,
                node_id=view.node_id,
                state=view.state.value,
                latency_ms=None if view.latency_ms is None else round(view.latency_ms),
                guilds=view.guilds or 0,
                memory_bytes=view.rss_bytes,
            )
            for view in self._supervisor.snapshot()
            if view.pid is not None
        )
        if snapshots:
            self._ledger.write_soon(PulsesSampled(snapshots=snapshots))
