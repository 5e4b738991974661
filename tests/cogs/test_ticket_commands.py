"""/ticket, and the buttons of a node's request: what a moderator sees and presses, and what others may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from handshake.redaction import Secret
from master.bot.client import MasterBot
from master.bot.port import DiscordPyPort
from master.configuration.settings import PeopleSettings, Settings, TicketCategory, TicketSettings
from master.events import TicketChanged
from master.services.container import DiscordView
from master.services.onboarding.saga import CloneRequest
from nodekit.endpoints import apply_endpoints
from sandbox import ChannelHandle, Interaction, Message, Person, Sandbox, permissions
from sandbox.records import Overwrite
from tests.services.conftest import OPERATOR, house_settings, open_house
from tests.services.people.ticket_house import MASTER_BITS, TicketNode

__all__ = ["house_settings"]

pytestmark = pytest.mark.timeout(60)


@dataclass
class Counter:
    """A server with a log channel; mia moderates, eve and max are members."""

    sandbox: Sandbox
    log: ChannelHandle
    office: ChannelHandle
    bot: MasterBot
    account: object
    atlas: TicketNode
    mia: Person
    eve: Person
    max: Person

    async def runs(self, who: Person, name: str, options: dict[str, object] | None = None) -> Interaction:
        asked = await who.runs_command(self.office, self.account, name, options)  # type: ignore[arg-type]
        return await asked.wait_until(lambda i: bool(i.embeds))


@pytest.fixture
async def counter(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[Counter]:
    ada, mia, eve, maxi = (sandbox.create_human(name) for name in ("ada", "mia", "eve", "max"))
    guild = sandbox.create_guild("HQ", ada)
    for person in (eve, maxi):
        guild.add_member(person)
    guild.add_member(mia, [guild.create_role("moderators", permissions.MANAGE_MESSAGES)])
    account = sandbox.create_bot("Fleetmaster")
    guild.add_bot(account, bits=MASTER_BITS)
    place = sandbox.world.create_channel(guild.guild, "tickets", kind=4)
    log, office = guild.create_channel("log"), guild.create_channel("office")
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    settings = replace(
        house_settings,
        identity=replace(house_settings.identity, guild_id=guild.id),
        channels=replace(house_settings.channels, verify=0, log=log.id),
        moderators=PeopleSettings(user_ids=frozenset({mia.id})),
        tickets=TicketSettings(categories={"support": TicketCategory(channel_id=place.id)}),
    )
    clients: list[MasterBot] = []
    port = DiscordPyPort(lambda: clients[0] if clients else None, 5.0)
    view = DiscordView(user_id=lambda: account.id, state=lambda: "ready", port=port)
    async with open_house(settings, sandbox, view) as house:
        node = house.bot("atlas")
        guild.add_bot(node)
        made = await house.clone(OPERATOR, CloneRequest(name="atlas", token=Secret(node.token), start=True))
        bot = MasterBot(house.operations)
        clients.append(bot)
        running = asyncio.create_task(bot.start(account.token))
        alerts = asyncio.create_task(house.services.outbox.run())
        await sandbox.gateway.wait_connected(account.account, timeout_s=20)
        atlas = TicketNode(house, "atlas", made.licence)
        await atlas.proves_itself()
        yield Counter(sandbox, log, office, bot, account, atlas, mia, eve, maxi)
        await bot.close()
        alerts.cancel()
        await asyncio.gather(running, alerts, return_exceptions=True)


def is_question(message: Message) -> bool:
    return any("asks to let somebody" in embed.get("title", "") for embed in message.embeds)


async def test_a_moderator_lets_somebody_in_with_a_button_and_nobody_else_does(counter: Counter) -> None:
    opened = await counter.atlas.opens(counter.eve, text="*bold* <@1>")
    answer = await counter.atlas.asks_for(opened.id, counter.max)
    assert answer.code == "asking"
    question = await counter.log.wait_for_message(is_question)
    (embed,) = question.embeds
    assert {field["name"]: field["value"] for field in embed["fields"]}["Who"] == f"<@{counter.max.id}>"
    for other in (counter.eve, counter.max):
        refused = await other.presses(question, "Let in")
        await refused.wait_until(lambda i: bool(i.embeds))
        assert "may not" in str(refused.embeds), refused.embeds
    channel = counter.sandbox.world.channels[opened.channel_id]
    assert counter.max.id not in channel.overwrites
    pressed = await counter.mia.presses(question, "Let in")
    await pressed.wait_until(lambda i: bool(i.embeds))
    assert "Let in" in pressed.embeds[0]["title"]
    assert counter.max.id in channel.overwrites
    late = await counter.mia.presses(question, "Refuse")
    await late.wait_until(lambda i: bool(i.embeds))
    assert f"granted already by discord:{counter.mia.id}" in str(late.embeds)
    # What is asked again is answered: the node was told, and it is in force.
    assert (await counter.atlas.asks_for(opened.id, counter.max, actor_id=counter.mia.id)).granted


async def test_a_moderator_lists_shows_and_closes_tickets(counter: Counter) -> None:
    assert "There is none" in str((await counter.runs(counter.mia, "ticket list")).embeds)
    opened = await counter.atlas.opens(counter.eve, text="*bold* <@1>", answers=("since <@everyone>",))
    listed = str((await counter.runs(counter.mia, "ticket list")).embeds)
    assert f"<@{counter.eve.id}>" in listed
    assert "<@1>" not in listed.replace("\\\\<@1>", "")
    shown = (await counter.runs(counter.mia, "ticket show", {"ticket": "1"})).embeds[0]
    assert shown["title"] == "Ticket 1: open"
    assert "everyone" in str(shown["fields"])
    closed = await counter.runs(counter.mia, "ticket close", {"ticket": f"<#{opened.channel_id}>", "reason": "solved"})
    assert "Ticket 1 is closed" in str(closed.embeds)
    gone = await counter.runs(counter.mia, "ticket show", {"ticket": "9"})
    assert "There is no ticket '9'" in str(gone.embeds)
    assert "it has no staff" in str((await counter.runs(counter.mia, "ticket check")).embeds)


async def test_what_is_done_to_a_tickets_channel_by_hand_is_noticed_at_once(counter: Counter) -> None:
    opened = await counter.atlas.opens(counter.eve)
    services = counter.atlas.house.services
    with services.bus.subscribe(TicketChanged) as changes:
        channel = counter.sandbox.world.channels[opened.channel_id]
        channel.overwrites[counter.max.id] = Overwrite(counter.max.id, 1, permissions.VIEW_CHANNEL, 0)
        counter.sandbox.world.update_channel(channel)
        async with asyncio.timeout(20):
            while (await changes.get()).what != "put_right":
                pass
        assert counter.max.id not in channel.overwrites
        counter.sandbox.world.delete_channel(channel)
        async with asyncio.timeout(20):
            while (await changes.get()).what != "deleted":
                pass
