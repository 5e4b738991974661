"""/fleet cogs: the parts of the master that serve Discord."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.embeds import success_embed
from master.bot.operation_commands import AnyOperation, carries_out
from master.cogs._views import Pages, lines_in_pages
from master.configuration.settings import EmojiSettings
from master.operations import cogs
from master.operations.parameters import CogParams, NoParams
from master.services.core.cog_views import CogState, CogView
from master.wording import as_markdown

_ON_PAGE = 12
_MOST_CHOICES = 25
_NOTE_CHARACTERS = 200
CogName = app_commands.Range[str, 1, 40]
_DONE = {
    CogState.LOADED: "is loaded",
    CogState.LOADING: "is being loaded",
    CogState.FAILED: "is not loaded, and is tried again",
    CogState.DISABLED: "is disabled",
    CogState.WAITING: "is loaded once the master is logged in",
}


def cog_line(emojis: EmojiSettings, cog: CogView) -> str:
    """Render one cog."""
    marks = {
        CogState.LOADED: emojis.degraded if cog.failures else emojis.ready,
        CogState.FAILED: emojis.failed,
        CogState.DISABLED: emojis.stopped,
    }
    told = [f"{marks.get(cog.state, emojis.starting)} **{as_markdown(cog.name)}** {cog.state}"]
    if cog.commands:
        told.append(" ".join(f"/{as_markdown(name)}" for name in cog.commands))
    if cog.why:
        told.append(as_markdown(cog.why[:_NOTE_CHARACTERS]))
    if cog.next_try_in_s is not None:
        told.append(f"again in {cog.next_try_in_s:.0f} s")
    if cog.failures:
        told.append(f"{cog.failures} errors, the last: {as_markdown(cog.last_failure[:_NOTE_CHARACTERS])}")
    return " · ".join(told)


class CogCommands(app_commands.Group):
    """Shows the master's cogs, and switches them."""

    @carries_out(cogs.listing)
    @app_commands.command(name="list", description="The parts of the master, and which of them are in trouble")
    async def show_all(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show all cogs."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(cogs.listing, actor_of(interaction), NoParams())
        settings = operations.services.settings
        is_well = all(cog.state is not CogState.FAILED for cog in found)
        colour = settings.colours.information if is_well else settings.colours.error
        lines = [cog_line(settings.emojis, cog) for cog in found]
        pages = [
            discord.Embed(title="Cogs of the master", description="\n".join(page), colour=colour)
            for page in lines_in_pages(lines, on_page=_ON_PAGE)
        ]
        await Pages(cogs.listing, pages).send(interaction)

    @carries_out(cogs.reload)
    @app_commands.command(description="Load a cog's code anew; if the new one is broken, the old one runs on")
    @app_commands.describe(cog="The cog")
    async def reload(self, interaction: discord.Interaction[MasterBot], cog: CogName) -> None:
        """Load a cog anew."""
        await _act(interaction, cogs.reload, cog)

    @carries_out(cogs.disable)
    @app_commands.command(description="Switch a cog off, with its commands; it stays so over restarts")
    @app_commands.describe(cog="The cog")
    async def disable(self, interaction: discord.Interaction[MasterBot], cog: CogName) -> None:
        """Switch a cog off."""
        await _act(interaction, cogs.disable, cog)

    @carries_out(cogs.enable)
    @app_commands.command(description="Switch a cog on again")
    @app_commands.describe(cog="The cog")
    async def enable(self, interaction: discord.Interaction[MasterBot], cog: CogName) -> None:
        """Switch a cog on."""
        await _act(interaction, cogs.enable, cog)

    @reload.autocomplete("cog")
    @disable.autocomplete("cog")
    @enable.autocomplete("cog")
    async def _names(self, interaction: discord.Interaction[MasterBot], current: str) -> list[app_commands.Choice[str]]:
        found = [cog for cog in interaction.client.services.cogs.listing() if current.lower() in cog.name]
        return [app_commands.Choice(name=f"{cog.name} ({cog.state})", value=cog.name) for cog in found[:_MOST_CHOICES]]


async def _act(interaction: discord.Interaction[Any], operation: AnyOperation, name: str) -> None:
    await defer(interaction)
    operations = interaction.client.operations
    done: CogView = await operations.run(operation, actor_of(interaction), CogParams(name))
    title = f"The cog {as_markdown(done.name)} {_DONE[done.state]}"
    await answer(interaction, success_embed(operations.services.settings, title, ""))
