"""Errors that nodes report: the same fingerprint is the same error, counted in the ledger and told once in a while."""

from __future__ import annotations

from handshake.messages import ErrorReport
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import ErrorEvent, Node
from master.ledger.writer.entries import ErrorReported
from master.services.core.alerts import AlertLevel, Announcer
from master.supervision.clock import Clock

_SHOWN_TRACEBACK_CHARACTERS = 900


class ErrorReports:
    """Keep and announce what went wrong inside nodes."""

    def __init__(self, ledger: Ledger, announcer: Announcer, clock: Clock) -> None:
        self._ledger = ledger
        self._announcer = announcer
        self._clock = clock

    def receive(self, node: Node, report: ErrorReport) -> None:
        """Take one verified report; never waits."""
        event = ErrorEvent(
            id=new_ulid(self._clock),
            at=self._clock.now(),
            node_id=node.id,
            source=report.source,
            fingerprint=report.fingerprint,
            summary=f"{report.where}: {report.exception}: {report.message}"[:400],
            detail=report.traceback,
            count=report.count,
        )
        self._ledger.write_soon(ErrorReported(event=event))
        self._announcer.event("error", node=node.name, detail=event.summary[:200])
        tail = report.traceback[-_SHOWN_TRACEBACK_CHARACTERS:].replace("```", "'''")
        self._announcer.alert(
            AlertLevel.ERROR,
            f"{node.name}: {report.exception} in {report.where}"[:250],
            key=f"error:{node.id}:{report.fingerprint}",
            text=f"{report.message[:300]}\n```py\n{tail}\n```" if tail else report.message[:300],
            node=node.name,
            fields=(("Fingerprint", report.fingerprint), ("Times", str(report.count))),
        )
