"""Registers the slash commands with Discord; what fails is an alert, stands in the status, and is tried again.

The commands of a cog that could not be loaded stay registered as they were. Deleted and made again they would get
other ids: what a server's admins have set for them (Integrations) would be lost, and every mention of them. Whoever
uses one is told why it is not there. Those of a cog that was disabled are deleted: that is what was asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from typing import Any

import discord
from discord.ext.commands import Bot

from master.bot.cog_loader import CogLoader
from master.bot.failures import named_failure
from master.events import AlertLevel
from master.services.container import Services
from master.services.core.errors import DiscordForbidden, DiscordPortError
from master.services.core.registered_commands import Payload, Registered, load_record, save_record
from master.services.onboarding.identity import invite_url
from master.services.upkeep.needed_permissions import needed_permissions

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_CAP_S = 60.0, 900.0
_EVERYWHERE = 0


class CommandRegistration:
    """Registers the commands of one bot, in each of the fleet's servers."""

    def __init__(self, bot: Bot, loader: CogLoader, services: Services) -> None:
        self._bot = bot
        self._loader = loader
        self._services = services
        self._path = services.settings.registered_commands_path
        # Guild commands appear at once; global ones may be delayed.
        self._guild_ids = services.settings.identity.guild_ids or (_EVERYWHERE,)
        self._application_id = 0
        self._turn = asyncio.Lock()
        self.problem = ""
        """Why they are not registered; empty if they are, or if nothing was tried yet."""
        self._again: asyncio.Task[None] | None = None

    async def begin(self, application_id: int) -> None:
        """Register the commands if they changed or Discord has lost some; a failure is retried in the background."""
        self._application_id = application_id
        await self.again()

    async def again(self) -> None:
        """Look once more, since other cogs are loaded, or a server is there again."""
        if not self._application_id:
            return
        async with self._turn:
            done = await self._try()
        if not done and (self._again is None or self._again.done()):
            self._again = asyncio.create_task(self._try_again(), name="command registration")

    async def close(self) -> None:
        """Stop trying."""
        if self._again is not None:
            self._again.cancel()
            await asyncio.gather(self._again, return_exceptions=True)

    def commands(self, cog: str) -> tuple[str, ...]:
        """Return the names of a cog's commands, also of one that was loaded once."""
        loaded = tuple(sorted(command.name for command in self._loader.commands_of(cog)))
        if loaded or cog in self._loader.loaded():
            return loaded
        record = load_record(self._path)
        return () if record is None else tuple(str(one["name"]) for one in record.cogs.get(cog, ()))

    async def _try_again(self) -> None:
        delay = RETRY_FIRST_S
        while True:
            await asyncio.sleep(delay)
            async with self._turn:
                if await self._try():
                    return
            delay = min(delay * 2, RETRY_CAP_S)

    async def _try(self) -> bool:
        record = load_record(self._path)
        cogs = self._payloads(record)
        payload = self._wanted(cogs)
        names = tuple(sorted(str(one["name"]) for one in payload))
        scope = [self._application_id, self._guild_ids, payload]
        wanted = Registered(hashlib.sha256(json.dumps(scope, sort_keys=True).encode()).hexdigest(), names, cogs)
        is_same = record is not None and record.fingerprint == wanted.fingerprint
        for guild_id in self._guild_ids:
            doing = f"register the slash commands{f' in the server {guild_id}' if len(self._guild_ids) > 1 else ''}"
            try:
                await self._register(guild_id, payload, names, if_gone=is_same)
            except Exception as error:
                named = named_failure(error, doing)
                if named is None:
                    raise
                self._failed(named)
                return False
        if record != wanted:
            self._remember(wanted)
        if self.problem:
            self.problem = ""
            self._services.alerts.raise_alert(
                AlertLevel.SUCCESS, "The slash commands are registered again", key="commands:back"
            )
        return True

    def _payloads(self, record: Registered | None) -> dict[str, list[Payload]]:
        """Return the commands of each cog: as it is loaded, or else as it was when it was registered last."""
        loader, tree = self._loader, self._bot.tree
        remembered = {} if record is None else record.cogs
        loaded = {name: [command.to_dict(tree) for command in loader.commands_of(name)] for name in loader.loaded()}
        known = self._services.cogs.names()
        return {name: some for name, some in {**remembered, **loaded}.items() if name in known}

    def _wanted(self, cogs: dict[str, list[Payload]]) -> list[Payload]:
        there = set(self._loader.loaded())
        named = {str(one["name"]): one for name in self._services.cogs.unloaded() for one in cogs.get(name, ())}
        named |= {str(one["name"]): one for name in there for one in cogs[name]}
        return [named[name] for name in sorted(named)]

    async def _register(self, guild_id: int, payload: list[Any], names: tuple[str, ...], *, if_gone: bool) -> None:
        guild = discord.Object(guild_id) if guild_id else None
        if if_gone:
            there = {command.name for command in await self._bot.tree.fetch_commands(guild=guild)}
            if there >= set(names):
                return
            log.warning("slash commands are gone from Discord", extra={"missing": len(set(names) - there)})
        if guild_id:
            await self._bot.http.bulk_upsert_guild_commands(self._application_id, guild_id, payload)
        else:
            await self._bot.http.bulk_upsert_global_commands(self._application_id, payload)

    def _remember(self, registered: Registered) -> None:
        try:
            save_record(self._path, registered)
        except OSError as error:
            # They are registered; the next start does it once more.
            log.warning("what was registered cannot be remembered", extra={"why": str(error)})

    def _failed(self, error: DiscordPortError) -> None:
        hint = error.hint
        if isinstance(error, DiscordForbidden):
            url = invite_url(self._application_id, needed_permissions(self._services.settings))
            hint = f"invite the master with its commands: {url}"
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
