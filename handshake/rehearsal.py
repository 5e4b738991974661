"""What the zygote does once before it forks: whatever is warm then (bytecode, type caches) is warm in every node."""

from __future__ import annotations

import asyncio

import discord
from discord.ext import commands

_ROUNDS = 3


def rehearse() -> None:
    """Make a bot and throw it away, a few times; nothing is connected."""
    asyncio.run(_rehearse())


async def _rehearse() -> None:
    for _ in range(_ROUNDS):
        bot = commands.Bot("!", intents=discord.Intents.none(), max_messages=None)
        await bot.close()
