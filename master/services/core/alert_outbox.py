"""Alerts on their way to LOG_CHANNEL: collected whether Discord is there or not, kept on disk while it is not.

Lives as long as the master, unlike the connection to Discord. A face takes what is due, posts it, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from handshake.files import read_regular
from master.bus import EventBus
from master.durable import replace_file
from master.events import AlertLevel, AlertRaised, ChannelMoved, GatewayConnected
from master.services.core.alert_limiter import AlertLimiter, LeftOut
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

CAPACITY = 200
"""Different alerts that wait; beyond it those that are not about security make room, and are counted."""
GROUP_FROM = 4
"""This many alerts or more that had to wait are posted together."""
SAVE_AFTER_S = 1.0
"""An alert that is posted within this time, as nearly all are, is never written to disk."""
FIRST_RETRY_S, LAST_RETRY_S = 2.0, 60.0
_MAX_FILE_BYTES = 8 << 20


class WaitingAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that waits for its post."""

    alert: AlertRaised
    """The newest of those with its key."""
    count: int = 1
    """How many of its key there were."""
    held_back: int = 0
    """How many more the limit left out."""


class _File(msgspec.Struct, kw_only=True):
    waiting: list[WaitingAlert] = []
    dropped: int = 0


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be posted next, in one message."""

    alerts: tuple[WaitingAlert, ...]
    grouped: bool = False
    """They had to wait for Discord, and are many."""
    dropped: int = 0
    """Older ones that there was no room for."""


class AlertOutbox:
    """Collect alerts, and keep them until they are posted.

    Parameters
    ----------
    path
        The file of what waits; it exists only while something does.
    wanted
        Whether alerts are posted at all: there is a LOG_CHANNEL.
    """

    def __init__(self, path: Path, bus: EventBus, clock: Clock, wanted: Callable[[], bool]) -> None:
        self._path, self._clock, self._wanted = path, clock, wanted
        self._limiter = AlertLimiter(clock)
        self._waiting: dict[str, WaitingAlert] = {}
        self._dropped = 0
        self._away = False
        """A post failed, or an earlier master left alerts behind: they may be posted together."""
        self._on_disk = False
        self._retry_s = FIRST_RETRY_S
        self._arrived, self._returned, self._unsaved = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._load()
        bus.on(AlertRaised, self.put)
        bus.on(GatewayConnected, lambda _event: self._returned.set())
        # LOG_CHANNEL itself may have been made anew.
        bus.on(ChannelMoved, lambda _event: self._returned.set())

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, alert: AlertRaised) -> None:
        """Take an alert, unless the limit leaves it out; never blocks."""
        if not self._wanted():
            return
        admitted = self._limiter.admit(alert)
        if admitted is not None:
            self._add(admitted.alert, admitted.held_back)
        self._arrived.set()

    def _add(self, alert: AlertRaised, held_back: int) -> None:
        before = self._waiting.pop(alert.key, None)
        count = 1 if before is None else before.count + 1
        held_back += 0 if before is None else before.held_back
        self._waiting[alert.key] = WaitingAlert(alert=alert, count=count, held_back=held_back)
        while len(self._waiting) > CAPACITY:
            others = (key for key, found in self._waiting.items() if not found.alert.is_security)
            del self._waiting[next(others, next(iter(self._waiting)))]
            self._dropped += 1
        self._unsaved.set()

    # Delivery

    async def next(self) -> Due:
        """Wait for what is to be posted next; it stays here until :meth:`posted`."""
        while not self._waiting:
            self._arrived.clear()
            await self._wait_for_arrival(self._limiter.left_out_due_s())
        waiting = tuple(self._waiting.values())
        plain = tuple(one for one in waiting if not _asks(one.alert))
        if self._away and len(plain) >= GROUP_FROM:
            return Due(alerts=plain, grouped=True, dropped=self._dropped)
        # Discord takes about one a second: what is about security does not queue behind the rest.
        return Due(alerts=(next((one for one in waiting if one.alert.is_security), waiting[0]),))

    async def _wait_for_arrival(self, left_out_due_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_out_due_s):
                await self._arrived.wait()
                return
        left_out = self._limiter.left_out()
        if left_out is not None:
            alert = _digest(left_out, self._clock)
            self._add(alert, 0)

    def posted(self, due: Due) -> None:
        """Forget what was posted, or can never be."""
        self._retry_s = FIRST_RETRY_S
        for one in due.alerts:
            # A newer one of its key may have come meanwhile; it is posted as well.
            if self._waiting.get(one.alert.key) == one:
                del self._waiting[one.alert.key]
        if due.grouped:
            self._dropped = 0
        self._away = self._away and bool(self._waiting)
        self._unsaved.set()

    async def wait_for_return(self) -> None:
        """Wait until another post may succeed."""
        self._away = True
        self._returned.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._retry_s):
                await self._returned.wait()
        self._retry_s = min(self._retry_s * 2, LAST_RETRY_S)

    # On disk

    async def run(self) -> None:
        """Save what waits, until cancelled; what waits then is left for the next master."""
        try:
            while True:
                await self._unsaved.wait()
                # Nor is there more than one write for a burst.
                await asyncio.sleep(SAVE_AFTER_S)
                self._unsaved.clear()
                content = self._content()
                if content or self._on_disk:
                    await asyncio.to_thread(self._save, content)
        finally:
            self._save(self._content())

    def _content(self) -> bytes:
        if not self._waiting:
            return b""
        return msgspec.json.encode(_File(waiting=list(self._waiting.values()), dropped=self._dropped))

    def _save(self, content: bytes) -> None:
        try:
            if content:
                replace_file(self._path, content)
                self._on_disk = True
            else:
                self._path.unlink(missing_ok=True)
                self._on_disk = False
        except OSError as error:
            log.error("alerts that wait cannot be kept on disk", extra={"why": error.strerror})

    def _load(self) -> None:
        try:
            found = msgspec.json.decode(read_regular(self._path, _MAX_FILE_BYTES), type=_File)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            # msgspec's errors are ValueErrors, but for that of a file nested too deep.
            log.error("alerts of an earlier master cannot be read", extra={"why": str(error)})
            return
        self._waiting = {one.alert.key: one for one in found.waiting[-CAPACITY:]}
        self._dropped, self._on_disk = found.dropped, True
        self._away = bool(self._waiting)


def _asks(alert: AlertRaised) -> bool:
    """Tell whether an alert asks for a decision: it is never one of many lines, which have no buttons."""
    return any(button.style == "primary" for button in alert.buttons)


def _digest(left_out: LeftOut, clock: Clock) -> AlertRaised:
    """Return the alert that says what was left out."""
    names = [f"{name or 'the fleet as a whole'}: {number}" for name, number in left_out.of_nodes]
    more = f"\n... and {len(names) - 20} more nodes" if len(names) > 20 else ""
    count = left_out.count
    return AlertRaised(
        at=clock.now(),
        level=AlertLevel.WARNING,
        key="left out",
        title=f"{count} {'alert was' if count == 1 else 'alerts were'} not shown",
        text="Too many in a minute, or the same again.\n" + "\n".join(names[:20]) + more,
        fields=(("About security", str(left_out.security)),) if left_out.security else (),
    )
