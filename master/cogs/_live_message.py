"""A message that follows the fleet: events are gathered, and one edit at a time shows what came of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import discord

from master.bus import EventBus, Subscription
from master.errors import FleetError
from master.events import DirectoryChanged, Event, NodeEvent
from nodekit.call_failures import ANY_FAILURE

log = logging.getLogger(__name__)

MIN_EDIT_INTERVAL_S = 3.0
SETTLE_S = 0.5
"""From an event to its edit, so that what belongs together is shown together."""
LIVE_S = 13 * 60.0
"""From the last press: its token allows edits for fifteen minutes."""
_GONE = (10008, 10015, 50027)
"""Unknown message, unknown webhook, invalid webhook token."""


C = TypeVar("C")


class LiveMessage(Generic[C]):
    """One message and its edits.

    Parameters
    ----------
    render
        Returns what the message shows now; told whether it is the last time.
    edit
        Edits the message; may be replaced when a press brings a newer token.
    """

    def __init__(
        self,
        render: Callable[[bool], Awaitable[C]],
        edit: Callable[[C], Awaitable[None]],
        bus: EventBus,
        *,
        live_s: float = LIVE_S,
    ) -> None:
        self._render = render
        self.edit = edit
        self._bus = bus
        self._live_s = live_s
        self._loop = asyncio.get_running_loop()
        self._stale = asyncio.Event()
        self._editing = False
        self._edited_at = self._loop.time()
        self._until = self._edited_at + live_s
        self._task: asyncio.Task[None] | None = None
        self.edits = 0

    @property
    def is_live(self) -> bool:
        """Whether it still follows the fleet."""
        return self._task is not None and not self._task.done()

    def begin(self) -> None:
        """Follow the fleet."""
        self._task = asyncio.create_task(self._follow(), name="live message")
        self._task.add_done_callback(_log_failure)

    def prolong(self) -> None:
        """Note that a press has just shown the message anew: it is live from now on.

        An edit that is under way may arrive after it, with what was before: another edit follows then.
        """
        self._edited_at = self._loop.time()
        self._until = self._edited_at + self._live_s
        if self._editing:
            self._stale.set()

    async def end(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        with self._bus.subscribe(NodeEvent, DirectoryChanged) as events:
            listening = asyncio.create_task(self._listen(events), name="live message: events")
            try:
                while await self._is_stale_in_time():
                    await asyncio.sleep(max(SETTLE_S, self._edited_at + MIN_EDIT_INTERVAL_S - self._loop.time()))
                    self._stale.clear()
                    if not await self._try(last=False):
                        return
                await self._try(last=True)
            finally:
                listening.cancel()

    async def _listen(self, events: Subscription[Event]) -> None:
        async for _event in events:
            events.clear()
            self._stale.set()

    async def _is_stale_in_time(self) -> bool:
        """Wait until there is something to show; False when the time is over."""
        while (left_s := self._until - self._loop.time()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await self._stale.wait()
            except TimeoutError:
                continue  # A press may have prolonged it meanwhile.
            return True
        return False

    async def _try(self, *, last: bool) -> bool:
        """Edit once; False when there is nothing to edit any more. What fails otherwise is tried again."""
        try:
            content = await self._render(last)
        except FleetError as error:
            log.info("a live message is not continued", extra={"why": str(error)})
            return False
        self._editing = True
        try:
            await self.edit(content)
            self.edits += 1
        except ANY_FAILURE as error:
            if isinstance(error, discord.HTTPException) and error.code in _GONE:
                return False
            log.info("a live message could not be edited", extra={"why": str(error)})
            self._stale.set()
        finally:
            self._editing = False
            self._edited_at = self._loop.time()
        return True


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a live message failed", exc_info=task.exception())
