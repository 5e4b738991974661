"""/registerbot, /forcekill and /patch."""

from __future__ import annotations

from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from handshake.manifest import DEFAULT_TOKEN_VARIABLE
from master.bot.answering import actor_of, answer, ask, defer
from master.bot.client import MasterBot
from master.bot.embeds import registered_embed, success_embed
from master.bot.operation_commands import carries_out
from master.cogs._patch_commands import PatchCommands
from master.cogs._views import Confirm, OperationModal, node_choices
from master.errors import FleetError
from master.operations import nodes, onboarding
from master.operations.parameters import NamesParams, RegisterParams
from master.security.tokens import MAX_TOKEN_CHARACTERS

_INSTEAD = "on the box: fleet register NAME (the token is asked for there)"


class RegisterForm(OperationModal, title="Register a bot"):
    """Form for name, token and tags of a bot; a token in a form does not appear in the chat."""

    name: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Name", placeholder="atlas", max_length=40)
    token: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Bot token", max_length=MAX_TOKEN_CHARACTERS)
    tags: discord.ui.TextInput[Any] = discord.ui.TextInput(
        label="Tags", placeholder="music, beta", required=False, max_length=100
    )

    def __init__(
        self, folder: str, entry: str, readiness: Literal["auto", "handshake", "process"], *, link: bool, token_env: str
    ) -> None:
        super().__init__()
        self._folder, self._entry, self._readiness = folder, entry, readiness
        self._link, self._token_env = link, token_env

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """Register the bot."""
        await defer(interaction)
        wanted = RegisterParams(
            name=self.name.value.strip(),
            token=self.token.value.strip(),
            tags=split_tags(self.tags.value),
            folder=self._folder,
            entry=self._entry,
            readiness=self._readiness,
            link=self._link,
            token_env=self._token_env,
        )
        registered = await interaction.client.operations.run(onboarding.register, actor_of(interaction), wanted)
        await answer(interaction, registered_embed(interaction.client.services.settings, registered))


def split_tags(text: str) -> tuple[str, ...]:
    """Split tags at commas and spaces."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


class Commands(commands.Cog):
    """The commands /registerbot and /forcekill."""

    @carries_out(onboarding.register)
    @app_commands.command(description="Register a bot: an existing folder, or a token alone")
    @app_commands.describe(
        folder="A folder below BOTS_BASE_PATH; empty: a new one is made from the template",
        entry="The file that starts the bot",
        readiness="Does the bot speak the handshake? auto looks at its files",
        link="Join an existing discord.py bot without a change to its code",
        token_env="The environment variable in which a linked bot reads its token",  # noqa: S106 - the name of a variable
    )
    async def registerbot(
        self,
        interaction: discord.Interaction[MasterBot],
        folder: app_commands.Range[str, 0, 100] = "",
        entry: app_commands.Range[str, 1, 100] = "bot.py",
        readiness: Literal["auto", "handshake", "process"] = "auto",
        link: bool = False,
        token_env: app_commands.Range[str, 1, 60] = DEFAULT_TOKEN_VARIABLE,
    ) -> None:
        """Ask for name and token, then register."""
        await ask(interaction, RegisterForm(folder, entry, readiness, link=link, token_env=token_env), _INSTEAD)

    @registerbot.autocomplete("folder")
    async def _folders(
        self, interaction: discord.Interaction[MasterBot], current: str
    ) -> list[app_commands.Choice[str]]:
        found = interaction.client.services.onboarding.registrable_folders(current)
        return [app_commands.Choice(name=name[:100], value=name[:100]) for name in found[:25]]

    @carries_out(nodes.kill)
    @app_commands.command(description="Kill a node and everything it started, at once")
    @app_commands.describe(node="The node to kill; it stays stopped")
    async def forcekill(self, interaction: discord.Interaction[MasterBot], node: str) -> None:
        """Ask, then SIGKILL the node's process group."""
        services = interaction.client.services
        found = services.directory.find(node)

        async def act(pressed: discord.Interaction[MasterBot]) -> None:
            await pressed.response.defer()
            (killed,) = await pressed.client.operations.run(
                nodes.kill, actor_of(pressed), NamesParams(names=(found.name,))
            )
            if not killed.ok:
                raise FleetError(killed.detail, hint=killed.hint)
            done = success_embed(services.settings, f"{found.name} was killed", "It stays stopped until it is started.")
            await pressed.edit_original_response(embed=done, view=None)

        question = discord.Embed(
            title=f"Kill {found.name}?",
            description="SIGKILL to its whole process group: it cannot save anything, and stays stopped.",
            colour=services.settings.colours.warning,
        )
        await answer(interaction, question, Confirm(nodes.kill, f"Kill {found.name}"[:80], act))

    @forcekill.autocomplete("node")
    async def _nodes(self, interaction: discord.Interaction[MasterBot], current: str) -> list[app_commands.Choice[str]]:
        return await node_choices(interaction, current)


async def setup(bot: MasterBot) -> None:
    """Load the cogs."""
    await bot.add_cog(Commands())
    await bot.add_cog(PatchCommands())
