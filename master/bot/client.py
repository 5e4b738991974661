"""The master's own Discord bot: its tree of commands, and the connection, tried for as long as the master runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.operation_commands import operation_of
from master.bot.presenting import actor_of, answer, error_embed
from master.errors import FleetError
from master.operations.operation import Operations
from master.services.container import Services

log = logging.getLogger(__name__)

EXTENSIONS = (
    "master.cogs.commands",
    "master.cogs.ledger",
    "master.cogs.bot_manager",
    "master.cogs.duplicate",
    "master.cogs.error_monitor",
    "master.cogs.listener",
)
RETRY_FIRST_S, RETRY_CAP_S = 5.0, 300.0


class MasterTree(app_commands.CommandTree["MasterBot"]):
    """Lets in who may carry out a command's operation, and renders what went wrong."""

    async def interaction_check(self, interaction: discord.Interaction[MasterBot], /) -> bool:
        """Let through who may carry out the command's operation; a refusal is shown, and audited."""
        operations, actor = interaction.client.operations, actor_of(interaction)
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
        """Show a known error as it is, and any other as one for the log."""
        cause = getattr(error, "original", error)
        settings = interaction.client.services.settings
        if isinstance(cause, FleetError):
            await answer(interaction, error_embed(settings, cause))
            return
        log.error("command failed", exc_info=cause)
        unexpected = FleetError("something went wrong in the master", hint="its log has the details")
        await answer(interaction, error_embed(settings, unexpected))


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
            # The master reads messages as they come and keeps none.
            max_messages=None,
            chunk_guilds_at_startup=False,
            guild_ready_timeout=0.1,
            member_cache_flags=discord.MemberCacheFlags.none(),
        )
        self.operations = operations
        self.services = services

    async def setup_hook(self) -> None:
        """Load all cogs at once, and register the slash commands if they changed."""
        await asyncio.gather(*(self.load_extension(name) for name in EXTENSIONS))
        await self._sync_commands()

    async def _sync_commands(self) -> None:
        identity = self.services.settings.identity
        guild = discord.Object(identity.guild_id) if identity.guild_id else None
        if guild is not None:
            # In one guild they show at once; globally Discord may take its time.
            self.tree.copy_global_to(guild=guild)
            self.tree.clear_commands(guild=None)
        payload = [command.to_dict(self.tree) for command in self.tree.get_commands(guild=guild)]
        scope = [self.application_id, identity.guild_id, payload]
        fingerprint = hashlib.sha256(json.dumps(scope, sort_keys=True).encode()).hexdigest()
        noted = self.services.settings.state_dir / "commands.sha256"
        if noted.exists() and noted.read_text("utf-8") == fingerprint:
            return
        try:
            await self.tree.sync(guild=guild)
        except discord.HTTPException as error:
            log.error("slash commands could not be registered", extra={"why": str(error)})
            return
        noted.write_text(fingerprint, "utf-8")

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log an error in an event listener."""
        log.exception("error in %s", event_method)


class DiscordConnection:
    """The master's presence on Discord, for as long as the master runs; supervision does not depend on it."""

    def __init__(self, token: str, user_id: int) -> None:
        # A master has no voice, and needs no warning that it has none.
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
        self._token = token
        self._user_id = user_id
        self._bot: MasterBot | None = None
        self._trouble = ""

    def user_id(self) -> int:
        """Return the master's user id, which its token begins with."""
        return self._user_id

    def state(self) -> str:
        """Say how the connection is."""
        if self._trouble:
            return self._trouble
        return "ready" if self._bot is not None and self._bot.is_ready() else "connecting"

    async def run(self, operations: Operations[Services]) -> None:
        """Stay connected until cancelled."""
        delay = RETRY_FIRST_S
        while True:
            outcome = await self._connect(operations, self._token)
            if outcome == "refused":
                # Trying again would not help, and counts against the token.
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_CAP_S)

    async def _connect(self, operations: Operations[Services], token: str) -> Literal["refused", "lost"]:
        async with MasterBot(operations) as bot:
            self._bot = bot
            try:
                await bot.start(token)
            except discord.LoginFailure:
                return self._refuse("the token is not accepted (401)")
            except discord.PrivilegedIntentsRequired:
                return self._refuse("MESSAGE CONTENT is not switched on in the developer portal (4014)")
            except discord.ConnectionClosed as error:
                if error.code == 4004:
                    return self._refuse("the token is not accepted (4004)")
                log.warning("Discord closed the connection", extra={"code": error.code})
            except (discord.DiscordException, OSError, TimeoutError) as error:
                log.warning("Discord cannot be reached", extra={"why": str(error)})
            finally:
                self._bot = None
        return "lost"

    def _refuse(self, why: str) -> Literal["refused"]:
        self._trouble = f"refused: {why}"
        log.error("Discord refuses the master; the fleet goes on without it", extra={"why": why})
        return "refused"
