"""The commands /ping, /about and /uptime."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import config
import discord
from discord import app_commands
from discord.ext import commands

if TYPE_CHECKING:
    from nodekit import HandshakeBot


class Health(commands.Cog):
    """Shows the health of the bot."""

    def __init__(self, bot: HandshakeBot) -> None:
        self.bot = bot

    @app_commands.command(description="Is the bot there, and how fast?")
    async def ping(self, interaction: discord.Interaction) -> None:
        """Answer with the latency to Discord."""
        await interaction.response.send_message(f"Pong: {self.bot.latency * 1000:.0f} ms", ephemeral=True)

    @app_commands.command(description="How long has the bot been up?")
    async def uptime(self, interaction: discord.Interaction) -> None:
        """Answer with the start time, as a timestamp that Discord shows in the reader's time zone."""
        await interaction.response.send_message(f"Up since <t:{int(self.bot.started_at)}:R>", ephemeral=True)

    @app_commands.command(description="What is this bot?")
    async def about(self, interaction: discord.Interaction) -> None:
        """Answer with versions and figures."""
        embed = discord.Embed(
            title=self.bot.user.name if self.bot.user else "HandshakeBot",
            description=config.DESCRIPTION,
            colour=config.COLOUR,
        )
        embed.add_field(name="Version", value=self.bot.version)
        embed.add_field(name="Servers", value=str(len(self.bot.guilds)))
        embed.add_field(name="Up", value=_duration(self.bot.uptime_s))
        embed.set_footer(text=f"discord.py {discord.__version__} · Python {platform.python_version()}")
        if self.bot.failed_cogs:
            embed.add_field(name="Not loaded", value=", ".join(self.bot.failed_cogs), inline=False)
        await interaction.response.send_message(embed=embed, ephemeral=True)


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 1440} d {minutes // 60 % 24} h {minutes % 60} min"


async def setup(bot: HandshakeBot) -> None:
    """Load the cog."""
    await bot.add_cog(Health(bot))
