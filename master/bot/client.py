"""The master's own Discord bot, and its command tree."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, answer_error, is_taken
from master.bot.embeds import error_embed
from master.bot.operation_commands import operation_of
from master.bot.registration import CommandRegistration
from master.errors import FleetError
from master.events import GatewayConnected, GatewayLost
from master.operations.operation import Operations
from master.services.container import Services

log = logging.getLogger(__name__)

PressHandler = Callable[["discord.Interaction[MasterBot]"], Awaitable[None]]

EXTENSIONS = (
    "master.cogs.commands",
    "master.cogs.fleet",
    "master.cogs.announce",
    "master.cogs.bot_manager",
    "master.cogs.duplicate",
    "master.cogs.error_monitor",
    "master.cogs.giveaway",
    "master.cogs.licences",
    "master.cogs.listener",
    "master.cogs.patch_tracker",
    "master.cogs.solutions_manager",
    "master.cogs.t_perm",
)


MAX_RATE_LIMIT_S = 120.0


class MasterTree(app_commands.CommandTree["MasterBot"]):
    """A command tree that authorises callers for a command's operation, and shows errors."""

    async def interaction_check(self, interaction: discord.Interaction[MasterBot], /) -> bool:
        """Authorise the caller for the command's operation; a refusal is shown and audited."""
        operations, actor = interaction.client.operations, actor_of(interaction)
        if interaction.command is None:
            await _answer_unknown(interaction)
            return False
        operation = operation_of(interaction.command)
        if interaction.type is discord.InteractionType.autocomplete:
            if operations.services.permissions.allow(actor, operation.permission):
                return True
            await interaction.response.autocomplete([])
            return False
        try:
            await operations.authorise(operation, actor)
        except FleetError as error:
            await answer(interaction, error_embed(operations.services.settings, error))
            return False
        return True

    async def on_error(
        self, interaction: discord.Interaction[MasterBot], error: app_commands.AppCommandError, /
    ) -> None:
        """Answer with what is the matter; an unexpected error is logged with the id that the answer names."""
        name = getattr(interaction.command, "qualified_name", "?")
        await answer_error(interaction, error, f"the command /{name}")


async def _answer_unknown(interaction: discord.Interaction[MasterBot]) -> None:
    """Answer a command that Discord still shows, and this master does not have."""
    if interaction.type is discord.InteractionType.autocomplete:
        await interaction.response.autocomplete([])
        return
    gone = FleetError("this command is no longer there", hint="reload Discord: it shows commands from before a change")
    await answer(interaction, error_embed(interaction.client.services.settings, gone))


_FROM_MESSAGES = (discord.InteractionType.component, discord.InteractionType.modal_submit)


async def _answer_stale(interaction: discord.Interaction[MasterBot]) -> None:
    """Answer a press or a form whose view is gone: answered already, too old, or of an earlier master."""
    if interaction.type is discord.InteractionType.modal_submit:
        words, hint = "this form is from before the master restarted", "Nothing was done. Run the command again."
    else:
        words, hint = "this was answered already, or is too old", "Nothing was done now. Run the command again."
    await answer(interaction, error_embed(interaction.client.services.settings, FleetError(words, hint=hint)))


class MasterBot(commands.Bot):
    """The master's bot; holds the operations for its cogs."""

    def __init__(self, operations: Operations[Services]) -> None:
        services = operations.services
        intents = discord.Intents.none()
        intents.guilds = True
        intents.guild_messages = True
        intents.guild_reactions = True
        intents.message_content = services.settings.channels.verify != 0
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            tree_cls=MasterTree,
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            # The master handles messages when they arrive and needs no cache.
            max_messages=None,
            chunk_guilds_at_startup=False,
            guild_ready_timeout=0.1,
            # discord.py waits for as long as an answer asks for, and for ever when that is no number.
            max_ratelimit_timeout=MAX_RATE_LIMIT_S,
            member_cache_flags=discord.MemberCacheFlags.none(),
        )
        self.operations = operations
        self.services = services
        self.registration = CommandRegistration(self.tree, services)
        self.press_handlers: dict[str, PressHandler] = {}
        """Answer presses on messages that outlive a restart of the master, by what their custom ids begin with."""

    async def setup_hook(self) -> None:
        """Load all cogs, and register the slash commands if they changed."""
        await self.load_cogs(EXTENSIONS)
        await self.registration.begin(self.application_id or 0)

    async def load_cogs(self, names: Sequence[str]) -> None:
        """Load cogs concurrently; those that cannot be loaded are logged and left out."""
        await asyncio.gather(*(self._load(name) for name in names))

    async def _load(self, name: str) -> None:
        """Load a cog. A broken one costs its commands, not the connection and the other cogs."""
        try:
            await self.load_extension(name)
        except commands.ExtensionError as error:
            log.error("cog could not be loaded", extra={"cog": name}, exc_info=error)

    async def close(self) -> None:
        """Log out."""
        await self.registration.close()
        await super().close()

    async def on_interaction(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Answer a press or a form that no view of this process waits for.

        discord.py hands it to its views first, which take it in their first step, before this.
        """
        if is_taken(interaction) or interaction.type not in _FROM_MESSAGES:
            return
        data: Any = interaction.data
        custom_id = str(data.get("custom_id", ""))
        handler = self.press_handlers.get(custom_id.partition(":")[0], _answer_stale)
        try:
            await handler(interaction)
        except Exception as error:
            await answer_error(interaction, error, f"the press on {custom_id!r:.100}")

    async def on_connect(self) -> None:
        """Tell the services that a session began."""
        self.services.bus.publish(GatewayConnected(at=self.services.clock.now()))

    async def on_resumed(self) -> None:
        """Tell the services that the session goes on."""
        self.services.bus.publish(GatewayConnected(at=self.services.clock.now()))

    async def on_disconnect(self) -> None:
        """Tell the services that the connection is gone; discord.py makes another."""
        self.services.bus.publish(GatewayLost(at=self.services.clock.now()))

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log an error in an event listener."""
        log.exception("error in %s", event_method)
