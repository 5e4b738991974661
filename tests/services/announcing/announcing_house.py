"""A master with places to announce at: a channel and a forum of a server, and servers outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import discord
from msgspec.structs import replace

from handshake.redaction import Secret
from master.bot.port import DiscordPyPort
from master.configuration.settings import AnnouncePlace, Settings
from master.events import AlertRaised, AnnouncementChanged
from master.ledger.rows import announcements as rows
from master.services.announcing.announcements import Draft
from master.services.announcing.building import Announcing, build_announcing
from master.services.announcing.discord_place import DiscordPlace
from master.services.announcing.outcomes import Fate
from master.services.announcing.outside import Outside
from master.services.announcing.places import Places
from master.services.container import DiscordView
from master.services.core.announcement_views import AnnouncementPlaceRow, AnnouncementRow
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, Person, Sandbox
from sandbox.records import Channel
from tests.services.announcing.places import Town, town
from tests.services.conftest import House, open_house
from tests.services.people.ticket_house import AheadClock

T = TypeVar("T")
BACKOFF_S = (0.05, 0.05, 0.05)


@dataclass
class AnnouncingHouse:
    """A house, its places, and a sender that begins when it is told to."""

    house: House
    sandbox: Sandbox
    ada: Person
    bot: BotHandle
    news: ChannelHandle
    forum: ChannelHandle
    town: Town
    announcing: Announcing
    settings: Settings
    port: DiscordPyPort
    clock: AheadClock
    alerts: list[AlertRaised] = field(default_factory=list)
    sending: asyncio.Task[None] | None = None

    def begins(self) -> None:
        """Have a master begin to send."""
        self.sending = asyncio.create_task(self.announcing.sender.run())

    async def is_killed(self) -> None:
        """End the sender as a kill ends it: whatever it was doing stays as it is on record."""
        assert self.sending is not None
        self.sending.cancel()
        await asyncio.gather(self.sending, return_exceptions=True)

    async def announces(self, *places: str, text: str = "Version 2 is out", **fields: object) -> AnnouncementRow:
        """Write an announcement down, and wait for the first attempts."""
        announcements = self.announcing.announcements
        made = await announcements.write(Draft(text=text, places=places, **fields), actor="cli:ada")  # type: ignore[arg-type]
        if made.state == "scheduled":
            return await announcements.row(made.id)
        return await announcements.wait_for_first_round(made.id, timeout_s=30)

    async def announces_nothing_yet(self, *places: str) -> AnnouncementRow:
        """Write an announcement down while nobody sends."""
        made = await self.announcing.announcements.write(Draft(text="Version 2", places=places), actor="cli:ada")
        return await self.announcing.announcements.row(made.id)

    async def posts_as_the_killed_one(self, row: AnnouncementRow) -> None:
        """Do what a master did that was killed before it wrote any of it down; Mastodon's turn had not come."""
        places = Places(lambda: self.settings, DiscordPlace(self.port, lambda: self.bot.id), Outside())
        found = await self.house.services.ledger.read(lambda c: rows.find(c, row.id))
        assert found is not None
        for place in ("news", "forum"):
            assert (await places.send(place, found, again=False)).fate is Fate.SENT
        for place in ("news", "forum", "json"):
            begun: dict[str, Any] = {"state": "sending", "attempts": 1, "next_at": None}
            write = partial(rows.change_place, announcement_id=row.id, place=place, was=("waiting",), **begun)
            await self.house.services.ledger.write(partial(write, at=self.clock.now()))

    async def until(self, announcement_id: str, place: str, state: str) -> AnnouncementPlaceRow:
        """Wait until a place has a state."""

        async def look() -> AnnouncementPlaceRow | None:
            row = await self.announcing.announcements.row(announcement_id)
            return next((one for one in row.places if (one.place, one.state) == (place, state)), None)

        return await self.seen(look)

    async def seen(self, look: Callable[[], Awaitable[T | None]]) -> T:
        """Wait until ``look`` finds something; it looks again at each change of an announcement."""
        with self.house.services.bus.subscribe(AnnouncementChanged) as changes:
            while True:
                found = await look()
                if found is not None:
                    return found
                await changes.get()

    @property
    def posts(self) -> list[Channel]:
        """The posts of the forum."""
        return [one for one in self.sandbox.world.channels.values() if one.parent_id == self.forum.id]


@asynccontextmanager
async def announcing_house(settings: Settings, sandbox: Sandbox) -> AsyncIterator[AnnouncingHouse]:
    """Open a house whose master is on Discord; its sender has not begun."""
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", ada)
    bot = sandbox.create_bot("Fleetmaster")
    guild.add_bot(bot)
    news, forum = guild.create_channel("news"), guild.create_forum("releases")
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    async with town() as places:
        urls = {name: Secret(places.url(name)) for name in ("mastodon", "ntfy", "json", "devto")}
        settings = replace(
            settings,
            announce={
                "news": AnnouncePlace(channel_id=news.id),
                "forum": AnnouncePlace(channel_id=forum.id),
                "gone": AnnouncePlace(channel_id=1),
                "empty": AnnouncePlace(),
                **{name: AnnouncePlace(url=url) for name, url in urls.items()},
            },
        )
        client = discord.Client(intents=discord.Intents.none())
        await client.login(bot.token)
        port, clock = DiscordPyPort(lambda: client, 5.0), AheadClock()
        view = DiscordView(user_id=lambda: bot.id, state=lambda: "ready", port=port)
        async with open_house(settings, sandbox, view, clock=clock) as house:
            services = house.services
            announcing = build_announcing(
                ledger=services.ledger,
                bus=services.bus,
                clock=clock,
                alerts=services.alerts,
                settings=lambda: settings,
                port=port,
                own_id=lambda: bot.id,
                backoff_s=BACKOFF_S,
            )
            made = AnnouncingHouse(house, sandbox, ada, bot, news, forum, places, announcing, settings, port, clock)
            services.bus.on(AlertRaised, made.alerts.append)
            try:
                yield made
            finally:
                if made.sending is not None:
                    await made.is_killed()
                await client.close()
