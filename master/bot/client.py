"""The master's own Discord bot, and its command tree."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, answer_error, is_expected, is_taken
from master.bot.cog_loader import CogLoader, note_cog
from master.bot.embeds import error_embed
from master.bot.operation_commands import operation_of
from master.bot.registration import CommandRegistration
from master.errors import FleetError
from master.events import GatewayConnected, GatewayLost
from master.operations.operation import Operations
from master.services.container import Services

log = logging.getLogger(__name__)

PressHandler = Callable[["discord.Interaction[MasterBot]"], Awaitable[None]]

MAX_RATE_LIMIT_S = 120.0


class MasterTree(app_commands.CommandTree["MasterBot"]):
    """A command tree that authorises callers for a command's operation, and shows errors."""

    async def interaction_check(self, interaction: discord.Interaction[MasterBot], /) -> bool:
        """Authorise the caller for the command's operation; a refusal is shown and audited."""
        operations, actor = interaction.client.operations, actor_of(interaction)
        if not operations.services.guild_watch.is_ours(interaction.guild_id):
            await _answer_foreign(interaction)
            return False
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
        interaction.client.note_defect(error, getattr(interaction.command, "binding", None))
        await answer_error(interaction, error, f"the command /{name}")


async def _answer_unknown(interaction: discord.Interaction[MasterBot]) -> None:
    """Answer a command that Discord still shows, and this master does not have."""
    if interaction.type is discord.InteractionType.autocomplete:
        await interaction.response.autocomplete([])
        return
    services = interaction.client.services
    data: Any = interaction.data or {}
    absence = services.cogs.absence_of(str(data.get("name", "")))
    words, hint = absence or (
        "this command is no longer there",
        "reload Discord: it shows commands from before a change",
    )
    await answer(interaction, error_embed(services.settings, FleetError(words, hint=hint)))


async def _answer_foreign(interaction: discord.Interaction[MasterBot]) -> None:
    """Answer somebody on a server that is not the fleet's: who may do what is decided on the fleet's own."""
    log.info("somebody asked on a server that is not the fleet's", extra={"server": interaction.guild_id})
    if interaction.type is discord.InteractionType.autocomplete:
        await interaction.response.autocomplete([])
        return
    error = FleetError("this server is not the fleet's", hint="Nothing was done. It answers on its own server alone.")
    await answer(interaction, error_embed(interaction.client.services.settings, error))


_FROM_MESSAGES = (discord.InteractionType.component, discord.InteractionType.modal_submit)


async def _answer_stale(interaction: discord.Interaction[MasterBot]) -> None:
    """Answer a press or a form whose view is gone: answered already, too old, or of an earlier master."""
    if interaction.type is discord.InteractionType.modal_submit:
        words, hint = "this form is from before the master restarted", "Nothing was done. Run the command again."
    else:
        words, hint = "this was answered already, or is too old", "Nothing was done now. Run the command again."
        words, hint = interaction.client.services.cogs.absence_of_press() or (words, hint)
    await answer(interaction, error_embed(interaction.client.services.settings, FleetError(words, hint=hint)))


class MasterBot(commands.Bot):
    """The master's bot; holds the operations for its cogs."""

    def __init__(self, operations: Operations[Services]) -> None:
        services = operations.services
        intents = discord.Intents.none()
        intents.guilds = True
        intents.guild_messages = True
        intents.guild_reactions = True
        # Who did it, of the server's channels: by events, for the audit log itself is late under load.
        intents.moderation = True
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
        self.loader = CogLoader(self)
        self.registration = self.loader.registration = CommandRegistration(self, self.loader, services)
        self.press_handlers: dict[str, PressHandler] = {}
        """Answer presses on messages that outlive a restart of the master, by what their custom ids begin with."""

    async def setup_hook(self) -> None:
        """Load all cogs, and register the slash commands if they changed."""
        await self.services.cogs.attach(self.loader)
        await self.registration.begin(self.application_id or 0)

    async def add_cog(self, cog: commands.Cog, /, **options: Any) -> None:
        """Add a cog, and note for whom."""
        note_cog(cog)
        await super().add_cog(cog, **options)

    async def close(self) -> None:
        """Log out."""
        await self.services.cogs.detach(self.loader)
        await self.registration.close()
        await super().close()

    async def on_interaction(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Answer a press or a form that no view of this process waits for.

        discord.py hands it to its views first, which take it in their first step, before this.
        """
        if is_taken(interaction) or interaction.type not in _FROM_MESSAGES:
            return
        if not self.services.guild_watch.is_ours(interaction.guild_id):
            await _answer_foreign(interaction)
            return
        data: Any = interaction.data
        custom_id = str(data.get("custom_id", ""))
        prefix = custom_id.partition(":")[0]
        if prefix not in self.press_handlers:
            await self.services.cogs.settled()
        handler = self.press_handlers.get(prefix, _answer_stale)
        try:
            await handler(interaction)
        except Exception as error:
            self.note_defect(error)
            await answer_error(interaction, error, f"the press on {custom_id!r:.100}")

    async def on_connect(self) -> None:
        """Tell the services that a session began."""
        self.services.bus.publish(GatewayConnected(at=self.services.clock.now()))

    async def on_ready(self) -> None:
        """Tell the services on which servers the master is."""
        self.services.guild_watch.connected(guild.id for guild in self.guilds)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Tell of a new server; if it is the fleet's, its commands are registered."""
        self.services.guild_watch.joined(guild.id, guild.name)
        if self.services.guild_watch.is_ours(guild.id):
            await self.registration.again()

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Tell that a server is gone, or the master from it."""
        self.services.guild_watch.left(guild.id, guild.name)

    async def on_guild_unavailable(self, guild: discord.Guild) -> None:
        """Tell of an outage."""
        self.services.guild_watch.became_unavailable(guild.id)

    async def on_guild_available(self, guild: discord.Guild) -> None:
        """Tell of its end."""
        self.services.guild_watch.became_available(guild.id)

    async def on_resumed(self) -> None:
        """Tell the services that the session goes on."""
        self.services.bus.publish(GatewayConnected(at=self.services.clock.now()))

    async def on_disconnect(self) -> None:
        """Tell the services that the connection is gone; discord.py makes another."""
        self.services.bus.publish(GatewayLost(at=self.services.clock.now()))

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log an error in an event listener, and count it for its cog."""
        log.exception("error in %s", event_method)
        if (error := sys.exception()) is not None:
            self.note_defect(error)

    def note_defect(self, error: BaseException, binding: object = None) -> None:
        """Count an error that nobody expected for the cog whose code raised it.

        Parameters
        ----------
        binding
            The cog that a command belongs to, if it was a command.
        """
        cause = getattr(error, "original", error)
        if not is_expected(cause) and (name := self.loader.owner_of(cause, binding)):
            self.services.cogs.note_failure(name, cause)
