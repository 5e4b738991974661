"""What happens to processes, written to the ledger and announced; listens to the supervisor."""

from __future__ import annotations

import logging
from collections.abc import Callable

from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import ProcessRecord
from master.ledger.writer.entries import ProcessStep
from master.services.core.alerts import AlertLevel, Announcer
from master.services.core.directory import NodeDirectory
from master.supervision.clock import Clock
from master.supervision.states import ProcessEvent, ProcessEventKind

log = logging.getLogger(__name__)

_GONE = frozenset(
    {ProcessEventKind.EXITED, ProcessEventKind.STOPPED, ProcessEventKind.KILLED, ProcessEventKind.MISSING}
)


class ProcessJournal:
    """Turn the supervisor's events into rows, events and alerts; never waits."""

    def __init__(
        self,
        ledger: Ledger,
        directory: NodeDirectory,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self._announcer = announcer
        self._clock = clock
        self.process_ended: Callable[[str], None] = _ignore
        """Told the node id whenever a node's process is gone; set once verification exists."""
        self._degraded: set[str] = set()
        """Nodes of which an alert says that they are degraded: another says when they no longer are."""

    def __call__(self, event: ProcessEvent) -> None:
        """Take one event."""
        if event.kind in _GONE:
            self.process_ended(event.node_id)
        self._write(event)
        node = self._directory.get(event.node_id)
        name = node.name if node else event.node_id
        log.info(
            "process %s",
            event.kind.value,
            extra={"node": name, "pid": event.pid, "detail": event.detail},
        )
        self._announcer.event(event.kind.value, node=name, detail=event.detail, pid=event.pid)
        self._alert(event, name)

    def _write(self, event: ProcessEvent) -> None:
        record = ProcessRecord(
            id=new_ulid(self._clock),
            at=event.at,
            node_id=event.node_id,
            kind=event.kind.value,
            pid=event.pid,
            exit_code=event.exit_code,
            signal=event.signal,
            detail=event.detail[:400],
        )

        spawned = event.kind is ProcessEventKind.SPAWNED
        self._ledger.write_soon(
            ProcessStep(
                record=record,
                host=event.host,
                moved=spawned or event.kind in _GONE,
                pid_started_at=event.pid_started_at if spawned else None,
            )
        )

    def _alert(self, event: ProcessEvent, name: str) -> None:
        match event.kind:
            case ProcessEventKind.QUARANTINED:
                self._announcer.alert(
                    AlertLevel.ERROR,
                    f"{name} is quarantined",
                    key=f"quarantined:{event.node_id}",
                    text=f"It exits too often. {event.detail}"[:1500],
                    node=name,
                )
            case ProcessEventKind.DEGRADED:
                self._degraded.add(event.node_id)
                self._announcer.alert(
                    AlertLevel.WARNING,
                    f"{name} is degraded",
                    key=f"degraded:{event.node_id}",
                    text=event.detail[:1500],
                    node=name,
                )
            case ProcessEventKind.READY | ProcessEventKind.RECOVERED if event.node_id in self._degraded:
                # Ready after a restart is as good an end of it as recovered.
                self._degraded.discard(event.node_id)
                self._announcer.alert(
                    AlertLevel.SUCCESS, f"{name} is no longer degraded", key=f"recovered:{event.node_id}", node=name
                )
            case ProcessEventKind.MISSING:
                self._announcer.alert(
                    AlertLevel.ERROR,
                    f"{name} has lost its folder",
                    key=f"missing:{event.node_id}",
                    text=event.detail[:1500],
                    node=name,
                )
            case ProcessEventKind.BACKOFF:
                self._announcer.alert(
                    AlertLevel.WARNING,
                    f"{name} exited and waits before its next start",
                    key=f"backoff:{event.node_id}",
                    text=event.detail[:1500],
                    node=name,
                )
            case _:
                pass


def _ignore(_node_id: str) -> None:
    """Nobody listens yet."""
