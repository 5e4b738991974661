"""Where errors show beside the nodes' output: ends of processes, signed reports, states."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable

from handshake.messages import ErrorReport
from master.bus import EventBus
from master.events import (
    BoxOffline,
    BoxOnline,
    ErrorReported,
    NodeBackedOff,
    NodeCutOff,
    NodeDegraded,
    NodeEvent,
    NodeExited,
    NodeHeld,
    NodeMissing,
    NodeQuarantined,
    NodeReplaced,
)
from master.services.healing.exit_output import ExitOutput
from master.services.healing.monitor import ErrorMonitor
from master.services.healing.sighting import SeenIn, Sighting

log = logging.getLogger(__name__)

_STATES: tuple[type[NodeEvent], ...] = (
    NodeDegraded,
    NodeCutOff,
    NodeReplaced,
    NodeBackedOff,
    NodeQuarantined,
    NodeMissing,
)
_CLOSE = re.compile(r"close (\d{4})\Z")


class ErrorSources:
    """Hand what the bus tells of errors to the monitor. What an operator asked for is none.

    Parameters
    ----------
    exit_output
        Built before this.
    """

    def __init__(self, bus: EventBus, exit_output: ExitOutput, monitor: ErrorMonitor) -> None:
        self._exit_output = exit_output
        self._monitor = monitor
        self._exits: set[NodeExited] = set()
        """Whose lines are being read."""
        bus.on(NodeExited, self._on_exit)
        bus.on(NodeHeld, lambda event: self._forget(event.node_id))
        bus.on(BoxOffline, lambda _event: self._set_offline(True))
        bus.on(BoxOnline, lambda _event: self._set_offline(False))
        bus.on(ErrorReported, self._on_report)
        for kind in _STATES:
            bus.on(kind, self._on_state)

    def _set_offline(self, is_offline: bool) -> None:
        self._monitor.note_offline(is_offline)

    def _forget(self, node_id: str) -> None:
        # It ended for want of Discord.
        self._exits = {event for event in self._exits if event.node_id != node_id}

    def _on_exit(self, event: NodeExited) -> None:
        self._exits.add(event)
        self._exit_output.reading_of(event).add_done_callback(self._taking(event))

    def _taking(self, event: NodeExited) -> Callable[[asyncio.Task[list[str]]], None]:
        def take(reading: asyncio.Task[list[str]]) -> None:
            if event not in self._exits or reading.cancelled():
                return
            self._exits.discard(event)
            error = reading.exception()
            if error is not None:
                log.error("the last lines of a node could not be read", exc_info=error, extra={"node": event.node_id})
            lines = reading.result() if error is None else []
            self._monitor.take(
                Sighting(
                    node_id=event.node_id,
                    at=event.at,
                    seen_in=SeenIn.EXIT,
                    text="\n".join([event.detail, *lines]),
                )
            )

        return take

    def _on_report(self, event: ErrorReported) -> None:
        report = event.report
        self._monitor.take(
            Sighting(
                node_id=event.node_id,
                at=event.at,
                seen_in=SeenIn.GATEWAY_CLOSE if _close_code(report) else SeenIn.REPORT,
                text=text_of(report),
                exception=report.exception,
                fingerprint=report.fingerprint,
                count=report.count,
            )
        )

    def _on_state(self, event: NodeEvent) -> None:
        text = f"{event.kind}: {event.detail}"
        self._monitor.take(Sighting(node_id=event.node_id, at=event.at, seen_in=SeenIn.STATE, text=text))


def _close_code(report: ErrorReport) -> str:
    found = _CLOSE.fullmatch(report.where) if report.source == "gateway" else None
    return "" if found is None else found[1]


def text_of(report: ErrorReport) -> str:
    """Return a report as solutions see it."""
    if code := _close_code(report):
        return f"gateway closed with {code}"
    first = f"{report.source} {report.where}: {report.exception}: {report.message}"
    return f"{first}\n{report.traceback}" if report.traceback else first
