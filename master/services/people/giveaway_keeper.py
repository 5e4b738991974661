"""Brings giveaways forward: opens, ends, draws and tells them when it is time, and takes up what a kill cut off.

All that it needs to know is in the ledger. It looks when something changes, when the next moment has come, and at least
every half minute: the box's clock may be set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from master.bus import EventBus
from master.configuration.settings import Settings
from master.errors import FleetError
from master.events import AlertLevel, GatewayConnected, GiveawayChanged
from master.ledger.database import Ledger
from master.ledger.rows import giveaways
from master.ledger.rows.records import Giveaway
from master.security.errors import VaultError
from master.services.core.actors import SYSTEM, Actor
from master.services.core.alerts import Alerts
from master.services.core.errors import DiscordRefused, DiscordUnavailable
from master.services.people.giveaway_drawing import GiveawayDrawing, Vacancy
from master.services.people.giveaway_telling import GiveawayTelling
from master.supervision.clock import Clock
from master.wording import as_markdown, duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from master.ledger.rows.records import GiveawayWinner

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
SLOW_S = 2.0
"""After which a giveaway goes on beside the others: Discord may let one wait for minutes."""
AGAIN_AFTER_S = 5.0
"""After Discord or the ledger was away."""
CLOCKS_APART = timedelta(seconds=90)
"""A due end is not drawn when Discord's clock is so much behind: the box's clock was set wrong."""


class GiveawayKeeper:
    """Advance giveaways, one step after the other, each giveaway by itself."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        drawing: GiveawayDrawing,
        telling: GiveawayTelling,
        alerts: Alerts,
        bus: EventBus,
        clock: Clock,
        settings: Callable[[], Settings],
    ) -> None:
        self._ledger = ledger
        self._drawing = drawing
        self._telling = telling
        self._alerts = alerts
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._changed = asyncio.Event()
        self._locks: dict[str, asyncio.Lock] = {}
        self._advancing: dict[str, asyncio.Task[None]] = {}
        self._slow: set[str] = set()
        """Those that nobody waits for any more."""
        self._not_before: dict[str, float] = {}
        """Giveaways with a step that failed, and when it is tried again (monotonic)."""
        self._edit_at: dict[str, float] = {}
        """Open giveaways whose message shows an older count, and when it is edited (monotonic)."""
        self._edited: dict[str, float] = {}
        self._began = False
        bus.on(GatewayConnected, lambda _event: self._reconnected())

    def look_again(self) -> None:
        """Look at once: something was changed."""
        self._changed.set()

    def count_changed(self, giveaway_id: str) -> None:
        """Have a message's count of entries edited, at most every EDIT_EVERY_S."""
        if giveaway_id in self._edit_at:
            return
        every_s = self._settings().giveaways.edit_every_s
        last = self._edited.get(giveaway_id, self._clock.monotonic() - every_s)
        self._edit_at[giveaway_id] = max(last + every_s, self._clock.monotonic())
        self._changed.set()

    @asynccontextmanager
    async def alone(self, giveaway_id: str) -> AsyncIterator[None]:
        """Hold a giveaway: nobody else of this master advances it meanwhile."""
        async with self._locks.setdefault(giveaway_id, asyncio.Lock()):
            yield

    async def run(self) -> None:
        """Advance what is due, until cancelled."""
        try:
            while True:
                self._changed.clear()
                left_s = await self.step(at_most_s=SLOW_S)
                try:
                    async with asyncio.timeout(left_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._advancing.values():
                task.cancel()
            await asyncio.gather(*self._advancing.values(), return_exceptions=True)

    async def step(self, *, at_most_s: float | None = None) -> float:
        """Advance what is due now; returns after how many seconds to look again.

        Parameters
        ----------
        at_most_s
            For how long what is slow is waited for; None: to its end.
        """
        try:
            found = await self._ledger.read(lambda connection: giveaways.unfinished(connection, self._clock.now()))
            claim_end = await self._ledger.read(giveaways.next_claim_end)
        except FleetError as error:
            log.warning("giveaways cannot be looked at", extra={"why": error.message})
            return LOOK_EVERY_S
        if not self._began:
            self._began = True
            # A count may have changed right before an earlier master ended.
            for giveaway in found:
                if giveaway.state == "open":
                    self.count_changed(giveaway.id)
        kept = {giveaway.id for giveaway in found}
        for known in (self._locks, self._not_before, self._edit_at, self._edited):
            for giveaway_id in [one for one in known if one not in kept]:
                if known is not self._locks or not self._locks[giveaway_id].locked():
                    known.pop(giveaway_id)
        await self._advance_all(found, at_most_s)
        return self._next_look(found, claim_end)

    async def _advance_all(self, found: list[Giveaway], at_most_s: float | None) -> None:
        """Advance giveaways beside each other; one that takes long goes on by itself."""
        for giveaway in found:
            if giveaway.id not in self._advancing:
                task = asyncio.create_task(self.advance(giveaway.id), name="giveaway")
                self._advancing[giveaway.id] = task
                task.add_done_callback(partial(self._advanced, giveaway.id))
        awaited = [task for known, task in self._advancing.items() if known not in self._slow]
        if not awaited:
            return
        done, _ = await asyncio.wait(awaited, timeout=at_most_s)
        self._slow |= self._advancing.keys()
        for task in done:
            task.result()

    def _advanced(self, giveaway_id: str, task: asyncio.Task[None]) -> None:
        del self._advancing[giveaway_id]
        if giveaway_id not in self._slow:
            return
        self._slow.discard(giveaway_id)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a giveaway could not be advanced", exc_info=error, extra={"giveaway": giveaway_id})

    def _next_look(self, found: list[Giveaway], claim_end: datetime | None) -> float:
        now, moments = self._clock.now(), [] if claim_end is None else [claim_end]
        moments += [giveaway.starts_at for giveaway in found if giveaway.state == "scheduled"]
        moments += [giveaway.ends_at for giveaway in found if giveaway.state == "open"]
        left = [(moment - now).total_seconds() for moment in moments if moment > now]
        later = {**self._edit_at, **self._not_before}
        left += [at - self._clock.monotonic() for at in later.values()]
        return min(max(min(left, default=LOOK_EVERY_S), 0.05), LOOK_EVERY_S)

    async def advance(self, giveaway_id: str) -> None:
        """Take a giveaway as far as it goes now; what Discord or the ledger hinder is done later."""
        async with self.alone(giveaway_id):
            if self._not_before.get(giveaway_id, 0.0) > self._clock.monotonic():
                return
            with self._until_later(giveaway_id):
                await self._advance(giveaway_id)

    async def advance_now(self, giveaway_id: str) -> None:
        """Take a giveaway as far as it goes, within :meth:`alone`; raises what hinders it.

        Raises
        ------
        FleetError
        """
        self._not_before.pop(giveaway_id, None)
        await self._advance(giveaway_id)

    @contextmanager
    def _until_later(self, giveaway_id: str) -> Iterator[None]:
        self._not_before.pop(giveaway_id, None)
        try:
            yield
        except VaultError as error:
            self._not_before[giveaway_id] = self._clock.monotonic() + LOOK_EVERY_S
            title = "A giveaway cannot be drawn"
            text = f"{error.message}. {error.hint}"
            self._alerts.raise_alert(AlertLevel.ERROR, title, key=f"giveaway:{giveaway_id}:seed", text=text)
        except FleetError as error:
            pause_s = AGAIN_AFTER_S if isinstance(error, DiscordUnavailable) else LOOK_EVERY_S
            self._not_before[giveaway_id] = self._clock.monotonic() + pause_s
            log.warning("a giveaway waits", extra={"giveaway": giveaway_id, "why": error.message})

    async def _advance(self, giveaway_id: str) -> None:
        while True:
            found = await self._ledger.read(lambda connection: giveaways.get(connection, giveaway_id))
            if found is None or not await self._step_of(found):
                return

    async def _step_of(self, giveaway: Giveaway) -> bool:
        """Carry out the next step of a giveaway; False when there is none now."""
        now = self._clock.now()
        match giveaway.state:
            case "scheduled" if giveaway.starts_at <= now:
                return await self._open(giveaway)
            case "open" if giveaway.message_id is None and giveaway.ends_at > now:
                return await self._post(giveaway)
            case "open" if giveaway.ends_at <= now:
                return await self._close(giveaway)
            case "open":
                await self._edit_count(giveaway)
                return False
            case "drawing":
                return await self._draw(giveaway)
            case "drawn" if giveaway.told_draws < giveaway.draws:
                await self._telling.tell(giveaway)
                return True
            case "drawn":
                return await self._end_claims(giveaway, now)
            case "cancelled" if giveaway.told_draws < giveaway.draws:
                await self._telling.tell_cancelled(giveaway)
        return False

    async def _open(self, giveaway: Giveaway) -> bool:
        now = self._clock.now()
        opened = await self._ledger.write(
            lambda connection: giveaways.change(connection, giveaway.id, ["scheduled"], state="open", changed_at=now)
        )
        if opened:
            self._publish(giveaway, "opened")
        return True

    async def _post(self, giveaway: Giveaway) -> bool:
        """Post the message; where that is forbidden for good, there is no giveaway."""
        try:
            await self._telling.post(giveaway)
        except DiscordRefused as error:
            if await self._give_up(giveaway, error.message):
                text = f"{error.message}. {error.hint}"
                title = f"The giveaway of {as_markdown(giveaway.prize)[:150]} could not be started"
                self._alerts.raise_alert(AlertLevel.WARNING, title, key=f"giveaway:{giveaway.id}:post", text=text)
            raise
        return True

    async def _give_up_unseen(self, giveaway: Giveaway) -> None:
        """Cancel a giveaway that nobody could enter: neither it nor its end would be seen by anybody."""
        why = "it was over before it could be posted"
        if await self._give_up(giveaway, why):
            title = f"The giveaway of {as_markdown(giveaway.prize)[:150]} was never posted"
            text = f"From <t:{int(giveaway.starts_at.timestamp())}:f> to <t:{int(giveaway.ends_at.timestamp())}:f> the "
            text += "master, or Discord, was away. It is cancelled: `/giveaway start` makes a new one."
            self._alerts.raise_alert(AlertLevel.WARNING, title, key=f"giveaway:{giveaway.id}:post", text=text)

    async def _give_up(self, giveaway: Giveaway, why: str) -> bool:
        now = self._clock.now()
        values = {"state": "cancelled", "reason": why[:400], "changed_at": now, "changed_by": SYSTEM.label}
        done = await self._ledger.write(
            lambda connection: giveaways.change(connection, giveaway.id, ["open"], **values)
        )
        if done:
            self._publish(giveaway, "cancelled", why)
        return done

    async def _close(self, giveaway: Giveaway) -> bool:
        """Close the entries of a giveaway whose end has come, if Discord's clock says so too."""
        if giveaway.message_id is None:
            await self._give_up_unseen(giveaway)
            return False
        behind = await self._behind(giveaway)
        if behind > CLOCKS_APART:
            self._not_before[giveaway.id] = self._clock.monotonic() + LOOK_EVERY_S
            self._alerts.raise_alert(
                AlertLevel.ERROR,
                "A giveaway waits: the clock of this box is wrong",
                key="giveaway:clock",
                text=f"By Discord's clock {as_markdown(giveaway.prize)[:200]} ends in "
                f"{duration(behind.total_seconds())}. It is drawn then, or by `/giveaway end`.",
            )
            return False
        await self._drawing.begin(giveaway)
        return True

    async def _behind(self, giveaway: Giveaway) -> timedelta:
        """Return how far Discord's clock is from the end of a giveaway; the message's edit says what time it is."""
        at = await self._telling.show(giveaway)
        return timedelta(0) if at is None else giveaway.ends_at - at

    async def _draw(self, giveaway: Giveaway) -> bool:
        await self._drawing.draw(giveaway)
        return True

    async def _end_claims(self, giveaway: Giveaway, now: datetime) -> bool:
        """Draw again for winners who did not claim in time."""
        late: list[tuple[GiveawayWinner, Vacancy]] = [
            (winner, "unclaimed")
            for winner in await self._drawing.winners_of(giveaway)
            if winner.state == "told" and winner.claim_until is not None and winner.claim_until <= now
        ]
        if not late:
            return False
        await self.draw_again(giveaway, late, why=f"{len(late)} did not claim in time")
        return True

    async def draw_again(
        self, giveaway: Giveaway, vacated: list[tuple[GiveawayWinner, Vacancy]], *, why: str, actor: Actor = SYSTEM
    ) -> bool:
        """Revoke what the former winners were given, and draw as many new ones.

        Raises
        ------
        FleetError
        """
        # First: a kill in between must not leave two people with one prize.
        await self._telling.vacate(giveaway, vacated, why=why)
        return await self._drawing.draw_again(giveaway, vacated, actor=actor, why=why)

    async def _edit_count(self, giveaway: Giveaway) -> None:
        at = self._edit_at.get(giveaway.id)
        if at is None or at > self._clock.monotonic():
            return
        self._edit_at.pop(giveaway.id)
        self._edited[giveaway.id] = self._clock.monotonic()
        try:
            await self._telling.show(giveaway)
        except DiscordUnavailable:
            self.count_changed(giveaway.id)
            raise

    def _reconnected(self) -> None:
        """Try what Discord hindered at once: it is back."""
        self._not_before.clear()
        self._changed.set()

    def _publish(self, giveaway: Giveaway, what: str, detail: str = "") -> None:
        self._bus.publish(
            GiveawayChanged(at=self._clock.now(), giveaway_id=giveaway.id, what=what, actor=SYSTEM.label, detail=detail)
        )
