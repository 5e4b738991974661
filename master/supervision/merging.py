"""Kernel same-page merging (KSM): nodes share equal pages again, although each has written to its copy.

A forked node gets a copy of each page that it writes to, and in CPython each use of an object is a write, because it
changes the reference count. Most of those copies end up equal in every node. The zygote marks its memory, and so that
of all nodes, as mergeable. The kernel thread ``ksmd`` compares marked pages, and shares equal ones until the next write
(https://docs.kernel.org/admin-guide/mm/ksm.html).

``ksmd`` sleeps unless it is turned on. A master with permission turns it on for a few scans at a time: after nodes
became ready, and rarely after that. Merged pages stay merged, and a sleeping thread costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path

from master.bus import EventBus
from master.events import MemoryMerged, NodeDegraded, NodeEvent, NodeReady
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

KSM = Path("/sys/kernel/mm/ksm")
SETTLE_S = 20.0
"""Delay after the last node became ready: a start still writes to memory, so merging earlier is wasted."""
SCANS = 4
"""Full scans in one pass: the first records the contents of pages, the next ones merge those that did not change."""
PASS_TIMEOUT_S = 900.0
PACE = 1_000
"""Pages that the kernel compares between two sleeps of 20 ms during a pass, where we may set it. Its default of 100
takes six times as long, and half as much CPU again."""
GAP_S = 900.0
"""Minimum time between passes: a bot in a crash loop must not keep the kernel scanning."""
FIRST_REPEAT_S, LAST_REPEAT_S = 3600.0, 8 * 3600.0
MIN_GAIN = 0.1
"""A pass that gains less than this share of the total saving doubles the pause before the next one."""
POLL_S = 5.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class PageMerging:
    """Turn KSM on when there is something to merge, if this user has permission.

    Parameters
    ----------
    marker
        File that says that it was turned on by us, and at which pace before: a successor turns off what a killed master
        left on.
    bus
        A node that became ready asks for a pass; each pass is told.
    """

    def __init__(
        self,
        marker: Path,
        *,
        enabled: bool,
        bus: EventBus,
        clock: Clock,
        ksm: Path = KSM,
        settle_s: float = SETTLE_S,
        poll_s: float = POLL_S,
        scans: int = SCANS,
    ) -> None:
        self._marker = marker
        self._enabled = enabled
        self._ksm = ksm
        self._settle_s, self._poll_s, self._scans = settle_s, poll_s, scans
        self._requested = asyncio.Event()
        self._requested_at = self._passed_at = float("-inf")
        self._bus, self._clock = bus, clock
        for kind in (NodeReady, NodeDegraded):
            bus.on(kind, self._on_up)

    def _on_up(self, _event: NodeEvent) -> None:
        self.request()

    def request(self) -> None:
        """Request a pass; it starts once there was no further request for ``settle_s``. Does not block."""
        self._requested_at = time.monotonic()
        self._requested.set()

    @property
    def requested(self) -> bool:
        """Whether a requested pass has not started yet."""
        return self._requested.is_set()

    @property
    def can_control(self) -> bool:
        """Whether this user may turn KSM on and off."""
        return self._enabled and os.access(self._ksm / "run", os.W_OK)

    def saved_bytes(self) -> int | None:
        """Return the bytes that merging saves on this box now; None when it is disabled or the kernel has no KSM."""
        if not self._enabled:
            return None
        try:
            return max(self._read("pages_sharing") * _PAGE_BYTES, 0)
        except (OSError, ValueError):
            return None

    async def run(self) -> None:
        """Control KSM until cancelled, unless permission is missing or somebody else controls it."""
        if not self._enabled:
            return
        try:
            self._turn_off()
            pause_s = FIRST_REPEAT_S
            while True:
                requested = await self._wait(pause_s)
                gained = await self._pass()
                if requested:
                    pause_s = FIRST_REPEAT_S
                elif gained < MIN_GAIN * (self.saved_bytes() or 0):
                    pause_s = min(2 * pause_s, LAST_REPEAT_S)
        except (OSError, ValueError) as error:
            log.warning("memory merging stopped", extra={"why": str(error)})

    async def _wait(self, pause_s: float) -> bool:
        """Wait for a request and the settle time, or for the end of the pause; True for a request."""
        try:
            async with asyncio.timeout(pause_s):
                await self._requested.wait()
        except TimeoutError:
            return False
        # Each further request restarts the delay.
        while (left := max(self._requested_at + self._settle_s, self._passed_at + GAP_S) - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        self._requested.clear()
        return True

    async def _pass(self) -> int:
        """Run one pass of a few scans; returns the bytes it gained."""
        # Checked each time: an operator may grant permission later, or somebody else may run KSM for the whole box.
        if not self.can_control or self._read("run") == 1:
            return 0
        before, scanned = self.saved_bytes() or 0, self._read("full_scans")
        try:
            self._turn_on()
            async with asyncio.timeout(PASS_TIMEOUT_S):
                # The kernel only has a counter, no event.
                while self._read("full_scans") < scanned + self._scans:  # noqa: ASYNC110
                    await asyncio.sleep(self._poll_s)
        except TimeoutError:
            log.debug("the pass timed out; merged pages stay merged")
        finally:
            self._turn_off()
            self._passed_at = time.monotonic()
        gained = (self.saved_bytes() or 0) - before
        self._bus.publish(MemoryMerged(at=self._clock.now(), gained_bytes=gained, saved_bytes=before + gained))
        log.info("memory merged", extra={"gained_mb": gained >> 20, "saved_mb": (before + gained) >> 20})
        return gained

    def _turn_on(self) -> None:
        self._marker.write_text(str(self._read("pages_to_scan")))
        self._set_pace(PACE)
        (self._ksm / "run").write_text("1")

    def _turn_off(self) -> None:
        """Turn KSM off if we, or a master that was killed, turned it on; merged pages stay merged."""
        if self._marker.exists():
            (self._ksm / "run").write_text("0")
            found = self._marker.read_text()
            if found.isdecimal():
                self._set_pace(int(found))
            self._marker.unlink()

    def _set_pace(self, pages: int) -> None:
        """Set how many pages the kernel compares at a time; without permission its default stays."""
        with contextlib.suppress(PermissionError):
            (self._ksm / "pages_to_scan").write_text(str(pages))

    def _read(self, name: str) -> int:
        return int((self._ksm / name).read_text())
