"""Error reports of nodes, grouped and counted by fingerprint in the ledger."""

from __future__ import annotations

from handshake.messages import ErrorReport
from master.bus import EventBus
from master.events import ErrorReported
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import ErrorEvent
from master.ledger.writer.entries import ErrorCounted
from master.supervision.clock import Clock


def summary_of(report: ErrorReport) -> str:
    """Return an error in one line of up to 400 characters."""
    return f"{report.where}: {report.exception}: {report.message}"[:400]


class ErrorReports:
    """Write the nodes' error reports to the ledger."""

    def __init__(self, ledger: Ledger, bus: EventBus, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        bus.on(ErrorReported, self._on_report)

    def _on_report(self, event: ErrorReported) -> None:
        report = event.report
        row = ErrorEvent(
            id=new_ulid(self._clock),
            at=event.at,
            node_id=event.node_id,
            source=report.source,
            fingerprint=report.fingerprint,
            summary=summary_of(report),
            detail=report.traceback,
            count=report.count,
        )
        self._ledger.write_soon(ErrorCounted(event=row))
