"""Crashes: explained, counted in the ledger, and told to the operator: once for each cause, not for each node."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from master.bus import EventBus
from master.events import (
    AlertLevel,
    BoxOffline,
    NodeBackedOff,
    NodeContinued,
    NodeEnded,
    NodeEvent,
    NodeExited,
    NodeHeld,
    NodeKilled,
    NodeQuarantined,
    NodeReady,
    NodeRecovered,
    NodeSpawned,
    NodeStopped,
)
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import ErrorEvent, ReadinessKind
from master.ledger.writer.entries import ErrorCounted
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.core.exit_meaning import ExitMeaning, explain_exit, reason_in
from master.services.healing.exit_output import ExitOutput
from master.services.healing.groups import ErrorGroups
from master.services.healing.incidents import Incident, Incidents
from master.services.healing.undecided_exits import UndecidedExits
from master.supervision.clock import Clock
from master.supervision.process import ExitReport
from master.wording import duration, encodable

GATHER_S = 3.0
"""What ends within this time of the first is told together, with those that are ready again by then."""
SETTLE_S = 7.0
"""How much longer is waited for those that are starting, so that one alert says that they are ready again too."""
GROUP_FROM = 3
"""As many nodes or more share one alert."""
DECIDED_WITHIN_S = 20.0
"""How long is waited for who may tell of a crash otherwise; then it is told here too. Twice is better than never."""
_SHOWN_NAMES = 25
ToldAs = Literal["repair", "advice"]
"""As what a solution tells of a crash: with what was done and that the node is ready again, or with what to do."""
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crash:
    """An exit that nobody asked for, and what reads its output."""

    event: NodeExited
    name: str
    at_s: float
    reading: asyncio.Task[list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """Something to tell of one node."""

    incident: Incident
    text: str
    """What follows the node's name."""
    cause: str
    """The text without what varies: equal ones are told together."""
    times: int = 1
    todo: str = ""
    level: AlertLevel = AlertLevel.ERROR
    of_many: str = "went down"
    """What follows the number of nodes, where several are told of together."""


