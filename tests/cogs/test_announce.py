"""/announce: a form, what each place would get, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from handshake.redaction import Secret
from master.bot.client import MasterBot
from master.bot.port import DiscordPyPort
from master.configuration.settings import AnnouncePlace, PeopleSettings, Settings
from master.services.container import DiscordView
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, Interaction, Person, Sandbox, permissions
from sandbox.errors import SandboxError
from tests.services.announcing.places import Town, status, town
from tests.services.conftest import house_settings, open_house

__all__ = ["house_settings"]

pytestmark = pytest.mark.timeout(60)


@dataclass
class Counter:
    """A server with a news channel; ada operates, eve is a member."""

    office: ChannelHandle
    news: ChannelHandle
    account: BotHandle
    ada: Person
    eve: Person
    town: Town

    async def fills(self, places: str, **fields: str) -> Interaction:
        """Run the command, fill in its form, and return what it would send."""
        asked = await self.ada.runs_command(self.office, self.account, "announce", {"places": places})
        shown = await self.ada.submits_modal(asked, fields)
        return await shown.wait_until(lambda i: bool(i.embeds), timeout_s=30)


@pytest.fixture
async def counter(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[Counter]:
    ada, eve = sandbox.create_human("ada"), sandbox.create_human("eve")
    guild = sandbox.create_guild("HQ", ada)
    guild.add_member(eve, [guild.create_role("managers", permissions.MANAGE_GUILD)])
    account = sandbox.create_bot("Fleetmaster")
    guild.add_bot(account)
    office, news = guild.create_channel("office"), guild.create_channel("news")
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    async with town() as places:
        settings = replace(
            house_settings,
            identity=replace(house_settings.identity, guild_id=guild.id),
            channels=replace(house_settings.channels, verify=0, log=0),
            operators=PeopleSettings(user_ids=frozenset({ada.id})),
            announce={
                "news": AnnouncePlace(channel_id=news.id),
                "hook": AnnouncePlace(url=Secret(places.url("json"))),
            },
        )
        clients: list[MasterBot] = []
        port = DiscordPyPort(lambda: clients[0] if clients else None, 5.0)
        view = DiscordView(user_id=lambda: account.id, state=lambda: "ready", port=port)
        async with open_house(settings, sandbox, view) as house:
            bot = MasterBot(house.operations)
            clients.append(bot)
            running = asyncio.create_task(bot.start(account.token))
            sending = asyncio.create_task(house.services.announcing.sender.run())
            await sandbox.gateway.wait_connected(account.account, timeout_s=20)
            try:
                yield Counter(office, news, account, ada, eve, places)
            finally:
                await bot.close()
                for task in (running, sending):
                    task.cancel()
                await asyncio.gather(running, sending, return_exceptions=True)


async def test_it_is_shown_first_and_sent_with_a_press(counter: Counter) -> None:
    counter.town.answers["/hook"] = [status(404)]
    shown = await counter.fills("all", Title="Release", Text="Version 2 <@1> " + "x" * 2100)
    said = str(shown.embeds)
    assert "characters are cut off" in said
    assert (counter.news.messages, counter.town.came) == ([], [])
    pressed = await counter.ada.presses(shown, "Send")
    done = await pressed.wait_until(lambda i: bool(i.embeds), timeout_s=30)
    told = str(done.embeds)
    assert "Sent to 1 of 2 places" in told
    assert "HTTP 404 Not Found" in told
    assert counter.news.messages[0].content.startswith("Release\n\nVersion 2")
    assert counter.news.messages[0].mentions == []


async def test_one_for_later_is_scheduled_and_cancelling_sends_nothing(counter: Counter) -> None:
    shown = await counter.fills("news", Text="Later", **{"In how long": "2h"})
    pressed = await counter.ada.presses(shown, "Schedule")
    done = await pressed.wait_until(lambda i: bool(i.embeds), timeout_s=30)
    assert "Scheduled" in str(done.embeds)
    again = await counter.fills("news", Text="Never")
    await counter.ada.presses(again, "Cancel")
    assert counter.news.messages == []
    offered = await counter.ada.autocompletes(
        counter.office, counter.account, "announce", {"places": "hook,"}, focused="places"
    )
    assert [one["value"] for one in offered] == ["hook,news"]


async def test_only_operators_announce_and_an_unknown_place_is_named(counter: Counter) -> None:
    refused = await counter.eve.runs_command(counter.office, counter.account, "announce", {"places": "all"})
    assert refused.modal is None
    assert "eve" in str((await refused.wait_until(lambda i: bool(i.embeds))).embeds) or refused.embeds
    with pytest.raises(SandboxError, match="no modal"):
        await counter.eve.submits_modal(refused, {"Text": "x"})
    unknown = await counter.fills("nowhere", Text="x")
    assert "no place nowhere" in str(unknown.embeds)
