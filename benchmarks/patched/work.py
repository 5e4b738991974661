"""The work of a bot that the benchmark ``patch`` brings up to date: a cog, copied into its ``cogs/``, the same for all.

Each message in the channel ``events`` becomes a line of the file ``handled``: version, message, time. A patch is this
file with another ``VERSION``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import discord
from discord import app_commands
from discord.ext import commands

VERSION = 1
HANDLED = Path(__file__).resolve().parent.parent / "handled"


class Work(commands.Cog):
    """Notes what it handles."""

    def __init__(self) -> None:
        self._file = os.open(HANDLED, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    async def cog_unload(self) -> None:
        """Close the file."""
        os.close(self._file)

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Note a message; whole lines at once, for two processes of a bot must not mix theirs."""
        if not message.author.bot and getattr(message.channel, "name", "") == "events":
            os.write(self._file, f"{VERSION} {message.id} {time.time():.6f}\n".encode())

    @app_commands.command(description="Which version is this?")
    async def version(self, interaction: discord.Interaction) -> None:
        """Answer with the version."""
        await interaction.response.send_message(str(VERSION), ephemeral=True)


async def setup(bot: commands.Bot) -> None:
    """Add the cog."""
    await bot.add_cog(Work())
