"""/announce: one message to several places; a form, what each place would get, and what became of it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, ask, defer
from master.bot.client import MasterBot
from master.bot.embeds import shortened
from master.bot.operation_commands import carries_out
from master.cogs._durations import seconds_of
from master.cogs._views import Confirm, OperationModal
from master.operations import announcements
from master.operations.announcement_parameters import AnnounceParams
from master.services.core.announcement_views import AnnouncementPreview, AnnouncementRow
from master.wording import as_code, as_markdown

_INSTEAD = "on the box: fleet announce TEXT --to PLACES"
_EVERYWHERE = "all"
_SHOWN_CHARACTERS = 600
_WORDS = {"given_up": "given up", "asked": "it is not known whether it arrived"}


class AnnouncementForm(OperationModal, title="Announce"):
    """Form for what is announced, and when."""

    headline: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Title", required=False, max_length=200)
    text: discord.ui.TextInput[Any] = discord.ui.TextInput(
        label="Text", style=discord.TextStyle.paragraph, max_length=4000
    )
    later: discord.ui.TextInput[Any] = discord.ui.TextInput(
        label="In how long", placeholder="2h, 1d12h; empty: now", required=False, max_length=20
    )
    every: discord.ui.TextInput[Any] = discord.ui.TextInput(
        label="Again and again", placeholder="0 18 * * 5 (cron); empty: once", required=False, max_length=100
    )

    def __init__(self, places: tuple[str, ...], *, everywhere: bool) -> None:
        super().__init__()
        self._places, self._everywhere = places, everywhere

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """Show what each place would get."""
        await defer(interaction)
        later = self.later.value.strip()
        wanted = AnnounceParams(
            text=self.text.value,
            title=self.headline.value,
            places=self._places,
            all=self._everywhere,
            at=time.time() + seconds_of(later) if later else 0.0,
            every=self.every.value.strip(),
        )
        operations = interaction.client.operations
        shown = await operations.run(announcements.preview, actor_of(interaction), wanted)
        label = "Schedule" if shown.times else "Send"
        view = Confirm(announcements.announce, label, partial(_send, wanted))
        await answer(interaction, _preview_embed(interaction, shown), view)


def _preview_embed(interaction: discord.Interaction[MasterBot], shown: AnnouncementPreview) -> discord.Embed:
    embed = discord.Embed(
        title="Send this?",
        description="\n".join(f"<t:{at:.0f}:F>" for at in shown.times),
        colour=interaction.client.services.settings.colours.information,
    )
    for one in shown.places[:25]:
        name = f"{as_markdown(one.place)} {as_markdown(one.service)}".strip()
        if one.problem:
            embed.add_field(name=name, value=f"cannot be sent there: {as_markdown(one.problem)}"[:1000], inline=False)
            continue
        cut = f", {one.cut:,} characters are cut off" if one.cut else ""
        text = "\n".join(part for part in (one.title, one.text) if part)
        plain = text.replace("\u200b", "")
        quoted = f"```\n{as_code(shortened(plain, _SHOWN_CHARACTERS))}\n```"
        embed.add_field(name=f"{name}{cut}", value=quoted, inline=False)
    return embed


async def _send(wanted: AnnounceParams, interaction: discord.Interaction[MasterBot]) -> None:
    """Send what was shown, and say what became of it."""
    await defer(interaction)
    done = await interaction.client.operations.run(announcements.announce, actor_of(interaction), wanted)
    await answer(interaction, _result_embed(interaction, done))


def _result_embed(interaction: discord.Interaction[MasterBot], done: AnnouncementRow) -> discord.Embed:
    colours = interaction.client.services.settings.colours
    if done.state == "scheduled":
        lines = [f"<t:{done.due_at:.0f}:F> <t:{done.due_at:.0f}:R>", as_markdown(done.schedule)]
        title, colour = "Scheduled", colours.success
    else:
        lines = [_place_line(row.place, row.state, row.url, row.detail, row.next_at) for row in done.places]
        sent = sum(row.state == "sent" for row in done.places)
        title = "Sent" if done.state == "sent" else f"Sent to {sent} of {len(done.places)} places"
        colour = colours.success if done.state == "sent" else colours.warning
    embed = discord.Embed(title=title, description="\n".join(line for line in lines if line), colour=colour)
    return embed.set_footer(text=done.id)


def _place_line(place: str, state: str, url: str, detail: str, next_at: float | None) -> str:
    words = f"**{as_markdown(place)}** {_WORDS.get(state, state)}"
    if state == "sent":
        return f"{words} {url}".rstrip()
    again = f"; again <t:{next_at:.0f}:R>" if state == "waiting" and next_at is not None else ""
    return f"{words}: {as_markdown(detail)}{again}"


class Announce(commands.Cog):
    """The command /announce."""

    @carries_out(announcements.announce)
    @app_commands.command(description="One message to several places; you see first what each would get")
    @app_commands.describe(places="Places of ANNOUNCE with commas between, or all")
    async def announce(
        self, interaction: discord.Interaction[MasterBot], places: app_commands.Range[str, 1, 400]
    ) -> None:
        """Ask for the text."""
        names = tuple(dict.fromkeys(name.strip()[:40] for name in places.split(",") if name.strip()))
        everywhere = names == (_EVERYWHERE,)
        await ask(interaction, AnnouncementForm(() if everywhere else names, everywhere=everywhere), _INSTEAD)

    @announce.autocomplete("places")
    async def _places(
        self, interaction: discord.Interaction[MasterBot], current: str
    ) -> list[app_commands.Choice[str]]:
        before, comma, typed = current.rpartition(",")
        chosen = {name.strip() for name in before.split(",")}
        known = [name for name in interaction.client.services.settings.announce if name not in chosen]
        if not comma:
            known = [_EVERYWHERE, *known]
        fitting = [name for name in known if typed.strip().casefold() in name.casefold()]
        values = [f"{before}{comma}{name}" for name in fitting]
        return [app_commands.Choice(name=value[:100], value=value) for value in values if len(value) <= 100][:25]


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(Announce())
