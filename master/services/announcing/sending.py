"""Sends what is on record: at its time, to each place by itself, again where it failed, and nowhere twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from master.bus import EventBus
from master.events import AlertLevel, AnnouncementChanged
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import announcements as rows
from master.ledger.rows.records import Announcement, AnnouncementPlace
from master.services.announcing.announcements import places_of, time_of
from master.services.announcing.outcomes import Fate, Outcome
from master.services.announcing.places import Places
from master.services.announcing.schedules import next_time
from master.services.core.alerts import Alerts
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

BACKOFF_S = (30.0, 120.0, 600.0, 3_600.0, 21_600.0)
"""Before each further attempt; after the last one a place is given up."""
LATE_FOR = timedelta(hours=1)
"""What was due while no master ran is sent up to so much later."""
LOOK_EVERY_S = 30.0
"""The box's clock may be set, and a box may sleep."""
LEDGER_PAUSE_S = 2.0
_UNCERTAIN = "it is not known whether it arrived"

T = TypeVar("T")


class Sender:
    """Send announcements.

    An attempt is on record before it is made. A master that is killed midway leaves it as ``sending``: the next one
    repeats it where nothing is doubled by that, and asks where it might be.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        places: Places,
        bus: EventBus,
        clock: Clock,
        alerts: Alerts,
        backoff_s: Sequence[float] = BACKOFF_S,
    ) -> None:
        self._backoff_s = backoff_s
        self._ledger, self._places, self._bus, self._clock, self._alerts = ledger, places, bus, clock, alerts
        self._changed = asyncio.Event()
        self._at_work: set[tuple[str, str]] = set()
        bus.on(AnnouncementChanged, lambda _event: self._changed.set())

    def look_again(self) -> None:
        """Look at what is due: the places were changed."""
        self._changed.set()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        self._at_work.clear()
        await self._ledger.wait_available()
        await self._settle()
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                await self._ledger.wait_available()
                left_s = await self._step(group)
                try:
                    async with asyncio.timeout(left_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _settle(self) -> None:
        """Go on with what an earlier master was sending when it ended."""
        for place in await self._ledger.read(rows.places_left):
            if self._places.may_repeat(place.place):
                await self._write(place, "waiting", was="sending", next_at=self._clock.now())
                continue
            await self._write(place, "asked", was="sending", detail="the master ended while it was being sent")
            self._ask(place, "the master ended while it was being sent")
        for announcement in await self._ledger.read(lambda c: rows.recent(c, states=("sending",), limit=1_000)):
            await self._finish(announcement.id)

    async def _step(self, group: asyncio.TaskGroup) -> float | None:
        """Begin what is due; returns after how many seconds to look again, None while nothing waits."""
        now = self._clock.now()
        for announcement in await self._ledger.read(lambda c: rows.due(c, now)):
            await self._begin(announcement, now)
        waiting = await self._ledger.read(rows.places_to_send)
        moments = []
        for place in waiting:
            if (place.announcement_id, place.place) in self._at_work:
                continue
            if place.next_at is not None and place.next_at > now:
                moments.append(place.next_at)
                continue
            self._at_work.add((place.announcement_id, place.place))
            group.create_task(self._attempt(place), name=f"announcing at {place.place}")
        due = await self._ledger.read(rows.next_due)
        soonest = min([*moments, *([] if due is None else [due])], default=None)
        if soonest is None:
            return None
        return min(max((soonest - self._clock.now()).total_seconds(), 0.0), LOOK_EVERY_S)

    async def _begin(self, announcement: Announcement, now: datetime) -> None:
        """Have a scheduled announcement sent whose time has come, unless that was long ago."""
        late = now - announcement.due_at > LATE_FOR
        said = f"it was due at {announcement.due_at.astimezone():%Y-%m-%d %H:%M}, when no master ran" if late else ""

        def write(connection: Connection) -> str:
            if not announcement.schedule:
                state = "failed" if late else "sending"
                rows.change(connection, announcement.id, was=("scheduled",), at=now, state=state, detail=said)
                return announcement.id
            due_at = next_time(announcement.schedule, now)
            changed = rows.change(connection, announcement.id, was=("scheduled",), at=now, due_at=due_at, detail=said)
            if changed is None or late:
                return announcement.id
            made = time_of(announcement, self._clock, now)
            names = [place.place for place in rows.places_of(connection, [announcement.id])]
            rows.insert(connection, made, places_of(made, names, now))
            return made.id

        begun = await self._ledger.write(write)
        self._tell(begun, "failed" if late else "sending", detail=said)
        if late:
            self._alerts.raise_alert(
                AlertLevel.WARNING,
                "An announcement was not sent",
                key=f"announcement late:{announcement.id}",
                text=f"{said}; it begins “{announcement.text[:60]}”",
            )

    async def _attempt(self, place: AnnouncementPlace) -> None:
        """Try one place, once."""
        try:
            announcement = await self._claim(place)
            if announcement is not None:
                await self._after(place, await self._places.send(place.place, announcement, again=place.attempts > 0))
                await self._finish(announcement.id)
        except LedgerError as error:
            # Not begun: what is on record is tried again.
            log.warning("an announcement waits for the ledger", extra={"place": place.place, "why": error.message})
            await asyncio.sleep(LEDGER_PAUSE_S)
        finally:
            self._at_work.discard((place.announcement_id, place.place))
            self._changed.set()

    async def _claim(self, place: AnnouncementPlace) -> Announcement | None:
        """Write down that a place is being sent to; None if somebody cancelled it meanwhile."""
        now = self._clock.now()

        def write(connection: Connection) -> Announcement | None:
            found = rows.find(connection, place.announcement_id)
            if found is None or found.state != "sending":
                return None
            claimed = rows.change_place(
                connection,
                place.announcement_id,
                place.place,
                was=("waiting",),
                at=now,
                state="sending",
                attempts=place.attempts + 1,
                next_at=None,
            )
            return found if claimed else None

        return await self._ledger.write(write)

    async def _after(self, place: AnnouncementPlace, outcome: Outcome) -> None:
        """Write down what became of an attempt."""
        tried = place.attempts + 1
        if outcome.fate is Fate.SENT:
            await self._write(place, "sent", was="sending", url=outcome.url, detail="")
        elif outcome.fate is Fate.UNKNOWN:
            await self._write(place, "asked", was="sending", detail=outcome.detail)
            self._ask(place, outcome.detail)
        elif outcome.fate is Fate.AWAY and tried <= len(self._backoff_s):
            pause = timedelta(seconds=max(self._backoff_s[tried - 1], outcome.retry_after_s))
            await self._write(place, "waiting", was="sending", next_at=self._clock.now() + pause, detail=outcome.detail)
        else:
            await self._write(place, "given_up", was="sending", detail=outcome.detail)
            self._alerts.raise_alert(
                AlertLevel.WARNING,
                f"An announcement did not reach {place.place}",
                key=f"announcement:{place.announcement_id}:{place.place}",
                text=f"{outcome.detail}. `fleet announcements resend {place.announcement_id}` tries it again.",
            )

    def _ask(self, place: AnnouncementPlace, why: str) -> None:
        self._alerts.raise_alert(
            AlertLevel.WARNING,
            f"Did an announcement reach {place.place}?",
            key=f"announcement:{place.announcement_id}:{place.place}",
            text=f"{why}: {_UNCERTAIN}. Look there; if it is missing, "
            f"`fleet announcements resend {place.announcement_id} --to {place.place}` sends it again.",
        )

    async def _write(self, place: AnnouncementPlace, state: str, *, was: str, **values: object) -> None:
        """Write down a place's new state; what has happened is written as soon as the ledger is there."""
        now = self._clock.now()
        await self._written(
            lambda c: rows.change_place(
                c, place.announcement_id, place.place, was=(was,), at=now, state=state, **values
            )
        )
        self._tell(place.announcement_id, state, place=place.place, detail=str(values.get("detail", "")))

    async def _finish(self, announcement_id: str) -> None:
        """End an announcement that is through with all its places."""
        now = self._clock.now()

        def write(connection: Connection) -> str:
            places = rows.places_of(connection, [announcement_id])
            if any(place.state in ("waiting", "sending") for place in places):
                return ""
            missing = [place.place for place in places if place.state != "sent"]
            state, detail = ("failed", f"not at {', '.join(missing)}"[:400]) if missing else ("sent", "")
            ended = rows.change(connection, announcement_id, was=("sending",), at=now, state=state, detail=detail)
            return state if ended is not None else ""

        state = await self._written(write)
        if state:
            self._tell(announcement_id, state)

    async def _written(self, work: Callable[[Connection], T]) -> T:
        """Return what a write returns, however long the ledger is away."""
        while True:
            try:
                return await self._ledger.write(work)
            except LedgerError as error:
                log.warning("what became of an announcement waits for the ledger", extra={"why": error.message})
                await asyncio.sleep(LEDGER_PAUSE_S)
                await self._ledger.wait_available()

    def _tell(self, announcement_id: str, what: str, *, place: str = "", detail: str = "") -> None:
        self._bus.publish(
            AnnouncementChanged(
                at=self._clock.now(), announcement_id=announcement_id, what=what, place=place, detail=detail
            )
        )
