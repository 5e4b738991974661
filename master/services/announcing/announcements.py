"""Announcements on record: written, scheduled, cancelled, sent again, shown."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from msgspec import structs
from sqlalchemy import Connection

from master.bus import EventBus
from master.events import AnnouncementChanged
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows import announcements as rows
from master.ledger.rows.records import Announcement, AnnouncementPlace
from master.services.announcing.errors import AnnouncementRefused, NoSuchAnnouncement
from master.services.announcing.places import Places
from master.services.announcing.schedules import checked_schedule, next_time
from master.services.announcing.texts import MAX_CHARACTERS, MAX_TITLE_CHARACTERS
from master.services.core.announcement_views import (
    AnnouncementPlaceRow,
    AnnouncementPreview,
    AnnouncementRow,
    PlaceRow,
)
from master.supervision.clock import Clock
from master.wording import encodable

MOST_SCHEDULED = 200
_SHOWN_TIMES = 5
_FURTHEST = timedelta(days=366)
_AGAIN = ("asked", "given_up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What somebody wants to announce."""

    text: str
    title: str = ""
    places: tuple[str, ...] = ()
    everywhere: bool = False
    at: datetime | None = None
    every: str = ""
    """A cron expression."""


class Announcements:
    """Write announcements down, and show what became of them; :class:`Sender` sends what is on record."""

    def __init__(self, *, ledger: Ledger, places: Places, bus: EventBus, clock: Clock) -> None:
        self._ledger, self._places, self._bus, self._clock = ledger, places, bus, clock

    async def preview(self, draft: Draft) -> AnnouncementPreview:
        """Return an announcement as each place would get it; nothing is written.

        Raises
        ------
        AnnouncementRefused
        """
        draft, names = self._checked(draft)
        shown = await self._places.preview(names, draft.title, draft.text)
        return AnnouncementPreview(places=tuple(one for one, _ in shown), times=tuple(self._times(draft)))

    async def places(self) -> list[PlaceRow]:
        """Return the places that there are."""
        return await self._places.rows()

    def _checked(self, draft: Draft) -> tuple[Draft, tuple[str, ...]]:
        """Return a draft as it is kept, and the names of its places."""
        title, text = encodable(draft.title).strip(), encodable(draft.text).strip()
        if not text:
            raise AnnouncementRefused("an announcement needs a text")
        if len(text) > MAX_CHARACTERS or len(title) > MAX_TITLE_CHARACTERS:
            said = f"{len(text)} of {MAX_CHARACTERS} characters, the title {len(title)} of {MAX_TITLE_CHARACTERS}"
            raise AnnouncementRefused(f"it is too long: {said}")
        now = self._clock.now()
        if draft.every and draft.at is not None:
            raise AnnouncementRefused("a moment and a schedule exclude each other")
        every = checked_schedule(draft.every) if draft.every else ""
        if draft.at is not None and not now < draft.at < now + _FURTHEST:
            raise AnnouncementRefused("its moment is over, or more than a year ahead")
        names = self._places.chosen(draft.places, everything=draft.everywhere)
        return replace(draft, title=title, text=text, every=every), names

    def _times(self, draft: Draft) -> list[float]:
        if draft.at is not None:
            return [draft.at.timestamp()]
        times: list[float] = []
        moment = self._clock.now()
        while draft.every and len(times) < _SHOWN_TIMES:
            moment = next_time(draft.every, moment)
            times.append(moment.timestamp())
        return times

    async def write(self, draft: Draft, *, actor: str) -> Announcement:
        """Write an announcement down: to be sent now, or at its time.

        Raises
        ------
        AnnouncementRefused
        LedgerError
        """
        draft, names = self._checked(draft)
        now, times = self._clock.now(), self._times(draft)
        announcement = Announcement(
            id=new_ulid(self._clock),
            at=now,
            due_at=datetime.fromtimestamp(times[0], UTC) if times else now,
            schedule=draft.every,
            title=draft.title,
            text=draft.text,
            state="scheduled" if times else "sending",
            written_by=actor,
            changed_at=now,
        )

        def insert(connection: Connection) -> None:
            if times and rows.count_scheduled(connection) >= MOST_SCHEDULED:
                hint = "`fleet announcements cancel` ends one"
                raise AnnouncementRefused(f"{MOST_SCHEDULED} announcements wait for their time", hint=hint)
            rows.insert(connection, announcement, places_of(announcement, names, now))

        await self._ledger.write(insert)
        self._tell(announcement.id, announcement.state)
        return announcement

    async def cancel(self, word: str) -> AnnouncementRow:
        """Cancel an announcement that is not sent yet, or stop trying where it did not arrive.

        Raises
        ------
        AnnouncementRefused
        LedgerError
        """
        found = await self.find(word)
        now = self._clock.now()

        def change(connection: Connection) -> Announcement | None:
            done = rows.change(connection, found.id, was=("scheduled", "sending"), at=now, state="cancelled")
            if done is not None:
                for place in rows.places_of(connection, [found.id]):
                    rows.change_place(
                        connection,
                        found.id,
                        place.place,
                        was=("waiting",),
                        at=now,
                        state="given_up",
                        detail="cancelled",
                    )
            return done

        if await self._ledger.write(change) is None:
            raise AnnouncementRefused(f"announcement {found.id} is {found.state}: there is nothing to cancel")
        self._tell(found.id, "cancelled")
        return await self.row(found.id)

    async def resend(self, word: str, names: Sequence[str]) -> Announcement:
        """Have an announcement sent again where it did not arrive, or where that is not known.

        Parameters
        ----------
        names
            Places; none: all of those where it was given up. Where it is not known they have to be named.

        Raises
        ------
        AnnouncementRefused
        LedgerError
        """
        found = await self.find(word)
        now = self._clock.now()

        def change(connection: Connection) -> int:
            known = rows.places_of(connection, [found.id])
            wanted = [one.place for one in known if one.place in names or (not names and one.state == "given_up")]
            done = 0
            for name in wanted:
                values = {"state": "waiting", "attempts": 1, "next_at": now, "detail": ""}
                done += rows.change_place(connection, found.id, name, was=_AGAIN, at=now, **values)
            if done:
                states = ("sending", "sent", "failed", "cancelled")
                rows.change(connection, found.id, was=states, at=now, state="sending", detail="")
            return done

        if not await self._ledger.write(change):
            hint = (
                f"`fleet announcements show {found.id}` says what became of it; where that is not known, name the place"
            )
            raise AnnouncementRefused("there is no place to send it to again", hint=hint)
        self._tell(found.id, "sending")
        return found

    async def find(self, word: str) -> Announcement:
        """Return the announcement of an id, or of how it begins.

        Raises
        ------
        NoSuchAnnouncement
        LedgerError
        """
        wanted = word.strip().upper()
        found = await self._ledger.read(lambda c: rows.beginning(c, wanted)) if wanted else []
        if len(found) != 1:
            said = "there is no such announcement" if not found else "several announcements begin so"
            raise NoSuchAnnouncement(said, hint="`fleet announcements` shows them")
        return found[0]

    async def listing(self, *, states: Collection[str] = (), limit: int = 30) -> list[AnnouncementRow]:
        """Return announcements, newest first."""

        def query(connection: Connection) -> tuple[list[Announcement], list[AnnouncementPlace]]:
            found = rows.recent(connection, states=states, limit=limit)
            return found, rows.places_of(connection, [one.id for one in found])

        found, places = await self._ledger.read(query)
        return [_row(one, [place for place in places if place.announcement_id == one.id]) for one in found]

    async def row(self, announcement_id: str) -> AnnouncementRow:
        """Return one announcement with its places.

        Raises
        ------
        NoSuchAnnouncement
        LedgerError
        """

        def query(connection: Connection) -> tuple[Announcement | None, list[AnnouncementPlace]]:
            return rows.find(connection, announcement_id), rows.places_of(connection, [announcement_id])

        found, places = await self._ledger.read(query)
        if found is None:
            raise NoSuchAnnouncement("there is no such announcement")
        return _row(found, places)

    def _tell(self, announcement_id: str, what: str) -> None:
        self._bus.publish(AnnouncementChanged(at=self._clock.now(), announcement_id=announcement_id, what=what))

    def _is_at_work(self, place: AnnouncementPlaceRow) -> bool:
        """Tell whether a place is being sent to, or is to be at once."""
        due = place.next_at is not None and place.next_at <= self._clock.now().timestamp()
        return place.state == "sending" or (place.state == "waiting" and due)

    async def wait_for_first_round(self, announcement_id: str, *, timeout_s: float) -> AnnouncementRow:
        """Return an announcement once each place was tried, or after a while as far as it is.

        Raises
        ------
        LedgerError
        """
        with self._bus.subscribe(AnnouncementChanged) as changes:
            try:
                async with asyncio.timeout(timeout_s):
                    while True:
                        row = await self.row(announcement_id)
                        over = all(one.state not in ("waiting", "sending") for one in row.places)
                        if row.state != "sending" or not (over or any(self._is_at_work(one) for one in row.places)):
                            return row
                        await changes.get()
            except TimeoutError:
                return await self.row(announcement_id)


