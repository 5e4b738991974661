"""The unmodified discord.py on the sandbox, and a plain HTTP client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import discord
import pytest
from discord.ext import commands

from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, GuildHandle, Person, Sandbox


@dataclass
class World:
    """A guild with one channel, its owner, and an invited bot."""

    sandbox: Sandbox
    ada: Person
    guild: GuildHandle
    channel: ChannelHandle
    bot: BotHandle
    http: aiohttp.ClientSession

    async def rest(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> tuple[int, Any]:
        """Send a raw request as the bot."""
        headers = {"Authorization": f"Bot {self.bot.token if token is None else token}"}
        async with self.http.request(method, self.sandbox.api_base + path, json=body, headers=headers) as response:
            return response.status, await response.json() if response.status != 204 else None


@pytest.fixture
async def world(sandbox: Sandbox) -> AsyncIterator[World]:
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", ada)
    channel = guild.create_channel("general")
    bot = sandbox.create_bot("Atlas")
    guild.add_bot(bot)
    async with aiohttp.ClientSession() as http:
        yield World(sandbox, ada, guild, channel, bot, http)


@asynccontextmanager
async def connected(
    world: World,
    intents: discord.Intents | None = None,
    setup: Callable[[commands.Bot], Awaitable[None]] | None = None,
) -> AsyncIterator[commands.Bot]:
    """Run a bot of the unmodified library until the context ends."""
    apply_endpoints(world.sandbox.api_base, world.sandbox.gateway_url)
    client = commands.Bot(
        "!",
        intents=intents or discord.Intents.default(),
        guild_ready_timeout=0.05,
        allowed_mentions=discord.AllowedMentions.all(),
    )

    logged_in = asyncio.Event()

    async def hook() -> None:
        logged_in.set()
        if setup is not None:
            await setup(client)
            await client.tree.sync()

    client.setup_hook = hook  # type: ignore[method-assign]
    running = asyncio.create_task(client.start(world.bot.token))
    try:
        # wait_until_ready() refuses before login, and Python 3.13 starts the wait before the task.
        login = asyncio.create_task(logged_in.wait())
        await asyncio.wait({login, running}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        login.cancel()
        await asyncio.wait_for(client.wait_until_ready() if not running.done() else running, 10)
        yield client
    finally:
        await client.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