class CrashWatch:
    """Tell of crashes, of replacements, of quarantines, and that all is well again.

    Parameters
    ----------
    exit_output
        Reads what a process wrote last; built before this.
    told_otherwise
        Returns as what the end of a node's process at that time is told by somebody else; None if it is not.
    exits
        Says when that is decided.
    """

    def __init__(
        self,
        *,
        bus: EventBus,
        directory: NodeDirectory,
        ledger: Ledger,
        alerts: Alerts,
        clock: Clock,
        exit_output: ExitOutput,
        groups: ErrorGroups,
        told_otherwise: Callable[[str, datetime], ToldAs | None] = lambda _node_id, _at: None,
        exits: UndecidedExits | None = None,
    ) -> None:
        self._exits = exits or UndecidedExits()
        self._told_otherwise = told_otherwise
        self._directory = directory
        self._ledger = ledger
        self._alerts = alerts
        self._clock = clock
        self._exit_output = exit_output
        self._groups = groups
        self._incidents = Incidents()
        self._crashes: list[_Crash] = []
        self._troubles: list[_Trouble] = []
        self._ended: set[str] = set()
        """Nodes whose process has ended, and who have no new one."""
        self._waiting: set[str] = set()
        """Nodes whose next start is put off."""
        self._news = asyncio.Event()
        bus.on(NodeExited, self._on_exit)
        bus.on(NodeStopped, self._on_asked)
        bus.on(NodeKilled, self._on_asked)
        bus.on(NodeHeld, self._on_held)
        bus.on(BoxOffline, self._on_offline)
        bus.on(NodeSpawned, self._on_spawned)
        bus.on(NodeReady, self._on_ready)
        bus.on(NodeRecovered, self._on_ready)
        bus.on(NodeBackedOff, self._on_backed_off)
        bus.on(NodeQuarantined, self._on_quarantined)
        bus.on(NodeContinued, self._on_continued)

    # Events: on the restart path, so nothing here reads a file

    def _on_exit(self, event: NodeExited) -> None:
        name = self._directory.name_of(event.node_id)
        self._ended.add(event.node_id)
        now = self._clock.monotonic()
        self._incidents.of(event.node_id, name, now).note_down(now)
        self._crashes.append(_Crash(event=event, name=name, at_s=now, reading=self._exit_output.reading_of(event)))
        self._news.set()

    def _on_asked(self, event: NodeEnded) -> None:
        self._ended.add(event.node_id)
        self._incidents.close(event.node_id)

    def _on_held(self, event: NodeHeld) -> None:
        # The outage is told, and its end.
        self._crashes = [crash for crash in self._crashes if crash.event.node_id != event.node_id]
        self._incidents.close(event.node_id)

    def _on_offline(self, _event: BoxOffline) -> None:
        # Those that ended for want of Discord, just before it was noticed. Who was killed was not waiting for it.
        self._crashes = [crash for crash in self._crashes if crash.event.signal == signal.SIGKILL]

    def _on_spawned(self, event: NodeSpawned) -> None:
        self._ended.discard(event.node_id)
        self._waiting.discard(event.node_id)

    def _on_ready(self, event: NodeEvent) -> None:
        incident = self._incidents.get(event.node_id)
        if incident is not None and incident.ready_s is None:
            incident.ready_s = self._clock.monotonic()
            self._news.set()

    def _on_backed_off(self, event: NodeBackedOff) -> None:
        self._put_off(event.node_id)
        if event.node_id not in self._ended:
            why = event.detail.partition("; restart ")[0]
            self._add(event.node_id, f"could not be started: {why}", of_many="could not be started")

    def _put_off(self, node_id: str) -> None:
        self._waiting.add(node_id)
        self._news.set()

    def _on_quarantined(self, event: NodeQuarantined) -> None:
        self._put_off(event.node_id)
        self._add(event.node_id, f"is quarantined: {event.detail}", of_many="are quarantined")

    def _on_continued(self, event: NodeContinued) -> None:
        text = "was stopped by a signal (SIGSTOP), and continued at once"
        self._add(event.node_id, text, of_many="were stopped by a signal", level=AlertLevel.WARNING)

    def _add(self, node_id: str, text: str, *, of_many: str, level: AlertLevel = AlertLevel.ERROR) -> None:
        name = self._directory.name_of(node_id)
        incident = self._incidents.of(node_id, name, self._clock.monotonic())
        todo = f"`fleet why {name}` shows how it came to that"
        self._troubles.append(
            _Trouble(incident=incident, text=text, cause=_cause(text), of_many=of_many, level=level, todo=todo)
        )
        self._news.set()

    # The task

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self._wait()
            if self._crashes or self._troubles:
                await asyncio.sleep(GATHER_S)
                await self._let_settle()
                await self._let_decide()
                await self._tell_troubles()
            self._tell_well()

    async def _wait(self) -> None:
        """Wait for news, or until the next node can be told to be well."""
        if self._crashes or self._troubles:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._incidents.next_well_in_s(self._clock.monotonic())):
                await self._news.wait()
        self._news.clear()

    async def _let_settle(self) -> None:
        """Wait for the nodes that crashed and are starting now."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while any(self._is_starting(crash.event.node_id) for crash in self._crashes):
                    self._news.clear()
                    await self._news.wait()

    async def _let_decide(self) -> None:
        """Wait until it is decided of each crash whether somebody else tells of it."""
        decided = list[_Crash]()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DECIDED_WITHIN_S):
                # More may come meanwhile.
                while open_ones := [crash for crash in self._crashes if not any(crash is one for one in decided)]:
                    for crash in open_ones:
                        # Its output first: with it the end is handed to who decides.
                        await asyncio.wait({crash.reading})
                        await self._exits.decided(crash.event.node_id, crash.event.at)
                    decided += open_ones

    def _is_starting(self, node_id: str) -> bool:
        incident = self._incidents.get(node_id)
        return incident is not None and incident.ready_s is None and node_id not in self._waiting

    async def _tell_troubles(self) -> None:
        crashes, self._crashes = self._crashes, []
        troubles, self._troubles = self._troubles, []
        if crashes:
            outputs = await asyncio.gather(*(crash.reading for crash in crashes))
            explained = map(self._explain, crashes, outputs)
            troubles = [
                *(trouble for crash, trouble in zip(crashes, explained, strict=True) if not self._is_told(crash)),
                *troubles,
            ]
        told = dict[tuple[str, str], _Trouble]()
        for trouble in troubles:
            times = trouble.incident.count(trouble.cause, self._clock.monotonic())
            if times or (trouble.incident.node_id, trouble.cause) in told:
                told[trouble.incident.node_id, trouble.cause] = replace(
                    trouble, times=trouble.incident.causes[trouble.cause]
                )
        by_kind = dict[str, list[_Trouble]]()
        for trouble in told.values():
            by_kind.setdefault(trouble.of_many, []).append(trouble)
        for found in by_kind.values():
            self._raise(found)

    def _is_told(self, crash: _Crash) -> bool:
        """Tell whether somebody else tells of a crash; that the node is well again, after advice, is told here."""
        told_as = self._told_otherwise(crash.event.node_id, crash.event.at)
        if told_as == "advice":
            self._incidents.of(crash.event.node_id, crash.name, crash.at_s).is_open = True
        return told_as is not None

    def _explain(self, crash: _Crash, lines: list[str]) -> _Trouble:
        event, node = crash.event, self._directory.get(crash.event.node_id)
        report = ExitReport(exit_code=event.exit_code, signal=event.signal)
        speaks = node is not None and node.readiness is ReadinessKind.HANDSHAKE
        meaning = explain_exit(crash.name, report, detail=event.detail, lines=lines, speaks=speaks)
        incident = self._incidents.of(event.node_id, crash.name, crash.at_s)
        fingerprint = self._groups.fingerprint_of_exit(event.node_id, "\n".join([event.detail, *lines]))
        self._groups.told(fingerprint)
        if meaning.words and event.signal != signal.SIGKILL and not reason_in(event.detail, report):
            self._record(event, meaning, lines, fingerprint)
        return _Trouble(incident=incident, text=meaning.text, cause=_cause(meaning.text), todo=meaning.todo)

    def _record(self, event: NodeExited, meaning: ExitMeaning, lines: Sequence[str], fingerprint: str) -> None:
        """Count the crash among the node's errors: its last lines are there after the logs were rotated."""
        row = ErrorEvent(
            id=new_ulid(self._clock),
            at=event.at,
            node_id=event.node_id,
            source="exit",
            fingerprint=fingerprint,
            summary=encodable(meaning.text)[:400],
            detail=encodable("\n".join(lines)),
        )
        self._ledger.write_soon(ErrorCounted(event=row))

    # What is told

    def _raise(self, troubles: Sequence[_Trouble]) -> None:
        """Tell of troubles of one kind: together, if they are many."""
        nodes = {trouble.incident.node_id for trouble in troubles}
        if len(nodes) >= GROUP_FROM:
            self._raise_together(troubles, len(nodes))
        else:
            for trouble in troubles:
                self._raise_one(trouble)
        for trouble in troubles:
            trouble.incident.is_open = trouble.incident.ready_s is None

    def _raise_one(self, trouble: _Trouble) -> None:
        incident, said = trouble.incident, list[str]()
        if trouble.times > 1:
            said.append(f"{trouble.times} times in {_seconds(self._clock.monotonic() - incident.began_s)}.")
        if incident.ready_s is not None:
            said.append(f"It is ready again, after {_seconds(incident.ready_s - incident.down_s)}.")
        elif trouble.todo:
            said.append(f"{trouble.todo[0].upper()}{trouble.todo[1:]}.")
        else:
            said.append("It is being restarted.")
        self._alerts.raise_alert(
            _level_of([trouble]),
            f"{incident.name} {trouble.text}",
            key=f"incident:{incident.node_id}:{trouble.cause}"[:200],
            text=" ".join(said),
            node=incident.name,
        )

    def _raise_together(self, troubles: Sequence[_Trouble], count: int) -> None:
        by_cause = dict[str, list[_Trouble]]()
        for trouble in troubles:
            by_cause.setdefault(trouble.cause, []).append(trouble)
        lines = [f"{_names([one.incident for one in found])}: {found[0].text}" for found in by_cause.values()]
        down = [trouble.incident for trouble in troubles if trouble.incident.ready_s is None]
        if not down:
            lines.append("All are ready again.")
        elif len(down) < len(troubles):
            lines.append(f"Not ready again yet: {_names(down)}.")
        self._alerts.raise_alert(
            _level_of(troubles),
            f"{count} nodes {troubles[0].of_many}",
            key=f"incidents:{troubles[0].of_many}:{self._clock.monotonic():.0f}",
            text="\n".join(lines),
        )

    def _tell_well(self) -> None:
        """Tell of the nodes that are well again; those that will be in a moment are not told of one by one."""
        now = self._clock.monotonic()
        if not self._incidents.well(now):
            return
        found = self._incidents.well(now, within_s=GATHER_S)
        for incident in found:
            incident.is_open = False
        if len(found) >= GROUP_FROM:
            self._alerts.raise_alert(
                AlertLevel.SUCCESS, f"{len(found)} nodes are ready again", key=f"well:{now:.0f}", text=_names(found)
            )
            return
        for incident in found:
            after_s = (incident.ready_s or now) - incident.began_s
            crashes = f", and {incident.crashes} crashes" if incident.crashes > 1 else ""
            self._alerts.raise_alert(
                AlertLevel.SUCCESS,
                f"{incident.name} is ready again",
                key=f"well:{incident.node_id}",
                text=f"After {_seconds(after_s)}{crashes}.",
                node=incident.name,
            )


def _cause(text: str) -> str:
    """Return a text without its numbers: ports, line numbers and times vary."""
    return _VARYING.sub("N", text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _names(incidents: Sequence[Incident]) -> str:
    names = sorted({incident.name for incident in incidents}, key=str.casefold)
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more


def _level_of(troubles: Sequence[_Trouble]) -> AlertLevel:
    """Return how bad it is: what is ready again is a warning."""
    is_down = any(trouble.incident.ready_s is None for trouble in troubles)
    return troubles[0].level if is_down else AlertLevel.WARNING
