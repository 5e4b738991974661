"""Alerts of groups of errors: one for a cause, on however many nodes, and none where a repair tells of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from master.events import AlertButton, AlertLevel
from master.ledger.rows.records import ErrorGroup
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.healing.sighting import Sighting
from master.services.healing.templates import readable
from master.supervision.clock import Clock

Novelty: TypeAlias = Literal["new", "regressed", "unmuted"]

WAIT_S = 2.0
"""How long an alert waits: for other nodes with the same error, and for somebody else who tells of it."""
TOLD_FOR_S = 60.0
CRASH_TOLD_IN_S = 15.0
"""The crash watch gathers what ends, and waits for what starts, before it tells."""
REPAIR_TOLD_IN_S = 30.0
"""A repair is told when the node is ready again, or when that takes too long."""
_JUST_S = 5.0
_CAPACITY = 500
_SHOWN_NODES = 3
_QUOTE_CHARACTERS = 900
_SAID: dict[Novelty, str] = {
    "new": "Seen for the first time.",
    "regressed": "It was resolved, and is back.",
    "unmuted": "Its mute is over, and it is still seen.",
}


@dataclass(frozen=True, slots=True)
class News:
    """A group of errors that is to be told of.

    Parameters
    ----------
    is_quiet
        An alert of its own kind tells of it already: exits and states of nodes have theirs.
    """

    fingerprint: str
    what: Novelty
    node_id: str
    is_quiet: bool = False


@dataclass(slots=True)
class _Waiting:
    news: News
    due_s: float
    quote: str = ""
    node_ids: dict[str, None] = field(default_factory=dict)


class GroupAlerts:
    """Raise alerts of groups of errors, each after a short wait."""

    def __init__(self, alerts: Alerts, directory: NodeDirectory, clock: Clock) -> None:
        self._alerts, self._directory, self._clock = alerts, directory, clock
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        """By fingerprint."""
        self._told: OrderedDict[str, float] = OrderedDict()
        self._ended: OrderedDict[str, float] = OrderedDict()
        """When a node's process ended last."""

    def add(self, news: News) -> None:
        """Take news; the same again while it waits changes nothing."""
        if news.fingerprint not in self._waiting and len(self._waiting) < _CAPACITY:
            now_s = self._clock.monotonic()
            just_ended = now_s - self._ended.get(news.node_id, float("-inf")) < _JUST_S
            due_s = now_s + (CRASH_TOLD_IN_S if just_ended else WAIT_S)
            self._waiting[news.fingerprint] = _Waiting(news, due_s)

    def ended(self, node_id: str) -> None:
        """Note that a node's process ended: what it wrote just before may be why, which the crash watch tells."""
        now_s = self._clock.monotonic()
        _remember(self._ended, node_id, now_s)
        for waiting in self._waiting.values():
            if waiting.news.node_id == node_id:
                waiting.due_s = now_s + CRASH_TOLD_IN_S

    def known_to_solution(self, fingerprint: str) -> None:
        """Note that a solution knows a group that waits: what becomes of it is told instead, or else this later."""
        waiting = self._waiting.get(fingerprint)
        if waiting is not None:
            waiting.due_s = self._clock.monotonic() + REPAIR_TOLD_IN_S

    def count(self, fingerprint: str, sighting: Sighting) -> None:
        """Note where a group was seen while its alert waits."""
        waiting = self._waiting.get(fingerprint)
        if waiting is not None:
            waiting.node_ids[sighting.node_id] = None
            waiting.quote = waiting.quote or "\n".join([*sighting.lines_before[-3:], sighting.text])

    def told(self, fingerprint: str) -> None:
        """Note that somebody else tells of a group."""
        _remember(self._told, fingerprint, self._clock.monotonic())

    def due_in_s(self) -> float | None:
        """Return the seconds until the next alert is due; None if none waits."""
        due_s = min((waiting.due_s for waiting in self._waiting.values()), default=None)
        return None if due_s is None else max(due_s - self._clock.monotonic(), 0.0)

    async def tell_due(self, is_news: Callable[[News], Awaitable[ErrorGroup | None]]) -> None:
        """Raise the alerts that are due.

        Parameters
        ----------
        is_news
            Returns the group if it is still to be told of.
        """
        now_s = self._clock.monotonic()
        for fingerprint in [one for one, waiting in self._waiting.items() if waiting.due_s <= now_s]:
            waiting = self._waiting.pop(fingerprint)
            group = await is_news(waiting.news)
            if group is not None and not waiting.news.is_quiet and not self._was_told(fingerprint):
                self._raise(group, waiting)

    def _was_told(self, fingerprint: str) -> bool:
        told_s = self._told.get(fingerprint)
        return told_s is not None and self._clock.monotonic() - told_s < TOLD_FOR_S

    def _raise(self, group: ErrorGroup, waiting: _Waiting) -> None:
        names = [self._directory.name_of(node_id) for node_id in waiting.node_ids]
        shown = names[0] if len(names) == 1 else f"{len(names)} nodes"
        if 1 < len(names) <= _SHOWN_NODES:
            shown = f"{', '.join(names[:-1])} and {names[-1]}"
        short = group.fingerprint[:8]
        fields = [("Fingerprint", group.fingerprint), ("Times", str(group.count))]
        if len(names) > _SHOWN_NODES:
            fields.append(("Nodes", ", ".join(sorted(names))[:1_000]))
        self._alerts.raise_alert(
            AlertLevel.ERROR,
            f"{shown}: {readable(group.title)}",
            key=f"error:{group.fingerprint}",
            text=f"{_SAID[waiting.news.what]} `fleet errors show {short}` shows all of it.",
            quote=waiting.quote[-_QUOTE_CHARACTERS:],
            node=names[0] if len(names) == 1 else "",
            fields=tuple(fields),
            buttons=(
                AlertButton(label="Mute 1 h", custom_id=f"repair:mute:{group.fingerprint}"),
                AlertButton(label="Show lines", custom_id=f"repair:lines:{group.fingerprint}"),
            ),
        )


def _remember(times: OrderedDict[str, float], key: str, now_s: float) -> None:
    times.pop(key, None)
    times[key] = now_s
    if len(times) > _CAPACITY:
        times.popitem(last=False)
