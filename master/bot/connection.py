"""The master's connection to Discord, retried for as long as the master runs."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from pathlib import Path
from typing import Literal

import discord

from master.bot.client import MasterBot
from master.bot.cog_loader import cog_names
from master.bot.failures import CALL_FAILURES
from master.bot.own_id import RememberedId
from master.bot.port import DiscordPyPort
from master.events import GatewayLost
from master.operations.operation import Operations
from master.services.container import Services
from master.services.core.discord_port import DiscordPort
from nodekit.connection_keeper import ConnectionKeeper, keep_connected

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_CAP_S = 1.0, 30.0
"""Between two clients; within one, the keeper connects again."""
RETRY_RESET_S = 300.0


class DiscordConnection:
    """Keeps the master's bot connected; supervision does not depend on it.

    Whatever Discord says, it ends neither the connection's task nor the master: only a token or intents that Discord
    refuses are final, and then the fleet goes on without Discord.

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
        self._keeper: ConnectionKeeper | None = None
        self._trouble = ""
        self._started_at = time.monotonic()
        self._port = DiscordPyPort(lambda: self._bot)

    @property
    def port(self) -> DiscordPort:
        """Return the port; it exists whether the master is connected or not."""
        return self._port

    @property
    def cogs(self) -> tuple[str, ...]:
        """Return the names of all cogs."""
        return cog_names()

    def user_id(self) -> int:
        """Return the master's user id; 0 before the first login with a token that does not tell it."""
        if self._bot is not None and self._bot.user is not None:
            self._user_id.learn(self._bot.user.id)
        return self._user_id.value

    def state(self) -> str:
        """Return the state of the connection."""
        if self._trouble:
            return self._trouble
        is_ready = self._bot is not None and self._bot.is_ready()
        return "ready" if is_ready and self.offline_s() is None else "connecting"

    def offline_s(self) -> float | None:
        """Return the seconds without a connection to Discord's gateway; None while there is one."""
        return self._keeper.offline_s if self._keeper is not None else time.monotonic() - self._started_at

    def why_offline(self) -> str:
        """Return the last trouble of the connection; empty while there is none."""
        return self._trouble or (self._keeper.why if self._keeper is not None else "")

    def commands_problem(self) -> str:
        """Return why the slash commands are not registered; empty if they are."""
        return self._bot.registration.problem if self._bot is not None else ""

    async def run(self, operations: Operations[Services]) -> None:
        """Stay connected until cancelled."""
        failures = 0
        while True:
            began = time.monotonic()
            if await self._connect(operations, self._token) == "refused":
                # A retry would fail again, and counts against the token.
                return
            failures = 0 if time.monotonic() - began >= RETRY_RESET_S else failures + 1
            delay = min(RETRY_FIRST_S * 2.0 ** min(failures, 10), RETRY_CAP_S)
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))  # noqa: S311 - jitter

    async def _connect(self, operations: Operations[Services], token: str) -> Literal["refused", "lost"]:
        bot = self._bot = MasterBot(operations)

        def lost(why: str) -> None:
            operations.services.bus.publish(GatewayLost(at=operations.services.clock.now(), why=why))

        self._keeper = keep_connected(bot, on_trouble=lost)
        try:
            async with bot:
                await bot.start(token)
        except discord.LoginFailure:
            return self._refuse("the token is not accepted (401)")
        except discord.PrivilegedIntentsRequired:
            return self._refuse("MESSAGE CONTENT is not switched on in the developer portal (4014)")
        except discord.ConnectionClosed as error:
            if error.code == 4004:
                return self._refuse("the token is not accepted (4004)")
            log.error("Discord closed the connection, and says that it is of no use", extra={"code": error.code})
        except CALL_FAILURES as error:
            log.warning("Discord cannot be reached", extra={"why": str(error) or type(error).__name__})
        except Exception:
            # The connection is one face of the master: whatever an answer breaks in it, it begins anew.
            log.exception("the connection to Discord failed, and begins anew")
        finally:
            self._bot = None
            lost(self.why_offline())
        return "lost"

    def _refuse(self, why: str) -> Literal["refused"]:
        self._trouble = f"refused: {why}"
        log.error("Discord refuses the master; the fleet goes on without it", extra={"why": why})
        return "refused"
