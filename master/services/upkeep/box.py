"""What happens to the box that the fleet runs on: its clock is set, its disk is full."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from master.bus import EventBus
from master.events import ClockStepped, DiskFilled, DiskFreed, LedgerAway, LedgerReturned
from master.ledger.database import Ledger
from master.supervision.clock import Clock, StepDetector
from master.wording import step_text

log = logging.getLogger(__name__)

EVERY_S = 9.0
WHILE_FULL_S = 1.0
"""While the disk is full it is looked at this often: what waits in memory is written as soon as there is room."""
FULL_BELOW_BYTES, FREE_ABOVE_BYTES = 128 * 2**10, 512 * 2**10
"""Apart, so that what is written on the edge does not raise an alert each time."""
DISK_FULL = "disk full"


class BoxWatch:
    """Look at the box from time to time, in step with the pulses: one wake-up for both.

    Parameters
    ----------
    folder
        The state folder; its disk is the one that matters.
    """

    def __init__(
        self, folder: Path, ledger: Ledger, bus: EventBus, clock: Clock, steps: StepDetector | None = None
    ) -> None:
        self._folder = folder
        self._ledger = ledger
        self._bus = bus
        self._clock = clock
        self._steps = steps or StepDetector()
        self._disk_full = False
        self._had_room = False
        self._filled = asyncio.Event()
        for kind in (LedgerAway, LedgerReturned):
            bus.on(kind, lambda _event: self._look_at_disk())

    @property
    def states(self) -> tuple[str, ...]:
        """What is wrong with the box; usually nothing."""
        return (DISK_FULL,) if self._disk_full else ()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            every_s = WHILE_FULL_S if self._disk_full else EVERY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s - self._clock.monotonic() % every_s):
                    await self._filled.wait()
            self._filled.clear()

    def look(self) -> None:
        """Look once."""
        step_s = self._steps.step_s()
        if step_s:
            log.warning("the clock was set %s", step_text(step_s))
            self._bus.publish(ClockStepped(at=self._clock.now(), by_s=round(step_s, 1)))
        self._look_at_disk()

    def _look_at_disk(self) -> None:
        full = self._is_full()
        if full is self._disk_full:
            return
        self._disk_full = full
        if full:
            self._filled.set()
            log.error("the disk is full", extra={"folder": str(self._folder)})
            self._bus.publish(DiskFilled(at=self._clock.now()))
        else:
            log.info("there is room on the disk again")
            self._bus.publish(DiskFreed(at=self._clock.now()))

    def _is_full(self) -> bool:
        try:
            found = os.statvfs(self._folder)
            free_bytes = found.f_bavail * found.f_frsize
        except OSError:
            return self._disk_full
        away = self._ledger.away
        if away is not None and away.disk_full:
            self._retry_once(has_room=free_bytes >= FREE_ABOVE_BYTES)
            return True
        return free_bytes < (FREE_ABOVE_BYTES if self._disk_full else FULL_BELOW_BYTES)

    def _retry_once(self, *, has_room: bool) -> None:
        """Have the ledger try again once there is room; it may be on another disk, which is not looked at."""
        if has_room and not self._had_room:
            self._ledger.retry()
        self._had_room = has_room
