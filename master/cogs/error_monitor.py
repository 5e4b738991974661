"""LOG_CHANNEL: posts alerts as they come, and together those that had to wait for Discord."""

from __future__ import annotations

import asyncio
import logging
import re

from discord.ext import commands

from master.bot.client import MasterBot
from master.cogs._repair_presses import PREFIX, on_press
from master.configuration.settings import ColourSettings, EmojiSettings
from master.events import AlertLevel, AlertRaised
from master.services.core.alert_outbox import Due, WaitingAlert
from master.services.core.discord_port import Button, Embed, EmbedField, Notice
from master.services.core.errors import DiscordNotFound, DiscordPortError, DiscordUnavailable
from master.services.core.lasting import keep_running
from master.wording import as_code, as_markdown

log = logging.getLogger(__name__)

_LINE_CHARACTERS = 180
_GROUP_CHARACTERS = 3_900
"""An embed holds 4,096; what does not fit is counted."""
_WORST_FIRST = (AlertLevel.ERROR, AlertLevel.WARNING, AlertLevel.INFORMATION, AlertLevel.SUCCESS)


class ErrorMonitor(commands.Cog):
    """Posts alerts."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot
        self._outbox = bot.services.outbox
        self._posting: asyncio.Task[None] | None = None

    async def cog_load(self) -> None:
        """Start posting, and take presses on alerts, also on those of an earlier master."""
        self._bot.press_handlers[PREFIX] = on_press
        services = self._bot.services
        posting = keep_running("log channel", self._post_forever, services.bus, services.clock)
        self._posting = asyncio.create_task(posting, name="log channel")

    async def cog_unload(self) -> None:
        """Stop posting, and take no more presses."""
        self._bot.press_handlers.pop(PREFIX, None)
        if self._posting is not None:
            self._posting.cancel()
            await asyncio.gather(self._posting, return_exceptions=True)

    async def _post_forever(self) -> None:
        port = self._bot.services.discord
        while port is not None:
            due = await self._outbox.next()
            # Read each time: `fleet reload` may change the channel.
            channel_id = self._bot.services.settings.channels.log
            title = due.alerts[0].alert.title
            try:
                if channel_id:
                    await port.post(channel_id, self._notice(due))
            except DiscordUnavailable as error:
                log.warning("alerts wait for Discord", extra={"count": len(self._outbox), "why": str(error)})
                await self._outbox.wait_for_return()
                continue
            except DiscordNotFound as error:
                if self._bot.services.settings.selffix.mode != "off":
                    log.warning("alerts wait for LOG_CHANNEL to be made anew", extra={"count": len(self._outbox)})
                    await self._outbox.wait_for_return()
                    continue
                log.warning("an alert could not be posted", extra={"title": title, "why": str(error)})
            except DiscordPortError as error:
                log.warning("an alert could not be posted", extra={"title": title, "why": str(error)})
            except Exception:
                # One that cannot be rendered must not be tried again and again: the next ones wait behind it.
                log.exception("an alert could not be posted", extra={"title": title})
            self._outbox.posted(due)

    def _notice(self, due: Due) -> Notice:
        settings = self._bot.services.settings
        if due.grouped:
            return Notice(embeds=(group_embed(settings.colours, settings.emojis, due),))
        alert = due.alerts[0].alert
        buttons = tuple(
            Button(label=one.label[:80], custom_id=one.custom_id[:100], style=one.style) for one in alert.buttons[:5]
        )
        return Notice(embeds=(alert_embed(settings.colours, due.alerts[0]),), buttons=buttons)


def alert_embed(colours: ColourSettings, waiting: WaitingAlert) -> Embed:
    """Render one alert."""
    alert, more = waiting.alert, waiting.held_back + waiting.count - 1
    return Embed(
        title=as_markdown(alert.title)[:256],
        description=_description(alert),
        colour=_colour(colours, alert.level),
        at=alert.at,
        fields=tuple(EmbedField(name[:256], value[:1024] or "-") for name, value in alert.fields[:10]),
        footer=f"and {more} more like it since the last one" if more else "",
    )


_MOMENT = re.compile(r"(<t:\d{1,12}:[tTdDfFR]>)")
"""A moment in Discord's own format, which stays one."""


def _words(text: str) -> str:
    parts = _MOMENT.split(text)
    return "".join(part if at % 2 else as_markdown(part) for at, part in enumerate(parts))


def _description(alert: AlertRaised) -> str:
    text = "\n".join(map(_words, alert.text.split("\n")))[:2500]
    return f"{text}\n```py\n{as_code(alert.quote)[:1400]}\n```" if alert.quote else text


def group_embed(colours: ColourSettings, emojis: EmojiSettings, due: Due) -> Embed:
    """Render alerts that waited for Discord, a line each: those about security first, then by time."""
    ordered = sorted(due.alerts, key=lambda one: (not one.alert.is_security, one.alert.at))
    lines, room = list[str](), _GROUP_CHARACTERS
    for one in ordered:
        line = _line(emojis, one)
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    left = len(ordered) - len(lines) + due.dropped
    levels = {one.alert.level for one in ordered}
    worst = next(level for level in _WORST_FIRST if level in levels)
    return Embed(
        title=f"{len(ordered) + due.dropped} alerts from the time without Discord",
        description="\n".join(lines),
        colour=_colour(colours, worst),
        at=max(one.alert.at for one in ordered),
        footer=f"and {left} more: `fleet events` and the master's log have all" if left else "",
    )


def _line(emojis: EmojiSettings, waiting: WaitingAlert) -> str:
    alert, times = waiting.alert, waiting.count + waiting.held_back
    mark = emojis.success if alert.level is AlertLevel.SUCCESS else emojis.error
    mark = emojis.starting if alert.level in (AlertLevel.WARNING, AlertLevel.INFORMATION) else mark
    text = " ".join(alert.text.split())[:_LINE_CHARACTERS]
    told = "" if not text else f": {_words(text)}"
    repeated = f" (x{times})" if times > 1 else ""
    return f"{mark} <t:{int(alert.at.timestamp())}:T> **{as_markdown(alert.title[:120])}**{repeated}{told}"


def _colour(colours: ColourSettings, level: AlertLevel) -> int:
    return {
        AlertLevel.ERROR: colours.error,
        AlertLevel.WARNING: colours.warning,
        AlertLevel.SUCCESS: colours.success,
        AlertLevel.INFORMATION: colours.information,
    }[level]


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(ErrorMonitor(bot))
