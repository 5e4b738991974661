"""LOG_CHANNEL: posts alerts, rate-limited."""

from __future__ import annotations

import asyncio
import logging

from discord.ext import commands

from master.bot.client import MasterBot
from master.events import AlertLevel, AlertRaised
from master.services.core.alerts import Admitted, AlertLimiter
from master.services.core.discord_port import Embed, EmbedField, Notice
from master.services.core.errors import DiscordPortError
from master.wording import as_code, as_markdown

log = logging.getLogger(__name__)


class ErrorMonitor(commands.Cog):
    """Posts alerts."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot
        self._posting: asyncio.Task[None] | None = None

    async def cog_load(self) -> None:
        """Start posting."""
        self._posting = asyncio.create_task(self._post_forever(), name="log channel")

    async def cog_unload(self) -> None:
        """Stop posting."""
        if self._posting is not None:
            self._posting.cancel()
            await asyncio.gather(self._posting, return_exceptions=True)

    async def _post_forever(self) -> None:
        limiter = AlertLimiter(self._bot.services.clock)
        with self._bot.services.bus.subscribe(AlertRaised, capacity=200) as alerts:
            async for alert in alerts:
                # Read each time: `fleet reload` may change the channel.
                channel_id = self._bot.services.settings.channels.log
                admitted = limiter.admit(alert) if channel_id else None
                if admitted is not None:
                    await self._post(admitted)

    async def _post(self, admitted: Admitted) -> None:
        """Post one alert; a failure is logged, and must not stop later alerts."""
        port, title = self._bot.services.discord, admitted.alert.title
        if port is None:
            return
        try:
            await port.post(self._bot.services.settings.channels.log, Notice(embeds=(self._embed(admitted),)))
        except DiscordPortError as error:
            log.warning("an alert could not be posted", extra={"title": title, "why": str(error)})
        except Exception:
            log.exception("an alert could not be posted", extra={"title": title})

    def _embed(self, admitted: Admitted) -> Embed:
        alert, colours = admitted.alert, self._bot.services.settings.colours
        colour = {
            AlertLevel.ERROR: colours.error,
            AlertLevel.WARNING: colours.warning,
            AlertLevel.SUCCESS: colours.success,
            AlertLevel.INFORMATION: colours.information,
        }[alert.level]
        held_back = admitted.held_back
        return Embed(
            title=as_markdown(alert.title)[:256],
            description=_description(alert),
            colour=colour,
            at=alert.at,
            fields=tuple(EmbedField(name[:256], value[:1024] or "-") for name, value in alert.fields[:10]),
            footer=f"and {held_back} more like it since the last one" if held_back else "",
        )


def _description(alert: AlertRaised) -> str:
    text = "\n".join(map(as_markdown, alert.text.split("\n")))[:2500]
    return f"{text}\n```py\n{as_code(alert.quote)[:1400]}\n```" if alert.quote else text


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(ErrorMonitor(bot))
