"""The master's connection to Discord, retried for as long as the master runs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Literal

import discord

from master.bot.client import MasterBot
from master.bot.failures import CALL_FAILURES
from master.bot.own_id import RememberedId
from master.bot.port import DiscordPyPort
from master.operations.operation import Operations
from master.services.container import Services
from master.services.core.discord_port import DiscordPort

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_CAP_S = 5.0, 300.0


class DiscordConnection:
    """Keeps the master's bot connected; supervision does not depend on it.

    Parameters
    ----------
    remembered_path
        Where the bot's id is kept over a restart, for a token that does not tell it.
    """

    def __init__(self, token: str, remembered_path: Path) -> None:
        # The master does not use voice: suppress the warnings about missing libraries.
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
        self._token = token
        self._user_id = RememberedId(token, remembered_path)
        self._bot: MasterBot | None = None
        self._trouble = ""
        self._port = DiscordPyPort(lambda: self._bot)

    @property
    def port(self) -> DiscordPort:
        """Return the port; it exists whether the master is connected or not."""
        return self._port

    def user_id(self) -> int:
        """Return the master's user id; 0 before the first login with a token that does not tell it."""
        if self._bot is not None and self._bot.user is not None:
            self._user_id.learn(self._bot.user.id)
        return self._user_id.value

    def state(self) -> str:
        """Return the state of the connection."""
        if self._trouble:
            return self._trouble
        return "ready" if self._bot is not None and self._bot.is_ready() else "connecting"

    def commands_problem(self) -> str:
        """Return why the slash commands are not registered; empty if they are."""
        return self._bot.registration.problem if self._bot is not None else ""

    async def run(self, operations: Operations[Services]) -> None:
        """Stay connected until cancelled."""
        delay = RETRY_FIRST_S
        while True:
            outcome = await self._connect(operations, self._token)
            if outcome == "refused":
                # A retry would fail again, and counts against the token.
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
            except CALL_FAILURES as error:
                log.warning("Discord cannot be reached", extra={"why": str(error)})
            finally:
                self._bot = None
        return "lost"

    def _refuse(self, why: str) -> Literal["refused"]:
        self._trouble = f"refused: {why}"
        log.error("Discord refuses the master; the fleet goes on without it", extra={"why": why})
        return "refused"
