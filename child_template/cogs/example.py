"""An example to copy: a command with options, a check of its input, a cooldown, and an embed."""

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

    # Hybrid: as /roll, and as a message, "@bot roll 2 20". Who is too fast is told so by the bot.
    @commands.hybrid_command(description="Roll dice")
    @app_commands.describe(dice="How many dice", sides="How many sides each has")
    @commands.cooldown(5, 10, commands.BucketType.user)
    async def roll(
        self,
        context: commands.Context[HandshakeBot],
        dice: commands.Range[int, 1, 20] = 1,
        sides: commands.Range[int, 2, 100] = 6,
    ) -> None:
        """Roll some dice and show each."""
        rolls = [random.randint(1, sides) for _ in range(dice)]  # noqa: S311 - a game
        embed = discord.Embed(title=f"{dice}d{sides}: {sum(rolls)}", colour=config.COLOUR)
        if dice > 1:
            embed.description = " + ".join(map(str, rolls))
        await context.send(embed=embed)


async def setup(bot: HandshakeBot) -> None:
    """Load the cog."""
    await bot.add_cog(Example())
