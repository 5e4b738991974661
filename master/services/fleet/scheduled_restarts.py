"""Restarts at set times (CRON_RESTART), in the box's time zone. What was missed while no master ran is not made up."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from master.bus import EventBus
from master.errors import FleetError
from master.events import DirectoryChanged, NodeRestartDue
from master.ledger.rows.records import DesiredState, Node
from master.services.core.directory import NodeDirectory
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""The box's clock may be set, and a box may sleep: a due restart is looked for this often at least."""
MISSED_AFTER = timedelta(minutes=2)
"""A restart that is found this late was due while the box slept, or its clock was set."""
_LOCAL_TIME = Path("/etc/localtime")

Restart = Callable[[str], Awaitable[object]]
"""Restarts the node with that name, as an operator would."""


class ScheduledRestarts:
    """Restart nodes at their times.

    Parameters
    ----------
    schedule_of
        Returns a node's cron expression; None for none.
    """

    def __init__(
        self, *, directory: NodeDirectory, schedule_of: Callable[[Node], str | None], bus: EventBus, clock: Clock
    ) -> None:
        self._directory = directory
        self._schedule_of = schedule_of
        self._bus = bus
        self._clock = clock
        self._due: dict[str, tuple[str, datetime]] = {}
        """By node: its expression, and when it is met next."""
        self._changed = asyncio.Event()
        bus.on(DirectoryChanged, lambda _event: self._changed.set())

    def look_again(self) -> None:
        """Look at the schedules again: the settings were changed."""
        self._changed.set()

    async def run(self, restart: Restart) -> None:
        """Restart what is due, until cancelled."""
        while True:
            self._changed.clear()
            left_s = await self.step(restart)
            try:
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def step(self, restart: Restart) -> float | None:
        """Restart what is due now; returns after how many seconds to look again, None when there is nothing to do."""
        now = self._clock.now()
        due = self._plan(now)
        await asyncio.gather(*(self._restart(node, since, restart) for node, since in due))
        if not self._due:
            return None
        soonest = min(moment for _, moment in self._due.values())
        return min(max((soonest - self._clock.now()).total_seconds(), 0.0), LOOK_EVERY_S)

    def _plan(self, now: datetime) -> list[tuple[Node, datetime]]:
        """Return which nodes are due, and since when; each gets its next time."""
        due, known, self._due = [], self._due, {}
        for node in self._directory:
            expression = self._schedule_of(node)
            if not expression:
                continue
            before, moment = known.get(node.id, ("", now))
            if before == expression and moment > now:
                self._due[node.id] = (expression, moment)
                continue
            if before == expression:
                due.append((node, moment))
            self._due[node.id] = (expression, next_time(expression, now))
        return due

    async def _restart(self, node: Node, since: datetime, restart: Restart) -> None:
        now = self._clock.now()
        if node.desired_state is not DesiredState.RUNNING:
            why = "left out: it is stopped"
        elif now - since > MISSED_AFTER:
            why = f"left out: it was due {(now - since).total_seconds():.0f} s ago, while the box slept"
        else:
            why = ""
        self._bus.publish(NodeRestartDue(at=now, node_id=node.id, host=node.host, detail=why))
        if why:
            log.info("a restart is left out", extra={"node": node.name, "why": why})
            return
        try:
            await restart(node.name)
        except FleetError as error:
            log.error("a node could not be restarted", extra={"node": node.name, "why": error.message})


def next_time(expression: str, now: datetime) -> datetime:
    """Return when a cron expression is met next, in UTC; over a change of the clocks as Debian's cron does."""
    from cronsim import CronSim

    moment: datetime = next(CronSim(expression, now.astimezone(local_zone())))
    return moment.astimezone(UTC)


def local_zone() -> tzinfo:
    """Return the box's time zone, with its changes of the clock."""
    # Imported where it is used, which is nowhere in most fleets.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    named = os.environ.get("TZ", "").removeprefix(":")
    try:
        if named:
            return ZoneInfo(named)
        with _LOCAL_TIME.open("rb") as stream:
            return ZoneInfo.from_file(stream, key="localtime")
    except (OSError, ValueError, ZoneInfoNotFoundError):
        # No zone in files: what the C library makes of it, without changes of the clock.
        return datetime.now().astimezone().tzinfo or UTC
