"""Several servers: commands on those of the fleet, a clear word elsewhere, and what is told when its own is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec import structs

from master.configuration.settings import PeopleSettings
from master.events import AlertRaised
from nodekit.endpoints import apply_endpoints
from sandbox import ChannelHandle, GuildHandle, Sandbox
from sandbox.events import Event
from tests.cogs.conftest import Scene
from tests.services.conftest import open_house, settings_in

WITHIN_S = 20.0


@dataclass
class Servers(Scene):
    """The fleet's server, another of the fleet's, and a foreign one."""

    second: GuildHandle = field(kw_only=True)
    foreign: GuildHandle = field(kw_only=True)
    told: list[AlertRaised] = field(default_factory=list)

    def commands_in(self, guild: GuildHandle | None) -> set[str]:
        guild_id = None if guild is None else guild.id
        return {command["name"] for command in self.sandbox.commands.of_scope(self.account.id, guild_id)}

    async def title_in(self, channel: ChannelHandle, name: str = "fleet cogs list") -> str:
        asked = await self.ada.runs_command(channel, self.account, name)
        answered = await asked.wait_until(lambda i: bool(i.embeds))
        return str(answered.embeds[0]["title"])

    def troubles(self) -> str:
        return " ".join(self.house.services.overview.master_status().troubles)


@pytest.fixture
async def servers(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path) -> AsyncIterator[Servers]:
    ada = sandbox.create_human("ada")
    home, second, foreign = (sandbox.create_guild(name, ada) for name in ("HQ", "Branch", "Elsewhere"))
    account = sandbox.create_bot("Fleetmaster")
    for guild in (home, second, foreign):
        guild.add_bot(account)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    settings = settings_in(tmp_path, sandbox, empty_ledger)
    identity = structs.replace(settings.identity, guild_id=home.id, more_guilds=frozenset({second.id}))
    settings = structs.replace(
        settings,
        identity=identity,
        channels=structs.replace(settings.channels, verify=0),
        operators=PeopleSettings(user_ids=frozenset({ada.id})),
    )
    async with open_house(settings, sandbox) as house:
        office = home.create_channel("operators")
        made = Servers(house, sandbox, ada, home, office, account, second=second, foreign=foreign)
        house.services.bus.on(AlertRaised, made.told.append)
        await (await made.connect()).wait_until_ready()
        yield made
        await made.disconnect()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - a server that is lost tells nobody here
            await asyncio.sleep(0.01)


async def test_commands_are_on_the_servers_of_the_fleet_and_work_on_each(servers: Servers) -> None:
    assert "fleet" in servers.commands_in(servers.guild)
    assert servers.commands_in(servers.second) == servers.commands_in(servers.guild)
    assert servers.commands_in(servers.foreign) == servers.commands_in(None) == set()
    for guild in (servers.guild, servers.second):
        assert await servers.title_in(guild.create_channel("talk")) == "Cogs of the master"


async def test_on_a_foreign_server_an_operator_is_nobody(servers: Servers) -> None:
    # Global commands, as of a time without GUILD_ID.
    own = servers.sandbox.commands.of_scope(servers.account.id, servers.guild.id)
    fleet = next(command for command in own if command["name"] == "fleet")
    wanted = {key: fleet[key] for key in ("name", "description", "type", "options")}
    servers.sandbox.commands.overwrite(servers.account.id, None, [wanted])
    assert "not the fleet's" in await servers.title_in(servers.foreign.create_channel("talk"))
    assert "Backed" not in await servers.title_in(servers.foreign.create_channel("more"), "fleet backup")
    assert not list(servers.house.services.settings.state_dir.glob("backups/*"))


async def test_a_server_that_is_left_and_joined_again_is_told_and_has_its_commands_again(servers: Servers) -> None:
    world, account = servers.sandbox.world, servers.account.account
    world.remove_member(servers.foreign.guild, account)
    world.remove_member(servers.guild.guild, account)
    await until(lambda: bool(servers.told))
    (lost,) = servers.told
    assert lost.title == f"The master is not on the server {servers.guild.id} (GUILD_ID)"
    assert "client_id=" in lost.text
    assert str(servers.guild.id) in servers.troubles()
    servers.sandbox.commands.overwrite(servers.account.id, servers.guild.id, [])
    servers.guild.add_bot(servers.account)
    await until(lambda: "fleet" in servers.commands_in(servers.guild))
    assert servers.told[-1].title == f"The master is on the server {servers.guild.id} (GUILD_ID) again"
    assert servers.troubles() == ""


async def test_one_that_was_lost_while_nobody_looked_is_told_at_the_start(servers: Servers) -> None:
    await servers.disconnect()
    servers.sandbox.world.remove_member(servers.second.guild, servers.account.account)
    await servers.connect()
    await until(lambda: any("not on the server" in alert.title for alert in servers.told))
    assert f"{servers.second.id} (MORE_GUILDS)" in servers.troubles()
    # The fleet's own has its commands whatever the other is.
    assert "fleet" in servers.commands_in(servers.guild)


async def test_an_unavailable_server_is_a_trouble_and_no_departure(servers: Servers) -> None:
    guild_id, account_id = servers.guild.id, servers.account.account.id
    emit = servers.sandbox.world.emit
    emit(Event("GUILD_DELETE", {"id": str(guild_id), "unavailable": True}, guild_id, only_for=account_id))
    await until(lambda: "unavailable: an outage at Discord" in servers.troubles())
    data = servers.sandbox.world.guild_for_gateway(servers.guild.guild, servers.account.account)
    emit(Event("GUILD_CREATE", data, guild_id, only_for=account_id))
    await until(lambda: servers.troubles() == "")
    assert servers.told == []


async def test_a_foreign_server_that_the_master_is_added_to_is_told_of(servers: Servers) -> None:
    servers.sandbox.create_guild("Strangers", servers.ada).add_bot(servers.account)
    await until(lambda: bool(servers.told))
    assert servers.told[0].title == "The master was added to a server that is not the fleet's"
    assert "Strangers" in servers.told[0].text
