"""The fleet's own channels: remembered while they are there, and created once when they are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import discord
import pytest
from msgspec.structs import replace

from master.bot.port import DiscordPyPort
from master.configuration.settings import ChannelSettings, IdentitySettings, Settings
from master.ledger.rows import audit
from master.services.container import DiscordView
from master.services.repair.errors import ActionFailed, ActionSkipped
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, GuildHandle, Person, Sandbox, permissions
from sandbox.records import Overwrite
from tests.services.conftest import House, open_house
from tests.services.repair.acting import act
from tests.services.repair.actions.test_restarting import clone

MANAGE = permissions.MANAGE_CHANNELS | permissions.MANAGE_ROLES


@dataclass
class Scene:
    """A house on a server with three channels."""

    house: House
    settings: Settings
    ada: Person
    guild: GuildHandle
    log: ChannelHandle
    bot: BotHandle

    async def recreate(self) -> str:
        node = next(iter(self.house.services.directory), None) or await clone(self.house)
        return (await act(self.house, node, "recreate_channels")).detail

    async def remember(self) -> None:
        await self.house.services.channels.keeper.look(force=lambda _drift, _survey: False)


@pytest.fixture
async def scene(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[Scene]:
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", ada)
    verify, log = guild.create_channel("verify"), guild.create_channel("fleet-log")
    bot = sandbox.create_bot("Fleetmaster")
    guild.add_bot(bot, bits=permissions.EVERYONE_DEFAULT | MANAGE)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    identity: IdentitySettings = replace(house_settings.identity, guild_id=guild.id)
    channels = ChannelSettings(verify=verify.id, log=log.id)
    settings = replace(house_settings, identity=identity, channels=channels)
    client = discord.Client(intents=discord.Intents.none(), max_messages=None)
    async with client:
        await client.login(bot.token)
        port = DiscordPyPort(lambda: client, 5.0)
        view = DiscordView(user_id=lambda: bot.id, state=lambda: "ready", port=port)
        async with open_house(settings, sandbox, view) as house:
            yield Scene(house, settings, ada, guild, log, bot)


async def test_a_deleted_channel_is_there_again_as_it_was_and_only_once(scene: Scene) -> None:
    staff, gone = scene.guild.create_role("staff"), scene.guild.create_role("gone")
    overwrites = scene.log.channel.overwrites
    overwrites[scene.guild.id] = Overwrite(scene.guild.id, 0, 0, permissions.SEND_MESSAGES)
    overwrites[staff.id] = Overwrite(staff.id, 0, permissions.VIEW_CHANNEL, 0)
    overwrites[gone.id] = Overwrite(gone.id, 0, permissions.VIEW_CHANNEL, 0)
    await scene.remember()
    with pytest.raises(ActionSkipped, match="no channel of the fleet is gone"):
        await scene.recreate()
    del scene.house.sandbox.world.guilds[scene.guild.id].roles[gone.id]
    await scene.ada.deletes_channel(scene.log)
    said = await scene.recreate()
    created = [one for one in scene.house.sandbox.world.channels.values() if one.name == "fleet-log"]
    assert len(created) == 1
    assert said == f"LOG is there again; put into config.py: LOG = {created[0].id}"
    assert {target: (one.allow, one.deny) for target, one in created[0].overwrites.items()} == {
        scene.guild.id: (0, permissions.SEND_MESSAGES),
        staff.id: (permissions.VIEW_CHANNEL, 0),
    }
    # Everybody goes by it, also while config.py has the old id; so it is not created again.
    assert scene.house.services.settings.channels.log == created[0].id
    with pytest.raises(ActionSkipped, match="no channel of the fleet is gone"):
        await scene.recreate()
    rows = await scene.house.services.ledger.read(lambda link: audit.search(link, action="recreate_channels"))
    assert said in [row.detail for row in rows]


async def test_what_nobody_remembers_is_left_to_people(scene: Scene) -> None:
    await scene.ada.deletes_channel(scene.log)
    with pytest.raises(ActionSkipped, match=rf"nothing is remembered of LOG = {scene.log.id}"):
        await scene.recreate()


async def test_without_the_permission_it_is_said(scene: Scene) -> None:
    await scene.remember()
    await scene.ada.deletes_channel(scene.log)
    member = scene.house.sandbox.world.guilds[scene.guild.id].members[scene.bot.id]
    for role_id in member.role_ids:
        scene.house.sandbox.world.guilds[scene.guild.id].roles[role_id].permissions &= ~MANAGE
    with pytest.raises(ActionFailed, match="Manage Channels"):
        await scene.recreate()
