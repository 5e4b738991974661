"""Shared views of the cogs: views that authorise their users, and a confirmation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import discord

from master.bot.answering import actor_of, answer
from master.bot.client import MasterBot
from master.bot.embeds import error_embed
from master.bot.operation_commands import AnyOperation
from master.errors import FleetError

VIEW_TIMEOUT_S = 600.0


class OperationView(discord.ui.View):
    """A view for users who may run an operation; errors are shown as embeds.

    Parameters
    ----------
    operation
        The operation that users must be allowed to run; each button's own operation is authorised again.
    """

    def __init__(self, operation: AnyOperation, *, timeout_s: float = VIEW_TIMEOUT_S) -> None:
        super().__init__(timeout=timeout_s)
        self.operation = operation

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Authorise the user; a refusal is shown and audited."""
        operations = interaction.client.operations
        try:
            await operations.authorise(self.operation, actor_of(interaction))
        except FleetError as error:
            await answer(interaction, error_embed(operations.services.settings, error))
            return False
        return True

    async def on_error(
        self, interaction: discord.Interaction[Any], error: Exception, item: discord.ui.Item[Any], /
    ) -> None:
        """Show a known error; log any other."""
        if isinstance(error, FleetError):
            await answer(interaction, error_embed(interaction.client.services.settings, error))
        else:
            await super().on_error(interaction, error, item)


class OperationModal(discord.ui.Modal):
    """A modal that shows errors as embeds."""

    # discord.py's own Modal narrows its base class's signature the same way.
    async def on_error(  # type: ignore[override]
        self, interaction: discord.Interaction[Any], error: Exception, /
    ) -> None:
        """Show a known error; log any other."""
        if isinstance(error, FleetError):
            await answer(interaction, error_embed(interaction.client.services.settings, error))
        else:
            await super().on_error(interaction, error)


class Confirm(OperationView):
    """Ask for confirmation; calls ``act`` on yes."""

    def __init__(
        self,
        operation: AnyOperation,
        label: str,
        act: Callable[[discord.Interaction[MasterBot]], Awaitable[None]],
    ) -> None:
        super().__init__(operation, timeout_s=60.0)
        self._act = act
        self.yes.label = label

    @discord.ui.button(label="Yes", style=discord.ButtonStyle.danger)
    async def yes(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Run the action, once."""
        self.stop()
        await self._act(interaction)

    @discord.ui.button(label="Cancel", style=discord.ButtonStyle.secondary)
    async def cancel(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Cancel without any change."""
        self.stop()
        embed = discord.Embed(title="Nothing was done", colour=interaction.client.services.settings.colours.information)
        await interaction.response.edit_message(embed=embed, view=None)


async def node_choices(
    interaction: discord.Interaction[MasterBot], current: str
) -> list[discord.app_commands.Choice[str]]:
    """Suggest nodes by name."""
    found = interaction.client.services.overview.matching(current)
    return [discord.app_commands.Choice(name=f"{node.name} ({node.state})"[:100], value=node.name) for node in found]
