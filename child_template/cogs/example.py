"""An example to copy: one slash command with an option, a check of its input, and an embed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import config
import discord
from discord import app_commands
from discord.ext import commands

if TYPE_CHECKING:
    from nodekit import HandshakeBot


class Example(commands.Cog):
    """Rolls dice."""

    @app_commands.command(description="Roll dice")
    @app_commands.describe(dice="How many dice", sides="How many sides each has")
    async def roll(
        self,
        interaction: discord.Interaction,
        dice: app_commands.Range[int, 1, 20] = 1,
        sides: app_commands.Range[int, 2, 100] = 6,
    ) -> None:
        """Roll some dice and show each."""
        rolls = [random.randint(1, sides) for _ in range(dice)]  # noqa: S311 - a game
        embed = discord.Embed(title=f"{dice}d{sides}: {sum(rolls)}", colour=config.COLOUR)
        if dice > 1:
            embed.description = " + ".join(map(str, rolls))
        await interaction.response.send_message(embed=embed)


async def setup(bot: HandshakeBot) -> None:
    """Load the cog."""
    await bot.add_cog(Example())
