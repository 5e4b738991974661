"""The master's bot on the sandbox, over real services in this process, with an operator who uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from master.bot import connection as connection_module
from master.bot.client import MasterBot
from master.cogs import _patch_posts
from master.configuration.settings import PeopleSettings
from master.events import NodeReady
from master.services.onboarding.saga import RegisterRequest
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, GuildHandle, Interaction, Message, Person, Sandbox, permissions
from tests.cogs.patch_scene import PatchScene, open_scene, settings_for
from tests.services.conftest import OPERATOR, QUIET_BOT, House, open_house, settings_in


@dataclass
class Scene:
    """A server with an operator, and a master's bot that can be restarted."""

    house: House
    sandbox: Sandbox
    ada: Person
    guild: GuildHandle
    office: ChannelHandle
    account: BotHandle
    bot: MasterBot | None = None
    _connecting: list[asyncio.Task[None]] = field(default_factory=list)

    async def connect(self) -> MasterBot:
        """Connect a new client: nothing of the views of an earlier one is left."""
        await self.disconnect()
        self.bot = MasterBot(self.house.operations)
        self._connecting.append(asyncio.create_task(self.bot.start(self.account.token)))
        await self.sandbox.gateway.wait_connected(self.account.account, timeout_s=20)
        return self.bot

    async def disconnect(self) -> None:
        if self.bot is not None:
            await self.bot.close()
            await self.sandbox.gateway.wait_connected(self.account.account, connected=False)
        await asyncio.gather(*self._connecting, return_exceptions=True)
        self._connecting.clear()

    async def runs(self, name: str, options: dict[str, Any] | None = None) -> Interaction:
        """Run a command as the operator, and wait until it is answered."""
        asked = await self.ada.runs_command(self.office, self.account, name, options)
        return await asked.wait_until(lambda i: bool(i.embeds))

    async def presses(self, message: Message, label: str) -> Interaction:
        """Press a button, and wait until there is a word in answer."""
        pressed = await self.ada.presses(message, label)
        if pressed.kind == "deferred":
            await pressed.wait_until(lambda i: bool(i.embeds))
        return pressed

    async def register(self, *names: str, tags: tuple[str, ...] = ()) -> None:
        """Register nodes that do nothing, and leave them stopped."""
        for name in names:
            folder = self.house.base / name
            folder.mkdir(parents=True)
            (folder / "bot.py").write_text(QUIET_BOT)
            request = RegisterRequest(
                name=name, token=self.house.token(name), folder=name, readiness="process", tags=tags, start=False
            )
            await self.house.register(OPERATOR, request)

    def node_id(self, name: str) -> str:
        return self.house.services.directory.find(name).id

    def happens(self, times: int = 1) -> None:
        """Publish events of a node."""
        for number in range(times):
            self.house.services.bus.publish(NodeReady(at=self.house.services.clock.now(), node_id=str(number)))


@pytest.fixture
async def scene(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path) -> AsyncIterator[Scene]:
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", ada)
    account = sandbox.create_bot("Fleetmaster")
    guild.add_bot(account)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    settings = settings_in(tmp_path, sandbox, empty_ledger)
    # Without VERIFY_CHANNEL the master needs no privileged intent.
    settings = structs.replace(
        settings,
        identity=structs.replace(settings.identity, guild_id=guild.id),
        channels=structs.replace(settings.channels, verify=0),
        operators=PeopleSettings(user_ids=frozenset({ada.id})),
    )
    async with open_house(settings, sandbox) as house:
        made = Scene(house, sandbox, ada, guild, guild.create_channel("operators"), account)
        await made.connect()
        yield made
        await made.disconnect()


@pytest.fixture
async def office(
    tmp_path: Path, sandbox: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PatchScene]:
    """Yield a master with a PATCH_CHANNEL, whose operators are ada and ben; eve is a member."""
    monkeypatch.setattr(connection_module, "RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(_patch_posts, "MIN_EDIT_INTERVAL_S", 0.3)
    ada, ben, eve = (sandbox.create_human(name) for name in ("ada", "ben", "eve"))
    guild = sandbox.create_guild("HQ", ada)
    for person in (ben, eve):
        guild.add_member(person)
    account = sandbox.create_bot("Fleetmaster")
    guild.add_bot(account, bits=permissions.EVERYONE_DEFAULT | permissions.MANAGE_MESSAGES)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    channel = guild.create_channel("patches")
    base = settings_in(tmp_path, sandbox, empty_ledger)
    settings = settings_for(base, guild, channel, frozenset({ada.id, ben.id}))
    async with open_scene(settings, sandbox, (ada, ben, eve), guild, account) as opened:
        yield opened