def places_of(announcement: Announcement, names: Sequence[str], now: datetime) -> list[AnnouncementPlace]:
    """Return the places of a new announcement."""
    return [
        AnnouncementPlace(
            announcement_id=announcement.id,
            place=name,
            state="waiting",
            next_at=announcement.due_at if not announcement.schedule else None,
            changed_at=now,
        )
        for name in names
    ]


def time_of(announcement: Announcement, clock: Clock, now: datetime) -> Announcement:
    """Return the announcement of one time of a schedule."""
    return structs.replace(
        announcement,
        id=new_ulid(clock),
        at=now,
        schedule="",
        parent_id=announcement.id,
        state="sending",
        changed_at=now,
    )


def _row(found: Announcement, places: Sequence[AnnouncementPlace]) -> AnnouncementRow:
    return AnnouncementRow(
        id=found.id,
        at=found.at.timestamp(),
        due_at=found.due_at.timestamp(),
        schedule=found.schedule,
        parent_id=found.parent_id or "",
        title=found.title,
        text=found.text,
        state=found.state,
        written_by=found.written_by,
        detail=found.detail,
        places=tuple(
            AnnouncementPlaceRow(
                place=one.place,
                state=one.state,
                attempts=one.attempts,
                next_at=None if one.next_at is None else one.next_at.timestamp(),
                url=one.url,
                detail=one.detail,
            )
            for one in places
        ),
    )
