"""/dupbot: a new node from the template, or from another node."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, ask, defer
from master.bot.client import MasterBot
from master.bot.embeds import registered_embed
from master.bot.operation_commands import carries_out
from master.cogs._views import OperationModal, node_choices
from master.cogs.commands import split_tags
from master.operations import onboarding
from master.operations.parameters import DuplicateParams
from master.security.tokens import MAX_TOKEN_CHARACTERS

_INSTEAD = "on the box: fleet dup NAME (the token is asked for there)"


class DuplicateForm(OperationModal, title="Duplicate a bot"):
    """Form for name, token and tags of the new node."""

    name: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Name", placeholder="atlas-2", max_length=40)
    token: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Bot token", max_length=MAX_TOKEN_CHARACTERS)
    tags: discord.ui.TextInput[Any] = discord.ui.TextInput(
        label="Tags", placeholder="music, beta", required=False, max_length=100
    )

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """Duplicate the node."""
        await defer(interaction)
        wanted = DuplicateParams(
            name=self.name.value.strip(),
            token=self.token.value.strip(),
            source=self._source,
            tags=split_tags(self.tags.value),
        )
        registered = await interaction.client.operations.run(onboarding.duplicate, actor_of(interaction), wanted)
        await answer(interaction, registered_embed(interaction.client.services.settings, registered))


class Duplicate(commands.Cog):
    """The command /dupbot."""

    @carries_out(onboarding.duplicate)
    @app_commands.command(description="Make a new node from the template, or from another node")
    @app_commands.describe(source="The node to copy; empty: the template")
    async def dupbot(self, interaction: discord.Interaction[MasterBot], source: str = "") -> None:
        """Ask for name and token, then duplicate."""
        if source:
            source = interaction.client.services.directory.find(source).name
        await ask(interaction, DuplicateForm(source), _INSTEAD)

    @dupbot.autocomplete("source")
    async def _sources(
        self, interaction: discord.Interaction[MasterBot], current: str
    ) -> list[app_commands.Choice[str]]:
        return await node_choices(interaction, current)


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(Duplicate())
