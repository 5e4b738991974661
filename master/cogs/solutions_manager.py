"""/solutions: what the fleet does about errors by itself; testing, switching and changing it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, ask, defer
from master.bot.client import MasterBot
from master.bot.embeds import error_embed, success_embed
from master.bot.operation_commands import AnyOperation, carries_out
from master.cogs._solution_embeds import (
    details_embed,
    draft_embed,
    history_lines,
    list_lines,
    saved_words,
    tested_embed,
)
from master.cogs._views import Confirm, OperationModal, OperationView, Pages, lines_in_pages
from master.configuration.settings import Settings
from master.errors import FleetError
from master.operations import solutions
from master.operations.parameters import (
    NoParams,
    SolutionChangeParams,
    SolutionDraftParams,
    SolutionEnableParams,
    SolutionParams,
    SolutionSaveParams,
    SolutionTestParams,
    SolutionVersionParams,
)
from master.services.core.solution_views import SolutionSaved
from master.services.repair.errors import SolutionRefused
from master.wording import as_markdown

FORM_CHARACTERS = 4_000
"""What Discord's text field holds."""
_INSTEAD_OF_FORM = "on the box: fleet solutions edit ID"
_ON_PAGE = 8

Reason = app_commands.Range[str, 0, 300]


class TextForm(OperationModal, title="A solution"):
    """Form for a solution's text; what is refused is not lost."""

    text: discord.ui.TextInput[Any] = discord.ui.TextInput(
        label="TOML", style=discord.TextStyle.paragraph, max_length=FORM_CHARACTERS
    )
    why: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Why", required=False, max_length=300)

    def __init__(self, text: str, why: str = "") -> None:
        super().__init__()
        self.text.default, self.why.default = text, why

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """Save the text; one that is refused can be edited again."""
        await defer(interaction)
        operations = interaction.client.operations
        params = SolutionSaveParams(text=self.text.value, why=self.why.value)
        try:
            done = await operations.run(solutions.save, actor_of(interaction), params)
        except SolutionRefused as error:
            embed = error_embed(operations.services.settings, error)
            await answer(interaction, embed, FormButton("Edit again", self.text.value, self.why.value))
            return
        await _answer_saved(interaction, done)


