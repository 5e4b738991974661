"""The places of ANNOUNCE, by name: a channel, or an address outside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from msgspec import structs

from master.configuration.settings import AnnouncePlace, Settings
from master.ledger.rows.records import Announcement
from master.services.announcing.discord_place import DiscordPlace
from master.services.announcing.errors import AnnouncementRefused
from master.services.announcing.outcomes import Fate, Outcome
from master.services.announcing.outside import Outside
from master.services.announcing.texts import fit
from master.services.core.announcement_views import PlacePreview, PlaceRow
from master.services.core.errors import DiscordPortError

_KEYED = ("mastodon", "mastodons", "toot", "toots")
"""Addresses of services that post what comes twice with the same key once."""


class Places:
    """Send to places, and say what they take.

    Parameters
    ----------
    settings
        Returns those in effect; none is held.
    """

    def __init__(self, settings: Callable[[], Settings], discord: DiscordPlace, outside: Outside) -> None:
        self._settings = settings
        self._discord = discord
        self._outside = outside

    def chosen(self, names: Sequence[str], *, everything: bool) -> tuple[str, ...]:
        """Return the names of the places that are meant.

        Raises
        ------
        AnnouncementRefused
            There is none, or not one of this name.
        """
        known = self._settings().announce
        if not known:
            hint = 'ANNOUNCE = {"news": {"CHANNEL_ID": 123}}, then `fleet reload`; docs/announcements.md has more'
            raise AnnouncementRefused("config.py names no places to announce at", hint=hint)
        wanted = tuple(known) if everything else tuple(dict.fromkeys(names))
        unknown = [name for name in wanted if name not in known]
        if unknown or not wanted:
            hint = f"there are: {', '.join(known)}"
            said = f"ANNOUNCE in config.py has no place {', '.join(unknown)}" if unknown else "no place is named"
            raise AnnouncementRefused(said, hint=hint)
        return wanted

    def _problem(self, name: str, place: AnnouncePlace | None) -> str:
        """Return why a place cannot be sent to, as far as the settings tell."""
        if place is None:
            return "ANNOUNCE in config.py has this place no more"
        if not place.channel_id and place.url is None:
            return f"it has no CHANNEL_ID, and .env no ANNOUNCE_{name.upper().replace('-', '_')}"
        return ""

    async def send(self, name: str, announcement: Announcement, *, again: bool) -> Outcome:
        """Send an announcement to a place.

        Parameters
        ----------
        again
            An earlier attempt may have reached it.
        """
        place = self._settings().announce.get(name)
        problem = self._problem(name, place)
        if place is None or problem:
            return Outcome(fate=Fate.REFUSED, detail=problem)
        if place.channel_id:
            return await self._discord.send(place.channel_id, announcement, again=again)
        key = hashlib.sha256(f"{announcement.id}:{name}".encode()).hexdigest()
        outcome = await self._outside.send(_url_of(place), announcement.title, announcement.text, key)
        if outcome.fate is Fate.UNKNOWN and self.may_repeat(name):
            return structs.replace(outcome, fate=Fate.AWAY)
        return outcome

    def may_repeat(self, name: str) -> bool:
        """Tell whether an attempt whose end is not known may be repeated: nothing is doubled by it."""
        place = self._settings().announce.get(name)
        return place is not None and (bool(place.channel_id) or _url_of(place).partition(":")[0].lower() in _KEYED)

    async def rows(self) -> list[PlaceRow]:
        """Return all places, with what they take."""
        previews = await self.preview(tuple(self._settings().announce), "", "")
        return [
            PlaceRow(place=one.place, service=one.service, text=limit, problem=one.problem) for one, limit in previews
        ]

    async def preview(self, names: Sequence[str], title: str, text: str) -> list[tuple[PlacePreview, int]]:
        """Return an announcement as each place would get it, with the characters that it takes; 0: any number."""
        known = self._settings().announce
        outside = [name for name in names if not self._problem(name, known.get(name)) and not known[name].channel_id]
        urls = [_url_of(known[name]) for name in outside]
        answers = dict(zip(outside, await self._outside.know(urls), strict=True))
        found = []
        for name in names:
            problem, limits = self._problem(name, known.get(name)), None
            if name in answers:
                limits, problem = answers[name].limits, answers[name].detail
            elif not problem:
                try:
                    limits = await self._discord.limits(known[name].channel_id)
                except DiscordPortError as error:
                    problem = error.message
            if limits is None:
                found.append((PlacePreview(place=name, problem=problem), 0))
                continue
            fitted = fit(title, text, limits)
            shown = PlacePreview(
                place=name, service=limits.service, title=fitted.title, text=fitted.text, cut=fitted.cut
            )
            found.append((shown, limits.text))
        return found


def _url_of(place: AnnouncePlace) -> str:
    return "" if place.url is None else place.url.reveal()
