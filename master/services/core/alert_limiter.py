"""How many alerts LOG_CHANNEL shows: a budget for each node, security apart, and what was left out is said."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from master.events import AlertRaised
from master.supervision.clock import Clock

INTERVAL_S = 60.0
EACH_NODE, EACH_FLEET = 5, 30
"""Alerts of one kind (security, or all others) that one node, and all nodes together, may cause in an interval. Discord
lets a bot post about 60 messages a minute in a channel."""
CAPACITY = 1_000


@dataclass(frozen=True, slots=True)
class Admitted:
    """An alert that may be shown now, with the number of equal alerts suppressed since the last one."""

    alert: AlertRaised
    held_back: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many alerts were not shown, and were not told of with a later one either."""

    of_nodes: tuple[tuple[str, int], ...]
    """Names with their numbers, the most first; the empty name is the fleet as a whole."""
    security: int
    """How many of them were about security."""

    @property
    def count(self) -> int:
        """Return the number of all of them."""
        return sum(number for _, number in self.of_nodes)


class AlertLimiter:
    """Limit alerts: one per key in an interval, and budgets in it.

    A node that floods uses up its own budget, nobody else's. Security alerts have budgets of their own, so that no
    flood of errors hides a forgery. What concerns no node (an outage, the database) has one as well. At most
    ``CAPACITY`` keys are remembered; the oldest are dropped first.
    """

    def __init__(self, clock: Clock, *, interval_s: float = INTERVAL_S) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._shown_at: dict[str, float] = {}
        self._held_back: dict[str, tuple[AlertRaised, int]] = {}
        self._recent: list[tuple[float, bool, str]] = []
        """When an alert was shown, whether it was about security, and its node."""
        self._held_since = 0.0
        """When the first of ``_held_back`` was."""

    def admit(self, alert: AlertRaised) -> Admitted | None:
        """Return the alert with the number of suppressed ones before it; None if it is suppressed itself."""
        now = self._clock.monotonic()
        self._recent = [shown for shown in self._recent if now - shown[0] < self._interval_s]
        last = self._shown_at.get(alert.key)
        too_soon = last is not None and now - last < self._interval_s
        _, held_back = self._held_back.get(alert.key, (alert, 0))
        if too_soon or not self._has_budget(alert):
            if not self._held_back:
                self._held_since = now
            self._held_back[alert.key] = alert, held_back + 1
            self._forget_oldest()
            return None
        self._shown_at.pop(alert.key, None)
        self._shown_at[alert.key] = now
        self._recent.append((now, alert.is_security, alert.node))
        self._held_back.pop(alert.key, None)
        self._forget_oldest()
        return Admitted(alert, held_back)

    def _has_budget(self, alert: AlertRaised) -> bool:
        same_kind = [node for _, security, node in self._recent if security is alert.is_security]
        of_node = same_kind.count(alert.node)
        if not alert.node and not alert.is_security:
            return of_node < EACH_FLEET
        of_others = len(same_kind) if alert.is_security else len(same_kind) - same_kind.count("")
        return of_node < (EACH_NODE if alert.node else EACH_FLEET) and of_others < EACH_FLEET

    def left_out_due_s(self) -> float | None:
        """Return the seconds until there is something to say of what was left out; None if there is nothing."""
        if not self._held_back:
            return None
        return max(self._held_since + self._interval_s - self._clock.monotonic(), 0.0)

    def left_out(self) -> LeftOut | None:
        """Return what was left out since this was asked last; None if nothing was."""
        if not self._held_back:
            return None
        of_nodes, security = Counter[str](), 0
        for alert, number in self._held_back.values():
            of_nodes[alert.node] += number
            security += number if alert.is_security else 0
        self._held_back.clear()
        return LeftOut(tuple(of_nodes.most_common()), security)

    def _forget_oldest(self) -> None:
        for remembered in (self._shown_at, self._held_back):
            while len(remembered) > CAPACITY:
                del remembered[next(iter(remembered))]
