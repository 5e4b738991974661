"""Shared views of the cogs: views that authorise their users and always answer, a confirmation, pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import discord

from master.bot.answering import actor_of, answer, answer_error, take
from master.bot.client import MasterBot
from master.bot.embeds import DESCRIPTION_CHARACTERS, error_embed, fitted, shortened
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
        take(interaction)
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
        """Answer with the error."""
        await answer_error(interaction, error, f"the press on {getattr(item, 'label', None) or 'a menu'!r}")


class OperationModal(discord.ui.Modal):
    """A modal that shows errors as embeds."""

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Take the form; what it asks for authorises its user."""
        take(interaction)
        return True

    # discord.py's own Modal narrows its base class's signature the same way.
    async def on_error(  # type: ignore[override]
        self, interaction: discord.Interaction[Any], error: Exception, /
    ) -> None:
        """Answer with the error: a deferred form would otherwise go on thinking."""
        await answer_error(interaction, error, f"the form {self.title!r}")


class Confirm(OperationView):
    """Ask for confirmation; calls ``act`` on yes, once. Whoever presses later is told that it was answered.

    Parameters
    ----------
    act
        Carries out what was asked about at the time of the question.
    """

    def __init__(
        self,
        operation: AnyOperation,
        label: str,
        act: Callable[[discord.Interaction[MasterBot]], Awaitable[None]],
    ) -> None:
        super().__init__(operation, timeout_s=60.0)
        self._act = act
        self._is_answered = False
        self.yes.label = label

    @discord.ui.button(label="Yes", style=discord.ButtonStyle.danger)
    async def yes(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Run the action, once."""
        self._take_answer()
        await self._act(interaction)

    @discord.ui.button(label="Cancel", style=discord.ButtonStyle.secondary)
    async def cancel(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Cancel without any change."""
        self._take_answer()
        embed = discord.Embed(title="Nothing was done", colour=interaction.client.services.settings.colours.information)
        await interaction.response.edit_message(embed=embed, view=None)

    def _take_answer(self) -> None:
        """Take the first answer, and no other: a press that came before ``stop`` is still carried out after it."""
        if self._is_answered:
            raise FleetError("this was answered already", hint="Nothing was done now.")
        self._is_answered = True
        self.stop()


class Pages(OperationView):
    """Embeds of which one is shown; two buttons turn them.

    Parameters
    ----------
    pages
        At least one.
    """

    def __init__(self, operation: AnyOperation, pages: Sequence[discord.Embed]) -> None:
        super().__init__(operation)
        self._pages = pages
        self._at = 0
        self._show_position()

    async def send(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Answer with the first page; a single one has no buttons."""
        if len(self._pages) > 1:
            await answer(interaction, self._pages[0], self)
        else:
            await answer(interaction, self._pages[0])

    def _show_position(self) -> None:
        self.back.disabled = self._at == 0
        self.onward.disabled = self._at == len(self._pages) - 1
        self.position.label = f"{self._at + 1} of {len(self._pages)}"

    async def _turn(self, interaction: discord.Interaction[MasterBot], by: int) -> None:
        self._at = min(max(self._at + by, 0), len(self._pages) - 1)
        self._show_position()
        await interaction.response.edit_message(embed=fitted(self._pages[self._at]), view=self)

    @discord.ui.button(label="Back")
    async def back(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Show the page before."""
        await self._turn(interaction, -1)

    @discord.ui.button(disabled=True)
    async def position(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Say which page is shown; cannot be pressed."""

    @discord.ui.button(label="Next")
    async def onward(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Show the page after."""
        await self._turn(interaction, 1)


def lines_in_pages(lines: Sequence[str], *, on_page: int) -> list[list[str]]:
    """Split lines into pages of at most ``on_page`` lines that fit into an embed's description."""
    pages: list[list[str]] = [[]]
    room = DESCRIPTION_CHARACTERS
    for line in lines:
        cut = shortened(line, DESCRIPTION_CHARACTERS)
        if pages[-1] and (len(pages[-1]) == on_page or room < len(cut)):
            pages.append([])
            room = DESCRIPTION_CHARACTERS
        pages[-1].append(cut)
        # With the line feed before the next.
        room -= len(cut) + 1
    return pages


async def node_choices(
    interaction: discord.Interaction[MasterBot], current: str
) -> list[discord.app_commands.Choice[str]]:
    """Suggest nodes by name."""
    found = interaction.client.services.overview.matching(current)
    return [discord.app_commands.Choice(name=f"{node.name} ({node.state})"[:100], value=node.name) for node in found]
