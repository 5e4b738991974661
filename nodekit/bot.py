"""HandshakeBot, the base class of the template's bot: loads the cogs of its folder, and answers failed commands."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from nodekit.attachment import attach, attachment_of
from nodekit.call_failures import ANY_FAILURE
from nodekit.cog_files import CogChanges, CogFiles
from nodekit.command_errors import cause_of, explain
from nodekit.command_sync import sync_commands
from nodekit.error_watch import Source
from nodekit.fingerprints import fingerprint_of
from nodekit.identity import program_folder, version_of

if TYPE_CHECKING:
    from nodekit.licence import NodeLicences

log = logging.getLogger("node")

WATCH_VARIABLE = "FLEET_WATCH"
"""Set by the master for a node with WATCH."""
ERROR_COLOUR = 0xE74C3C
MAX_MESSAGES = 1000
"""Messages kept in memory, with the intent to read them; about 1.6 KB each."""


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
        # Members are cached as the intents have it, as discord.py does. Messages only for a bot that reads them: others
        # would fill their memory with the fleet's own channels.
        options.setdefault("max_messages", MAX_MESSAGES if intents.message_content else None)
        # Ready once no guild has arrived for this long; discord.py's default is two seconds.
        options.setdefault("guild_ready_timeout", 0.1)
        super().__init__(intents=intents, **options)
        self.folder = folder or program_folder()
        self._began = time.monotonic()
        self.version = version_of(self.folder)
        self.cog_files = CogFiles(self, self.folder / "cogs")
        self.failed_cogs: list[str] = []
        """The files of cogs that are not there; one that could not be loaded again still is."""
        self._loading = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
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

    @property
    def licence(self) -> NodeLicences:
        """What people's licences allow, and the node's own."""
        # Imported by bots that ask.
        from nodekit.licence import licence_of

        return licence_of(self)

    @property
    def reloads_cogs(self) -> bool:
        """Whether cogs are loaded again when their files change: somebody develops the bot."""
        return WATCH_VARIABLE in os.environ

    async def setup_hook(self) -> None:
        """Load the cogs, and register the slash commands if they changed."""
        await self.load_cogs()
        if self.reloads_cogs:
            # Imported only while somebody develops the bot.
            from nodekit.cog_watch import watch_cogs

            self._watching = asyncio.create_task(watch_cogs(self), name="cogs")

    async def load_cogs(self, names: Iterable[str] | None = None, *, reporting: bool = True) -> CogChanges:
        """Load cogs, again if they are loaded, and register the slash commands if they changed.

        What cannot be loaded is reported. The bot goes on with the other cogs, and with the old code of one it had.

        Parameters
        ----------
        names
            Files in ``cogs/``, without ``.py``; None: those that are new or changed.
        reporting
            Whether an error of one is reported; it is logged in any case.
        """
        async with self._loading:
            changes = await self.cog_files.load(self.cog_files.changed() if names is None else names)
            for name, error in changes.failed.items():
                kept = ", the old code stays" if f"cogs.{name}" in self.extensions else ""
                log.error("cog %s could not be loaded%s", name, kept, exc_info=error)
                if reporting:
                    self.report(error, "startup", f"cogs/{name}.py")
            self._note_failed(changes)
            refused = await self.register_commands()
            if refused is not None:
                self.report(refused, "startup", "registering the slash commands")
        return changes

    def _note_failed(self, changes: CogChanges) -> None:
        files = self.cog_files.find()
        failed = {name for name in {*self.failed_cogs, *changes.failed} if f"cogs.{name}" not in self.extensions}
        before, self.failed_cogs = self.failed_cogs, sorted(failed & files.keys())
        attachment = attachment_of(self)
        if before != self.failed_cogs and attachment is not None and attachment.link is not None:
            attachment.link.pulse_soon()

    @property
    def disabled_cogs(self) -> list[str]:
        """The cogs that are kept off, as they are told to the master."""
        return [f"{name} (disabled)" for name in sorted(self.cog_files.disabled())]

    async def disable_cog(self, name: str) -> str:
        """Unload a cog and keep it off until its file changes; returns why only in this process, or nothing.

        Raises
        ------
        KeyError
            There is no such cog.
        """
        async with self._loading:
            problem = await self.cog_files.disable(name)
            log.warning("cog %s is disabled, until its file changes", name)
            self._note_failed(CogChanges())
            refused = await self.register_commands()
            if refused is not None:
                self.report(refused, "startup", "registering the slash commands")
        attachment = attachment_of(self)
        if attachment is not None and attachment.link is not None:
            attachment.link.pulse_soon()
        return problem

    async def register_commands(self, *, always: bool = False) -> Exception | None:
        """Register the slash commands with Discord if they changed; returns the error on failure."""
        return await sync_commands(self.tree, self.folder, always=always)

    async def close(self) -> None:
        """Close the connection to Discord."""
        if self._watching is not None:
            self._watching.cancel()
        await super().close()

    async def on_ready(self) -> None:
        """Log the login."""
        log.info("logged in as %s (%s), in %d guilds", self.user, self.user and self.user.id, len(self.guilds))

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log an error in an event listener; it is reported already."""
        log.exception("error in %s", event_method)

    # Errors of commands. The user is told in every case; what nobody could expect is logged and reported.

    def is_expected(self, error: BaseException) -> bool:
        """Tell whether a command's error is answered as what it is, and concerns nobody else: it is not reported."""
        return explain(error) is not None

    async def on_command_error(self, context: commands.Context[Any], exception: commands.CommandError, /) -> None:
        """Answer the user of a text command, or of a hybrid one, unless the program handles the error itself."""
        command, cog = context.command, context.cog
        handled = (command is not None and command.has_error_handler()) or (cog is not None and cog.has_error_handler())
        if isinstance(exception, commands.CommandNotFound) or handled or self.extra_events.get("on_command_error"):
            return
        text = self._describe_error(exception, str(command))
        if isinstance(exception, commands.UserInputError) and command is not None and context.interaction is None:
            usage = f"{context.clean_prefix}{command.qualified_name} {command.signature}".strip()
            text += f"\nUsage: `{usage}`"
        embed = discord.Embed(description=text, colour=self._error_colour)
        try:
            if context.interaction is not None:
                await context.send(embed=embed, ephemeral=True)
            elif context.bot_permissions.embed_links:
                await context.reply(embed=embed, mention_author=False)
            else:
                await context.reply(text, mention_author=False)
        except ANY_FAILURE as error:
            log.warning("the user of %s could not be answered: %s", command, error)

    async def _on_command_error(
        self, interaction: discord.Interaction[HandshakeBot], error: app_commands.AppCommandError
    ) -> None:
        """Answer the user of a slash command, unless the program handles the error itself."""
        command = interaction.command
        if command is not None and command._has_any_error_handlers():
            return
        await self.answer_error(interaction, error, f"/{command.qualified_name}" if command else "an unknown command")

    async def answer_error(self, interaction: discord.Interaction[Any], error: Exception, name: str) -> None:
        """Tell a user why what he used failed; for buttons and forms that a cog handles by itself.

        Parameters
        ----------
        name
            Of what was used, for the log.
        """
        embed = discord.Embed(description=self._describe_error(error, name), colour=self._error_colour)
        try:
            if interaction.response.is_done():
                await interaction.followup.send(embed=embed, ephemeral=True)
            else:
                await interaction.response.send_message(embed=embed, ephemeral=True)
        except ANY_FAILURE as failure:
            log.warning("the user of %s could not be answered: %s", name, failure)

    def _describe_error(self, error: BaseException, name: str) -> str:
        """Log an error of a command; returns what to tell its user."""
        text = explain(error)
        if text is not None:
            log.info("%s: %s", name, text)
            return text
        cause = cause_of(error)
        # The report's fingerprint begins with it: what a user quotes is found in LOG_CHANNEL and in the log.
        error_id = fingerprint_of(cause)[:8]
        log.error("error %s in %s", error_id, name, exc_info=cause)
        return f"Something went wrong. The owner of this bot finds it as error `{error_id}`."

    def report(self, error: BaseException, source: Source, where: str) -> None:
        """Report an error to the master; outside of a fleet it stays in the log."""
        attachment = attachment_of(self)
        if attachment is not None:
            attachment.report(error, source, where)
