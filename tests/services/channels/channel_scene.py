"""A master on a server whose channels people change: services, the real bot, a sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from msgspec.structs import replace

from master.bot.client import MasterBot
from master.bot.port import DiscordPyPort
from master.configuration.settings import (
    ChannelSettings,
    PeopleSettings,
    SelffixSettings,
    Settings,
    TicketCategory,
    TicketSettings,
)
from master.events import ChannelRepaired
from master.ledger.rows import server_channels as rows
from master.ledger.rows.records import ChannelRepair
from master.services.container import DiscordView, Services
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, GuildHandle, Person, Sandbox, permissions
from tests.services.conftest import House, open_house

BITS = (
    permissions.EVERYONE_DEFAULT
    | permissions.MANAGE_CHANNELS
    | permissions.MANAGE_ROLES
    | permissions.VIEW_AUDIT_LOG
    | permissions.PIN_MESSAGES
    | permissions.MANAGE_MESSAGES
)


@dataclass
class Server:
    """A server with the fleet's channels; ada owns it."""

    sandbox: Sandbox
    ada: Person
    guild: GuildHandle
    account: BotHandle
    settings: Settings

    def named(self, name: str) -> list[ChannelHandle]:
        return [self.guild.channel(one.id) for one in self.guild.guild.channels.values() if one.name == name]

    def one(self, name: str) -> ChannelHandle:
        (found,) = self.named(name)
        return found

    def all_names(self) -> list[str]:
        return sorted(one.name for one in self.guild.guild.channels.values())


@dataclass
class Scene:
    """A master on the server."""

    server: Server
    house: House

    @property
    def services(self) -> Services:
        return self.house.services

    async def repairs(self) -> list[ChannelRepair]:
        return await self.services.ledger.read(lambda link: rows.recent_repairs(link, limit=1_000))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; it is looked at after each repair."""
        with self.services.bus.subscribe(ChannelRepaired) as events:
            async with asyncio.timeout(60):
                while not holds():
                    await events.get()


def server_on(sandbox: Sandbox, house_settings: Settings, **selffix: object) -> Server:
    """Make a server: LOG, PATCH and VERIFY in a category, a ticket category with its log channel in it."""
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", ada)
    office = guild.create_category("office")
    log, patch, verify = (guild.create_channel(name, inside=office) for name in ("log", "patch", "verify"))
    tickets = guild.create_category("tickets")
    transcripts = guild.create_channel("transcripts", inside=tickets)
    guild.create_channel("general")
    account = sandbox.create_bot("Fleetmaster", privileged_intents=permissions.ALL)
    guild.add_bot(account, bits=BITS)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    category = TicketCategory(channel_id=tickets.id, log_channel_id=transcripts.id)
    settings = replace(
        house_settings,
        identity=replace(house_settings.identity, guild_id=guild.id),
        channels=ChannelSettings(log=log.id, patch=patch.id, verify=verify.id),
        operators=PeopleSettings(user_ids=frozenset({ada.id})),
        tickets=TicketSettings(categories={"support": category}),
        selffix=SelffixSettings(**{"debounce_s": 0.1, **selffix}),  # type: ignore[arg-type]
    )
    return Server(sandbox, ada, guild, account, settings)


@asynccontextmanager
async def master_on(server: Server, *, looks: bool = True) -> AsyncIterator[Scene]:
    """Run a master on a server; it has looked at the channels once.

    Parameters
    ----------
    looks
        Whether it looks after them by itself.
    """
    clients: list[MasterBot] = []
    port = DiscordPyPort(lambda: clients[0] if clients else None, 5.0)
    view = DiscordView(user_id=lambda: server.account.id, state=lambda: "ready", port=port)
    async with open_house(server.settings, server.sandbox, view) as house:
        services = house.services
        await services.channels.load()
        bot = MasterBot(house.operations)
        clients.append(bot)
        tasks = [asyncio.create_task(bot.start(server.account.token)), asyncio.create_task(services.outbox.run())]
        await server.sandbox.gateway.wait_connected(server.account.account, timeout_s=20)
        await bot.wait_until_ready()
        if looks:
            await services.channels.keeper.look()
            tasks.append(asyncio.create_task(services.channels.keeper.run()))
        try:
            yield Scene(server, house)
        finally:
            await bot.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
