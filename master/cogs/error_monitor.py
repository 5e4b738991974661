"""LOG_CHANNEL: shows alerts, the same trouble once in a while."""

from __future__ import annotations

import asyncio
import logging

import discord
from discord.ext import commands

from master.bot.client import MasterBot
from master.services.core.alerts import Admitted, AlertLevel, AlertLimiter

log = logging.getLogger(__name__)


class ErrorMonitor(commands.Cog):
    """Posts alerts."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot
        self._posting: asyncio.Task[None] | None = None

    async def cog_load(self) -> None:
        """Begin to post."""
        self._posting = asyncio.create_task(self._post_forever(), name="log channel")

    async def cog_unload(self) -> None:
        """Stop posting."""
        if self._posting is not None:
            self._posting.cancel()
            await asyncio.gather(self._posting, return_exceptions=True)

    async def _post_forever(self) -> None:
        limiter = AlertLimiter(self._bot.services.clock)
        with self._bot.services.announcer.alerts.subscribe() as alerts:
            await self._bot.wait_until_ready()
            async for alert in alerts:
                # Looked at each time: `fleet reload` may name another one, or the first.
                channel_id = self._bot.services.settings.channels.log
                admitted = limiter.admit(alert) if channel_id else None
                if admitted is None:
                    continue
                try:
                    channel = self._bot.get_partial_messageable(channel_id)
                    await channel.send(embed=self._embed(admitted))
                except (discord.DiscordException, OSError) as error:
                    log.warning("an alert could not be posted", extra={"title": alert.title, "why": str(error)})

    def _embed(self, admitted: Admitted) -> discord.Embed:
        alert, colours = admitted.alert, self._bot.services.settings.colours
        colour = {
            AlertLevel.ERROR: colours.error,
            AlertLevel.WARNING: colours.warning,
            AlertLevel.SUCCESS: colours.success,
            AlertLevel.INFORMATION: colours.information,
        }[alert.level]
        embed = discord.Embed(
            title=alert.title[:256], description=alert.text[:4000] or None, colour=colour, timestamp=alert.at
        )
        for name, value in alert.fields[:10]:
            embed.add_field(name=name[:256], value=value[:1024] or "-")
        if admitted.held_back:
            embed.set_footer(text=f"and {admitted.held_back} more like it since the last one")
        return embed


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(ErrorMonitor(bot))
