"""The warm-up of the zygote before it forks, and of its spare child before it is used.

The first Bot of a process costs several times as much as the second: type caches fill, msgspec reads annotations,
bytecode adapts. And a forked process copies each page at the first write; the spare has done that in advance.
"""

from __future__ import annotations

import asyncio
import platform
import time
from pathlib import Path
from typing import Any

import aiohttp
import discord
from discord import app_commands
from discord.ext import commands

from handshake.messages import Heartbeat
from handshake.redaction import Secret
from handshake.replay import ReplayGuard
from handshake.signing import NodeKey, Signer, Verifier
from nodekit.bot import HandshakeBot
from nodekit.store import Store

_ID = "100000000000000001"
_USER = {"id": _ID, "username": "warmup", "discriminator": "0", "avatar": None, "bot": True}
_READY: dict[str, Any] = {
    "user": _USER,
    "guilds": [{"id": _ID, "unavailable": True}],
    "application": {"id": _ID, "flags": 0},
}
_GUILD: dict[str, Any] = {
    "id": _ID,
    "name": "warmup",
    "owner_id": _ID,
    "roles": [{"id": _ID, "name": "@everyone", "permissions": "0", "position": 0, "color": 0, "colors": {}}],
    "channels": [{"id": _ID, "type": 0, "name": "warmup", "position": 0}],
    "members": [{"user": _USER, "roles": [], "joined_at": None, "deaf": False, "mute": False, "flags": 0}],
}


class _Cog(commands.Cog):
    """Commands of the kinds that the template has."""

    @commands.hybrid_group(fallback="show", description="warmup")
    @commands.guild_only()
    @app_commands.describe(name="warmup")
    async def group(self, context: commands.Context[HandshakeBot], name: str) -> None:
        """Do nothing; it is never called."""

    @group.command(description="warmup")
    @commands.has_permissions(manage_messages=True)
    async def inner(
        self, context: commands.Context[HandshakeBot], name: commands.Range[str, 1, 50], *, text: str
    ) -> None:
        """Do nothing; it is never called."""

    @commands.hybrid_command(description="warmup")
    @commands.cooldown(5, 10, commands.BucketType.user)
    async def hybrid(self, context: commands.Context[HandshakeBot], number: commands.Range[int, 1, 20] = 1) -> None:
        """Do nothing; it is never called."""

    @app_commands.command(description="warmup")
    @app_commands.describe(text="warmup")
    async def warmup(self, interaction: discord.Interaction, text: str | None = None) -> None:
        """Do nothing; it is never called."""


def warm_up() -> None:
    """Create a bot with a cog and a guild, sign and verify a message, and discard it all; nothing is connected."""
    asyncio.run(_warm_up())


async def _warm_up() -> None:
    bot = HandshakeBot(intents=discord.Intents.default())
    await bot.add_cog(_Cog())
    for command in bot.tree.get_commands():
        command.to_dict(bot.tree)
    state = bot._connection
    state.user = discord.ClientUser(state=state, data=_USER)
    state._add_guild_from_data(_GUILD)
    async with aiohttp.ClientSession():
        pass
    platform.python_version()
    key = NodeKey("REHEARSAL", 1, Secret(bytes(32)))
    verifier = Verifier(lambda _node_id, _epoch: key, clock=time.time, replay_guard=ReplayGuard(time.time))
    verifier.open(
        Signer(key, from_master=False, clock=time.time).sign(Heartbeat(uptime_s=0.0, latency_ms=None, guilds=0))
    )
    Store(Path("warmup"), {})
    await bot.close()
