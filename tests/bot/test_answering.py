"""Answers to interactions on servers that lack a feature, through the unmodified discord.py on the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import discord
import pytest
from discord import app_commands

from master.bot.answering import answer, defer
from nodekit.endpoints import apply_endpoints
from sandbox import ApplicationDidNotRespond, BotHandle, ChannelHandle, Person, Sandbox
from tests.conftest import TurnableClock


@dataclass
class Scene:
    """A bot with one slow command."""

    sandbox: Sandbox
    ada: Person
    general: ChannelHandle
    bot: BotHandle
    clock: TurnableClock


@asynccontextmanager
async def running(sandbox: Sandbox, bot: BotHandle, work_s: float, clock: TurnableClock) -> AsyncIterator[None]:
    client = discord.Client(intents=discord.Intents.default(), guild_ready_timeout=0.05)
    tree = app_commands.CommandTree(client)
    ready = asyncio.Event()

    @tree.command(name="slow", description="Works for longer than three seconds")
    async def slow(interaction: discord.Interaction) -> None:
        await defer(interaction)
        clock.turn(work_s)
        await answer(interaction, discord.Embed(title="Done", description="all of it"))

    async def on_ready() -> None:
        ready.set()

    client.event(on_ready)
    async with client:
        await client.login(bot.token)
        await tree.sync()
        task = asyncio.create_task(client.connect())
        await asyncio.wait_for(ready.wait(), 10)
        yield
        await client.close()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def scene(sandbox: Sandbox, clock: TurnableClock) -> Scene:
    clock.seconds = sandbox.world.clock()
    sandbox.world.clock = clock
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", ada)
    bot = sandbox.create_bot("Fleetmaster")
    guild.add_bot(bot)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    return Scene(sandbox, ada, guild.create_channel("general"), bot, clock)


async def test_without_deferral_an_answer_in_time_is_the_response(scene: Scene) -> None:
    scene.sandbox.interactions.deferrals_supported = False
    async with running(scene.sandbox, scene.bot, 1.0, scene.clock):
        interaction = await scene.ada.runs_command(scene.general, scene.bot, "slow")
        assert interaction.embeds[0]["title"] == "Done"
        assert interaction.ephemeral


async def test_without_deferral_a_late_answer_appears_as_a_plain_message(scene: Scene) -> None:
    scene.sandbox.interactions.deferrals_supported = False
    async with running(scene.sandbox, scene.bot, 10.0, scene.clock):
        asked = asyncio.create_task(scene.ada.runs_command(scene.general, scene.bot, "slow", timeout_s=5))
        message = await scene.general.wait_for_message(lambda m: "Done" in m.content)
        assert message.content == "Done: all of it"
        asked.cancel()


async def test_an_interaction_that_expired_before_its_deferral_is_not_answered_for_all_to_see(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(scene.sandbox, scene.bot, 0.0, scene.clock):
        gone = asyncio.Event()

        def expire(body: bytes) -> bytes:
            gone.set()
            return body

        monkeypatch.setattr(scene.sandbox.interactions, "_check_fits", _expired)
        scene.sandbox.faults.spoil(expire, count=2, path_contains="/callback")
        with pytest.raises(ApplicationDidNotRespond):
            await scene.ada.runs_command(scene.general, scene.bot, "slow", timeout_s=1)
        assert gone.is_set()
        assert scene.general.messages == []


def _expired(*_: object) -> None:
    from sandbox.errors import unknown

    raise unknown("interaction")
