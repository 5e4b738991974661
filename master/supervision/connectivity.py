"""Whether this box can reach Discord: a state of the box, which no node is to blame for.

A node that ends because Discord is away is not in a crash loop. So the first signs of trouble (the master's own
connection is lost, a node says that its is, a node exits) make the master look for itself. While Discord cannot be
reached the box is *offline*: exits are not counted, restarts wait, nobody is replaced for being silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from master.bus import EventBus
from master.events import BoxOffline, BoxOnline, GatewayConnected, GatewayLost, NodeExited, NodeOffline
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

CONFIRM_AFTER_S = 0.5
"""A single look may meet a hang-up: two in a row have to fail."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 3.0
"""Between two looks while Discord is away: nodes are back within seconds of its return."""
MIN_GAP_S, MAX_GAP_S = 2.0, 30.0
"""Between two looks that found Discord well: nodes in a crash loop must not make the master ask all the time. The gap
grows as long as the master's own connection is away for another reason."""
FIRST_CONNECT_S = 5.0
"""Without a sign of life from the master's own connection for this long after its start, it looks for itself."""
LEAD_S = 15.0
"""Exits this shortly before the first sign of an outage belong to it: a bot may notice before the master does."""

Probe = Callable[[], Awaitable[str]]
"""Look whether Discord can be reached, within seconds; returns why it cannot, or an empty text. Does not raise."""


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage that goes on.

    Parameters
    ----------
    since_s
        Its first sign, in monotonic seconds.
    """

    since: datetime
    since_s: float
    why: str


class Connectivity:
    """Watch whether Discord can be reached; costs nothing while all is well.

    Parameters
    ----------
    probe
        None: Discord is taken to be there.
    expects_gateway
        Whether the master has a connection to Discord itself.
    """

    def __init__(
        self, bus: EventBus, clock: Clock, probe: Probe | None = None, *, expects_gateway: bool = False
    ) -> None:
        self._bus, self._clock, self._probe = bus, clock, probe
        self.outage: Outage | None = None
        self.returned_at = float("-inf")
        """When the last outage ended, in monotonic seconds."""
        self.gateway_lost: Outage | None = None
        """Since when the master's own connection is away, and why; None while it is connected."""
        self._expects_gateway = expects_gateway
        self._distrusted = False
        """The probe fails although the master is connected: its word alone is not an outage."""
        self._proven = False
        """Whether the master connected since the outage began."""
        self._suspected_at: float | None = None
        self._wake = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        bus.on(NodeExited, self._on_exit)
        bus.on(NodeOffline, self._on_node_offline)
        bus.on(GatewayLost, self._on_gateway_lost)
        bus.on(GatewayConnected, self._on_gateway_connected)

    @property
    def is_offline(self) -> bool:
        """Whether Discord cannot be reached."""
        return self.outage is not None

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when an outage begins and when it ends."""
        self._listeners.append(listener)

    def _on_exit(self, event: NodeExited) -> None:
        # Who ends by a signal did not give up by itself.
        if event.signal is None:
            self._suspect()

    def _on_node_offline(self, _event: NodeOffline) -> None:
        self._suspect()

    def _on_gateway_lost(self, event: GatewayLost) -> None:
        if self.gateway_lost is None:
            self.gateway_lost = Outage(event.at, self._clock.monotonic(), event.why)
            self._proven = False
        self._suspect()

    def _on_gateway_connected(self, _event: GatewayConnected) -> None:
        self.gateway_lost, self._expects_gateway, self._proven = None, False, True
        self._wake.set()

    def _suspect(self) -> None:
        if self._suspected_at is None:
            self._suspected_at = self._clock.monotonic()
        self._wake.set()

    # The task

    async def run(self) -> None:
        """Watch until cancelled."""
        if self._probe is None:
            return
        gap_s: float | None = FIRST_CONNECT_S if self._expects_gateway else None
        while True:
            await self._wait(gap_s)
            if self.gateway_lost is None and self._suspected_at is None and not self._expects_gateway:
                gap_s = None
                continue
            why = await self._look(self._probe)
            if why:
                self._begin(why)
                await self._wait_until_back(self._probe)
                self._end()
                gap_s = MIN_GAP_S
            else:
                self._suspected_at = None
                # Not at once again, whatever happens meanwhile.
                await asyncio.sleep(MIN_GAP_S)
                gap_s = None if self.gateway_lost is None else min((gap_s or MIN_GAP_S) * 2, MAX_GAP_S)

    async def _wait(self, timeout_s: float | None) -> None:
        """Wait for a sign of trouble or of its end, or for the time-out."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _look(self, probe: Probe) -> str:
        """Return why Discord cannot be reached; empty when it can, or when the probe's word is not enough."""
        why = await probe()
        if why:
            await asyncio.sleep(CONFIRM_AFTER_S)
            why = await probe()
        if not why:
            self._distrusted = False
        return "" if self._distrusted else why

    async def _wait_until_back(self, probe: Probe) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await self._wait(pause_s)
            pause_s = min(pause_s * 1.5, LAST_PAUSE_S)
            why = await probe()
            if not why:
                return
            if self._proven:
                log.warning("connected to Discord, and yet the probe fails; it is not trusted", extra={"why": why})
                self._distrusted = True
                return

    def _begin(self, why: str) -> None:
        now, since_s = self._clock.monotonic(), self._suspected_at
        if self.gateway_lost is not None:
            since_s = min(since_s or now, self.gateway_lost.since_s)
        # Not before the end of an earlier one, even if the master has not connected since.
        since_s = now if since_s is None else max(since_s, self.returned_at)
        at, self._proven = self._clock.now(), False
        self.outage = Outage(at - timedelta(seconds=now - since_s), since_s, why)
        log.error("offline: Discord cannot be reached", extra={"why": why})
        self._bus.publish(BoxOffline(at=at, why=why))
        self._tell()

    def _end(self) -> None:
        outage, self.outage, self._suspected_at = self.outage, None, None
        if outage is None:
            return
        self.returned_at = self._clock.monotonic()
        duration_s = round(self.returned_at - outage.since_s, 1)
        log.info("online: Discord can be reached again", extra={"after_s": duration_s})
        self._bus.publish(BoxOnline(at=self._clock.now(), since=outage.since, duration_s=duration_s))
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