class FormButton(OperationView):
    """A button that shows the form with a text in it."""

    def __init__(self, label: str, text: str, why: str = "") -> None:
        super().__init__(solutions.save)
        self._text, self._why = text, why
        self.open.label = label

    @discord.ui.button(label="Edit", style=discord.ButtonStyle.primary)
    async def open(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Show the form."""
        await ask(interaction, TextForm(self._text, self._why), _INSTEAD_OF_FORM)


async def _answer_saved(interaction: discord.Interaction[Any], done: SolutionSaved) -> None:
    settings = interaction.client.services.settings
    await answer(interaction, success_embed(settings, *saved_words(settings, done)))


def _question(
    settings: Settings, title: str, text: str, operation: AnyOperation, label: str, params: Any
) -> tuple[discord.Embed, discord.ui.View]:
    """Return a question, and the buttons that answer it."""

    async def act(pressed: discord.Interaction[MasterBot]) -> None:
        await pressed.response.defer()
        done = await pressed.client.operations.run(operation, actor_of(pressed), params)
        embed = success_embed(settings, *saved_words(settings, done))
        await pressed.edit_original_response(embed=embed, view=None)

    question = discord.Embed(title=title[:256], description=text, colour=settings.colours.warning)
    return question, Confirm(operation, label, act)


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class SolutionCommands(
    commands.GroupCog, group_name="solutions", group_description="What is done about errors by itself"
):
    """Shows, tests, switches and changes solutions."""

    @carries_out(solutions.listing)
    @app_commands.command(name="list", description="All solutions, and whether they help; those in trouble first")
    async def show_all(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show all solutions."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(solutions.listing, actor_of(interaction), NoParams())
        settings = operations.services.settings
        title = "Solutions" if found.enabled else "Solutions (HEALING is off: none acts)"
        colour = settings.colours.information
        pages = [
            discord.Embed(title=title, description="\n".join(page), colour=colour)
            for page in lines_in_pages(list_lines(settings, found), on_page=_ON_PAGE)
        ]
        await Pages(solutions.listing, pages).send(interaction)

    @carries_out(solutions.show)
    @app_commands.command(description="One solution: mode and why, what it did, its text")
    @app_commands.describe(solution="The solution")
    async def show(self, interaction: discord.Interaction[MasterBot], solution: str) -> None:
        """Show a solution."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(solutions.show, actor_of(interaction), SolutionParams(id=solution))
        await answer(interaction, details_embed(operations.services.settings, found))

    @carries_out(solutions.history)
    @app_commands.command(description="The versions of a solution, and each time that it knew an error")
    @app_commands.describe(solution="The solution")
    async def history(self, interaction: discord.Interaction[MasterBot], solution: str) -> None:
        """Show what became of a solution."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(solutions.history, actor_of(interaction), SolutionParams(id=solution))
        colour = operations.services.settings.colours.information
        pages = [
            discord.Embed(title=as_markdown(found.id), description="\n".join(page), colour=colour)
            for page in lines_in_pages(history_lines(found), on_page=_ON_PAGE)
        ]
        await Pages(solutions.history, pages).send(interaction)

    @carries_out(solutions.test)
    @app_commands.command(description="Test a solution on all stored logs and errors; nothing is done")
    @app_commands.describe(solution="The solution")
    async def test(self, interaction: discord.Interaction[MasterBot], solution: str) -> None:
        """Test a solution."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(solutions.test, actor_of(interaction), SolutionTestParams(id=solution))
        await answer(interaction, tested_embed(operations.services.settings, found))

    @carries_out(solutions.enable)
    @app_commands.command(description="Switch a solution on")
    @app_commands.describe(solution="The solution", now="It acts at once, and does not only detect at first")
    async def enable(
        self, interaction: discord.Interaction[MasterBot], solution: str, now: bool = False, why: Reason = ""
    ) -> None:
        """Switch a solution on."""
        await defer(interaction)
        params = SolutionEnableParams(id=solution, now=now, why=why)
        operations = interaction.client.operations
        await _answer_saved(interaction, await operations.run(solutions.enable, actor_of(interaction), params))

    @carries_out(solutions.disable)
    @app_commands.command(description="Switch a solution off, until it is enabled")
    @app_commands.describe(solution="The solution", why="For its history and the audit log")
    async def disable(self, interaction: discord.Interaction[MasterBot], solution: str, why: Reason = "") -> None:
        """Switch a solution off."""
        await defer(interaction)
        params = SolutionChangeParams(id=solution, why=why)
        operations = interaction.client.operations
        await _answer_saved(interaction, await operations.run(solutions.disable, actor_of(interaction), params))

    @carries_out(solutions.draft)
    @app_commands.command(description="Propose a solution for an error that none knows")
    @app_commands.describe(fingerprint="Of the error, or its beginning")
    async def draft(
        self, interaction: discord.Interaction[MasterBot], fingerprint: app_commands.Range[str, 4, 16]
    ) -> None:
        """Show a draft, and a button to finish it."""
        await defer(interaction)
        operations = interaction.client.operations
        params = SolutionDraftParams(fingerprint=fingerprint.strip())
        found = await operations.run(solutions.draft, actor_of(interaction), params)
        embed = draft_embed(operations.services.settings, found)
        if len(found.content) > FORM_CHARACTERS:
            await answer(interaction, embed)
        else:
            button = FormButton("Finish it", found.content, f"from error {found.fingerprint}")
            await answer(interaction, embed, button)

    @carries_out(solutions.save)
    @app_commands.command(description="Change a solution's text in a form")
    @app_commands.describe(solution="The solution")
    async def edit(self, interaction: discord.Interaction[MasterBot], solution: str) -> None:
        """Show the form; a form must be the first answer, so nothing is waited for."""
        text = interaction.client.services.solutions.text_of(solution)
        if len(text) > FORM_CHARACTERS:
            raise FleetError(
                f"the text of {solution} has {len(text)} characters, and a form holds {FORM_CHARACTERS}",
                hint=f"on the box: `fleet solutions edit {solution}`",
            )
        await ask(interaction, TextForm(text), _INSTEAD_OF_FORM)

    @carries_out(solutions.take_back)
    @app_commands.command(name="take-back", description="Make an earlier text of a solution the newest version")
    @app_commands.describe(solution="The solution", version="Its number in /solutions history")
    async def take_back(
        self, interaction: discord.Interaction[MasterBot], solution: str, version: app_commands.Range[int, 1]
    ) -> None:
        """Ask, then make the earlier text the newest."""
        settings = interaction.client.services.settings
        title = f"Make version {version} of {as_markdown(solution)} the newest?"
        params = SolutionVersionParams(id=solution, version=version)
        text = "The text that it has now stays in its history."
        await answer(interaction, *_question(settings, title, text, solutions.take_back, "Take back", params))

    @carries_out(solutions.remove)
    @app_commands.command(description="Remove a solution of your own; its history stays")
    @app_commands.describe(solution="The solution")
    async def remove(self, interaction: discord.Interaction[MasterBot], solution: str) -> None:
        """Ask, then remove the solution."""
        settings = interaction.client.services.settings
        interaction.client.services.solutions.text_of(solution)
        title = f"Remove {as_markdown(solution)}?"
        params = SolutionChangeParams(id=solution)
        text = "It acts no more. Its history stays, and it can be taken back."
        await answer(interaction, *_question(settings, title, text, solutions.remove, "Remove", params))

    @show.autocomplete("solution")
    @history.autocomplete("solution")
    @test.autocomplete("solution")
    @enable.autocomplete("solution")
    @disable.autocomplete("solution")
    @edit.autocomplete("solution")
    @take_back.autocomplete("solution")
    @remove.autocomplete("solution")
    async def _ids(self, interaction: discord.Interaction[MasterBot], current: str) -> list[app_commands.Choice[str]]:
        found = islice(interaction.client.services.solutions.matching(current), 25)
        return [
            app_commands.Choice(name=f"{view.id} ({view.mode}): {view.title}"[:100], value=view.id) for view in found
        ]


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(SolutionCommands())
