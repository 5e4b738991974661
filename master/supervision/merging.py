"""Memory that nodes hold in common again, though each has written to it: the kernel's same-page merging (KSM).

A forked node gets a copy of each page that it writes to, and in CPython each use of an object is a write: its count of
references goes up, and down again. Most of those copies end up with the same bytes in every node. The zygote marks its
memory, and so that of all nodes, as to be merged; the kernel's thread ``ksmd`` compares marked pages, and keeps one of
each content until somebody writes to it
(https://docs.kernel.org/admin-guide/mm/ksm.html).

``ksmd`` sleeps unless somebody turns it on. A master that may do so turns it on for a few scans at a time, when nodes
became ready and now and then after that: what was merged stays merged, and a thread that sleeps costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path

from master.bus import EventBus
from master.events import MemoryMerged, NodeReady
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

KSM = Path("/sys/kernel/mm/ksm")
SETTLE_S = 20.0
"""After the last node became ready: a start writes to memory that would be merged in vain."""
SCANS = 4
"""Full scans of a pass: the first notes what a page holds, the next ones merge it if it is still so."""
PASS_TIMEOUT_S = 900.0
PACE = 1_000
"""Pages that the kernel compares between two naps of 20 ms during a pass, where we may say so. Its own 100 take six
times as long, and half as much CPU again."""
GAP_S = 900.0
"""Between passes, whoever asks: a bot that dies and comes back must not keep the kernel comparing."""
FIRST_REPEAT_S, LAST_REPEAT_S = 3600.0, 8 * 3600.0
WORTH = 0.1
"""A pass that gains less than this share of what is saved is followed by a longer pause: twice as long each time."""
LOOK_S = 5.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class PageMerging:
    """Turn the kernel's merging on when there is something to merge, if this user may.

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
        look_s: float = LOOK_S,
        scans: int = SCANS,
    ) -> None:
        self._marker = marker
        self._enabled = enabled
        self._ksm = ksm
        self._settle_s, self._look_s, self._scans = settle_s, look_s, scans
        self._asked = asyncio.Event()
        self._asked_at = self._passed_at = float("-inf")
        self._bus, self._clock = bus, clock
        bus.on(NodeReady, lambda _ready: self.ask())

    def ask(self) -> None:
        """Ask for a pass, as soon as nobody has asked for a while; must not wait."""
        self._asked_at = time.monotonic()
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether somebody asked for a pass that has not begun."""
        return self._asked.is_set()

    @property
    def may_drive(self) -> bool:
        """Whether this user may turn the kernel's merging on and off."""
        return self._enabled and os.access(self._ksm / "run", os.W_OK)

    def saved_bytes(self) -> int | None:
        """Return what merging saves on this box now, in bytes; None when the kernel cannot or nothing is marked."""
        if not self._enabled:
            return None
        try:
            return max(self._read("pages_sharing") * _PAGE_BYTES, 0)
        except (OSError, ValueError):
            return None

    async def run(self) -> None:
        """Drive the kernel's merging until cancelled, as far as it may and nobody else does."""
        if not self._enabled:
            return
        try:
            self._turn_off()
            pause_s = FIRST_REPEAT_S
            while True:
                asked = await self._wait(pause_s)
                gained = await self._pass()
                if asked:
                    pause_s = FIRST_REPEAT_S
                elif gained < WORTH * (self.saved_bytes() or 0):
                    pause_s = min(2 * pause_s, LAST_REPEAT_S)
        except (OSError, ValueError) as error:
            log.warning("memory is not merged", extra={"why": str(error)})

    async def _wait(self, pause_s: float) -> bool:
        """Wait until a pass was asked for and nodes are settled, or until the pause is over; tells which."""
        try:
            await asyncio.wait_for(self._asked.wait(), pause_s)
        except TimeoutError:
            return False
        # Each further word puts it off.
        while (left := max(self._asked_at + self._settle_s, self._passed_at + GAP_S) - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        self._asked.clear()
        return True

    async def _pass(self) -> int:
        """Let the kernel scan a few times; returns what that saved, in bytes."""
        # Looked at each time: an operator may hand it over later. And somebody else may have it run, for us too.
        if not self.may_drive or self._read("run") == 1:
            return 0
        before, scanned = self.saved_bytes() or 0, self._read("full_scans")
        try:
            self._turn_on()
            async with asyncio.timeout(PASS_TIMEOUT_S):
                # The kernel counts, and tells nobody.
                while self._read("full_scans") < scanned + self._scans:  # noqa: ASYNC110
                    await asyncio.sleep(self._look_s)
        except TimeoutError:
            log.debug("the kernel did not come through in time; what it merged stays")
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
        """Turn merging off if we, or a master that was killed, turned it on; pages that are merged stay so."""
        if self._marker.exists():
            (self._ksm / "run").write_text("0")
            found = self._marker.read_text()
            if found.isdecimal():
                self._set_pace(int(found))
            self._marker.unlink()

    def _set_pace(self, pages: int) -> None:
        """Set how much the kernel does at a time; where only ``run`` is ours to write, it keeps its own pace."""
        with contextlib.suppress(PermissionError):
            (self._ksm / "pages_to_scan").write_text(str(pages))

    def _read(self, name: str) -> int:
        return int((self._ksm / name).read_text())
