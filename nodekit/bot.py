"""HandshakeBot, the base class of the template's bot: loads the cogs of its folder, and reports broken ones."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from nodekit.attachment import attach, attachment_of
from nodekit.command_sync import sync_commands
from nodekit.error_watch import Source
from nodekit.identity import program_folder, version_of

log = logging.getLogger("node")

ERROR_COLOUR = 0xE74C3C


class HandshakeBot(commands.Bot):
    """A bot that joins a fleet: verifies itself, pulses, loads the cogs of its folder, and reports errors.

    Parameters
    ----------
    folder
        Contains ``cogs/`` and ``VERSION``; None: the program's folder.
    error_colour
        Embed colour of the response to a failed slash command.
    options
        As for :class:`discord.ext.commands.Bot`; the defaults are those of a node on a small box.
    """

    def __init__(
        self,
        *,
        intents: discord.Intents,
        folder: Path | None = None,
        error_colour: int = ERROR_COLOUR,
        **options: Any,
    ) -> None:
        options.setdefault("command_prefix", commands.when_mentioned)
        options.setdefault("allowed_mentions", discord.AllowedMentions.none())
        # No message cache: it saves memory on a small host.
        options.setdefault("max_messages", None)
        options.setdefault("chunk_guilds_at_startup", False)
        options.setdefault("member_cache_flags", discord.MemberCacheFlags.none())
        # Ready once no guild has arrived for this long; discord.py's default is two seconds.
        options.setdefault("guild_ready_timeout", 0.1)
        super().__init__(intents=intents, **options)
        self.folder = folder or program_folder()
        self._began = time.monotonic()
        self.version = version_of(self.folder)
        self.failed_cogs: list[str] = []
        self._error_colour = error_colour
        self.tree.error(self._on_command_error)
        attach(self)

    @property
    def uptime_s(self) -> float:
        """Seconds since it was made, however the clock is set meanwhile."""
        return time.monotonic() - self._began

    @property
    def started_at(self) -> float:
        """When it was made, in Unix seconds of the clock as it is now."""
        return time.time() - self.uptime_s

    async def setup_hook(self) -> None:
        """Load the cogs, and register the slash commands if they changed."""
        for path in sorted((self.folder / "cogs").glob("[!_]*.py")):
            await self._load_cog(path)
        error = await sync_commands(self.tree, self.folder)
        if error is not None:
            self.report(error, "startup", "registering the slash commands")

    async def _load_cog(self, path: Path) -> None:
        try:
            await self.load_extension(f"cogs.{path.stem}")
        except commands.ExtensionError as error:
            # A broken cog does not affect the others: the bot runs without it, and reports it.
            self.failed_cogs.append(path.stem)
            log.exception("cog %s could not be loaded", path.stem)
            self.report(error.__cause__ or error, "startup", f"cogs/{path.name}")

    async def on_ready(self) -> None:
        """Log the login."""
        log.info("logged in as %s (%s), in %d guilds", self.user, self.user and self.user.id, len(self.guilds))

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log an error in an event listener; it is reported already."""
        log.exception("error in %s", event_method)

    async def on_command_error(self, context: commands.Context[Any], exception: commands.CommandError, /) -> None:
        """Log an error in a text command; it is reported already."""
        if not isinstance(exception, commands.CommandNotFound):
            log.error("error in %s", context.command, exc_info=exception.__cause__ or exception)

    async def _on_command_error(
        self, interaction: discord.Interaction[HandshakeBot], error: app_commands.AppCommandError
    ) -> None:
        """Tell the user of a slash command that it failed, without any detail; it is reported already."""
        name = interaction.command.qualified_name if interaction.command else "an unknown command"
        log.error("error in /%s", name, exc_info=error.__cause__ or error)
        embed = discord.Embed(
            title="That did not work", description="The error was reported.", colour=self._error_colour
        )
        if isinstance(error, app_commands.CheckFailure):
            embed.description = str(error)[:300]
        try:
            if interaction.response.is_done():
                await interaction.followup.send(embed=embed, ephemeral=True)
            else:
                await interaction.response.send_message(embed=embed, ephemeral=True)
        except discord.HTTPException:
            log.warning("the user of /%s could not be told", name)

    def report(self, error: BaseException, source: Source, where: str) -> None:
        """Report an error to the master; outside of a fleet it stays in the log."""
        attachment = attachment_of(self)
        if attachment is not None:
            attachment.report(error, source, where)
