"""What several cogs show: a view that only operators can use, and a question before anything destructive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import discord

from master.bot.answering import actor_of, answer
from master.bot.client import MasterBot
from master.bot.embeds import error_embed
from master.errors import FleetError
from master.services.core.errors import NotAuthorised

VIEW_TIMEOUT_S = 600.0


class OperatorView(discord.ui.View):
    """A view whose buttons work for operators, and whose errors are shown as embeds."""

    def __init__(self, *, timeout_s: float = VIEW_TIMEOUT_S) -> None:
        super().__init__(timeout=timeout_s)

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Let operators pass; others are told, and that is audited."""
        services = interaction.client.services
        actor = actor_of(interaction)
        if services.operators.includes(actor):
            return True
        try:
            async with services.auditor.action(actor, "button"):
                raise RuntimeError("an operator was refused")
        except NotAuthorised as error:
            await answer(interaction, error_embed(services.settings, error))
        return False

    async def on_error(
        self, interaction: discord.Interaction[Any], error: Exception, item: discord.ui.Item[Any], /
    ) -> None:
        """Show a known error; log any other."""
        if isinstance(error, FleetError):
            await answer(interaction, error_embed(interaction.client.services.settings, error))
        else:
            await super().on_error(interaction, error, item)


class OperatorModal(discord.ui.Modal):
    """A modal whose errors are shown as embeds."""

    # discord.py's own Modal narrows its base class's signature the same way.
    async def on_error(  # type: ignore[override]
        self, interaction: discord.Interaction[Any], error: Exception, /
    ) -> None:
        """Show a known error; log any other."""
        if isinstance(error, FleetError):
            await answer(interaction, error_embed(interaction.client.services.settings, error))
        else:
            await super().on_error(interaction, error)


class Confirm(OperatorView):
    """Ask before something destructive; ``act`` is called on yes."""

    def __init__(self, label: str, act: Callable[[discord.Interaction[MasterBot]], Awaitable[None]]) -> None:
        super().__init__(timeout_s=60.0)
        self._act = act
        self.yes.label = label

    @discord.ui.button(label="Yes", style=discord.ButtonStyle.danger)
    async def yes(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Do it, once."""
        self.stop()
        await self._act(interaction)

    @discord.ui.button(label="Cancel", style=discord.ButtonStyle.secondary)
    async def cancel(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Leave everything as it is."""
        self.stop()
        embed = discord.Embed(title="Nothing was done", colour=interaction.client.services.settings.colours.information)
        await interaction.response.edit_message(embed=embed, view=None)


async def node_choices(
    interaction: discord.Interaction[MasterBot], current: str
) -> list[discord.app_commands.Choice[str]]:
    """Suggest nodes by name."""
    found = interaction.client.services.fleet.matching(current)
    return [discord.app_commands.Choice(name=f"{node.name} ({node.state})"[:100], value=node.name) for node in found]
