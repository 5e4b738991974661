"""What a human should hear of: published by services, shown in LOG_CHANNEL and in ``fleet events``."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from master.services.core.broadcast import Broadcast
from master.services.core.views import FleetEvent
from master.supervision.clock import Clock


class AlertLevel(StrEnum):
    """How much an alert matters; each face has a colour for it."""

    INFORMATION = "information"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing to tell the operator."""

    level: AlertLevel
    key: str
    """Alerts with the same key are the same trouble: LOG_CHANNEL shows them once in a while, with a count."""
    title: str
    text: str = ""
    node: str = ""
    """The node's name; empty when the alert is about no node."""
    at: datetime
    fields: tuple[tuple[str, str], ...] = field(default=())


class Announcer:
    """Publishes events and alerts to whoever listens."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.events: Broadcast[FleetEvent] = Broadcast()
        self.alerts: Broadcast[Alert] = Broadcast(capacity=200)

    def event(self, kind: str, *, node: str = "", detail: str = "", pid: int | None = None) -> None:
        """Publish one event to the event stream."""
        self.events.publish(FleetEvent(at=self._clock.now().timestamp(), kind=kind, node=node, detail=detail, pid=pid))

    def alert(
        self,
        level: AlertLevel,
        title: str,
        *,
        key: str,
        text: str = "",
        node: str = "",
        fields: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Publish one alert, and the same as an event."""
        at = self._clock.now()
        self.alerts.publish(Alert(level=level, key=key, title=title, text=text, node=node, at=at, fields=fields))
        self.event("alert", node=node, detail=title)


@dataclass(frozen=True, slots=True)
class Admitted:
    """An alert that may be shown now, and how many like it were held back since the last one."""

    alert: Alert
    held_back: int


class AlertLimiter:
    """Let the same trouble through once in ``interval_s``, and all trouble at most ``burst`` times in it.

    Bounded: at most ``capacity`` keys are remembered, the oldest are forgotten first.
    """

    def __init__(self, clock: Clock, *, interval_s: float = 60.0, burst: int = 20, capacity: int = 1_000) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._burst = burst
        self._capacity = capacity
        self._shown_at: dict[str, float] = {}
        self._held_back: dict[str, int] = {}
        self._recent: list[float] = []

    def admit(self, alert: Alert) -> Admitted | None:
        """Return the alert with the count of its held-back predecessors, or None while it is held back."""
        now = self._clock.monotonic()
        self._recent = [shown for shown in self._recent if now - shown < self._interval_s]
        last = self._shown_at.get(alert.key)
        too_soon = last is not None and now - last < self._interval_s
        if too_soon or len(self._recent) >= self._burst:
            self._held_back[alert.key] = self._held_back.get(alert.key, 0) + 1
            self._forget_oldest()
            return None
        self._shown_at.pop(alert.key, None)
        self._shown_at[alert.key] = now
        self._recent.append(now)
        self._forget_oldest()
        return Admitted(alert, self._held_back.pop(alert.key, 0))

    def _forget_oldest(self) -> None:
        for memory in (self._shown_at, self._held_back):
            while len(memory) > self._capacity:
                del memory[next(iter(memory))]
