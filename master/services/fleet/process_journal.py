"""Journal of process events, in the ledger and in the log."""

from __future__ import annotations

import logging

from master.bus import EventBus
from master.events import NodeEnded, NodeEvent, NodeMissing, NodeReplaced, NodeSpawned
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import ProcessRecord
from master.ledger.writer.entries import ProcessStep
from master.services.core.directory import NodeDirectory
from master.supervision.clock import Clock

log = logging.getLogger(__name__)


class ProcessJournal:
    """Write node events to the ledger; never blocks."""

    def __init__(self, ledger: Ledger, directory: NodeDirectory, bus: EventBus, clock: Clock) -> None:
        self._ledger = ledger
        self._directory = directory
        self._clock = clock
        bus.on(NodeEvent, self._on_event)

    def _on_event(self, event: NodeEvent) -> None:
        if not isinstance(event, NodeReplaced):
            # The row of its exit follows, and has the reason.
            self._write(event)
        name = self._directory.name_of(event.node_id)
        log.info("process %s", event.kind, extra={"node": name, "pid": event.pid, "detail": event.detail})

    def _write(self, event: NodeEvent) -> None:
        ended = event if isinstance(event, NodeEnded) else None
        record = ProcessRecord(
            id=new_ulid(self._clock),
            at=event.at,
            node_id=event.node_id,
            kind=event.kind,
            pid=event.pid,
            exit_code=ended.exit_code if ended else None,
            signal=ended.signal if ended else None,
            detail=event.detail[:400],
        )
        spawned = event if isinstance(event, NodeSpawned) else None
        self._ledger.write_soon(
            ProcessStep(
                record=record,
                host=event.host,
                moved=spawned is not None or ended is not None or isinstance(event, NodeMissing),
                pid_started_at=spawned.pid_started_at if spawned else None,
            )
        )
