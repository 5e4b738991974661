"""Registers the slash commands with Discord; what fails is an alert, stands in the status, and is tried again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from typing import Any

import discord
from discord import app_commands

from master.bot.failures import named_failure
from master.events import AlertLevel
from master.services.container import Services
from master.services.core.errors import DiscordForbidden, DiscordPortError
from master.services.core.registered_commands import Registered, load_record, save_record
from master.services.onboarding.identity import invite_url
from master.services.upkeep.needed_permissions import needed_permissions

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_CAP_S = 60.0, 900.0
_DOING = "register the slash commands"


class CommandRegistration:
    """Registers the commands of one tree."""

    def __init__(self, tree: app_commands.CommandTree[Any], services: Services) -> None:
        self._tree = tree
        self._services = services
        self._path = services.settings.registered_commands_path
        guild_id = services.settings.identity.guild_id
        self._guild = discord.Object(guild_id) if guild_id else None
        self.problem = ""
        """Why they are not registered; empty if they are, or if nothing was tried yet."""
        self._again: asyncio.Task[None] | None = None

    async def begin(self, application_id: int) -> None:
        """Register the commands if they changed or Discord has lost some; a failure is retried in the background."""
        if self._guild is not None:
            # Guild commands appear at once; global commands may be delayed.
            self._tree.copy_global_to(guild=self._guild)
            self._tree.clear_commands(guild=None)
        if not await self._try(application_id):
            self._again = asyncio.create_task(self._try_again(application_id), name="command registration")

    async def close(self) -> None:
        """Stop trying."""
        if self._again is not None:
            self._again.cancel()
            await asyncio.gather(self._again, return_exceptions=True)

    async def _try_again(self, application_id: int) -> None:
        delay = RETRY_FIRST_S
        while True:
            await asyncio.sleep(delay)
            if await self._try(application_id):
                return
            delay = min(delay * 2, RETRY_CAP_S)

    async def _try(self, application_id: int) -> bool:
        try:
            await self._register_if_needed(application_id)
        except Exception as error:
            named = named_failure(error, _DOING)
            if named is None:
                raise
            self._failed(named, application_id)
            return False
        if self.problem:
            self.problem = ""
            self._services.alerts.raise_alert(
                AlertLevel.SUCCESS, "The slash commands are registered again", key="commands:back"
            )
        return True

    async def _register_if_needed(self, application_id: int) -> None:
        commands = self._tree.get_commands(guild=self._guild)
        guild_id = None if self._guild is None else self._guild.id
        scope = [application_id, guild_id or 0, [command.to_dict(self._tree) for command in commands]]
        fingerprint = hashlib.sha256(json.dumps(scope, sort_keys=True).encode()).hexdigest()
        names = tuple(sorted(command.name for command in commands))
        if load_record(self._path) == Registered(fingerprint, names):
            there = {command.name for command in await self._tree.fetch_commands(guild=self._guild)}
            if there >= set(names):
                return
            log.warning("slash commands are gone from Discord", extra={"missing": len(set(names) - there)})
        await self._tree.sync(guild=self._guild)
        try:
            save_record(self._path, Registered(fingerprint, names))
        except OSError as error:
            # They are registered; the next start does it once more.
            log.warning("what was registered cannot be remembered", extra={"why": str(error)})

    def _failed(self, error: DiscordPortError, application_id: int) -> None:
        hint = error.hint
        if isinstance(error, DiscordForbidden):
            needed = needed_permissions(self._services.settings)
            hint = f"invite the master with its commands: {invite_url(application_id, needed)}"
        # One alert, however often it is tried.
        if not self.problem:
            self._services.alerts.raise_alert(
                AlertLevel.ERROR,
                "The slash commands could not be registered",
                key="commands:failed",
                text=f"{error.message}\n{hint}\nIt is tried again. `fleet` on the box steers the fleet meanwhile.",
            )
        # Discord's own words go to a terminal.
        self.problem = "".join(letter if letter.isprintable() else " " for letter in error.message)
        log.error("slash commands could not be registered", extra={"why": error.message, "hint": hint})
