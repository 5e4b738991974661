"""Runs a HandshakeBot: token, signals, and an exit code for the reason of its end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

import discord

from handshake.errors import HandshakeError
from nodekit.attachment import attachment_of
from nodekit.call_failures import CALL_FAILURES
from nodekit.connection_keeper import keep_connected
from nodekit.ending import watch_ending
from nodekit.endpoints import apply_endpoints
from nodekit.exit_codes import NodeExit
from nodekit.identity import inherited_identity, program_folder

log = logging.getLogger("node")

_LIBRARIES = ("discord", "aiohttp", "asyncio")


def run(make_bot: Callable[[], discord.Client], *, voice: bool = False, log_level: str = "INFO") -> int:
    """Run a bot until it is asked to stop; returns the exit code (docs/writing-a-node.md lists them).

    Started by a Fleetmaster, the token comes through an inherited descriptor. Started by hand, it is DISCORD_TOKEN in
    the ``.env`` beside the program, and the bot runs unsupervised.

    Parameters
    ----------
    make_bot
        Returns the bot; it is called when there is a token.
    voice
        Whether the bot uses voice: discord.py then warns if the voice libraries are missing.
    log_level
        ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``. Those of discord.py and aiohttp are shown from ``INFO`` on.
    """
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = voice
    try:
        set_up_logging(log_level)
        token = load_token()
    except HandshakeError as error:
        log.error("%s", error)
        return NodeExit.CONFIGURATION
    return asyncio.run(_run(make_bot, token))


class LineFormatter(logging.Formatter):
    """Formats a record as one line, with a traceback below it: what a user typed cannot look like a line of the log."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, with line breaks escaped."""
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")


def set_up_logging(level: str) -> None:
    """Log to standard error, once for each record, whatever handlers were there before.

    Raises
    ------
    HandshakeError
        There is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise HandshakeError(f"{level!r} is no log level: use DEBUG, INFO, WARNING or ERROR")
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=number, handlers=[handler], force=True)
    for library in _LIBRARIES:
        # Each payload of the gateway would be a line, with all that people write.
        logging.getLogger(library).setLevel(max(number, logging.INFO))


def load_token() -> str:
    """Return the bot's token: from the master, or from ``.env``.

    Raises
    ------
    HandshakeError
        There is none.
    """
    identity = inherited_identity()
    if identity is not None:
        return identity.boot.token
    from dotenv import dotenv_values

    path = program_folder() / ".env"
    values = dotenv_values(path)
    apply_endpoints(values.get("DISCORD_API_BASE"), values.get("DISCORD_GATEWAY_URL"))
    token = values.get("DISCORD_TOKEN")
    if not token:
        raise HandshakeError(f"no token: start this node with `fleet start`, or put DISCORD_TOKEN into {path}")
    log.warning("started by hand: unsupervised, without a handshake")
    return token


async def _run(make_bot: Callable[[], discord.Client], token: str) -> int:
    loop = asyncio.get_running_loop()
    async with make_bot() as bot:
        if attachment_of(bot) is None:
            keep_connected(bot)
        closing: set[asyncio.Task[None]] = set()

        def close() -> None:
            watch_ending(loop)
            closing.add(loop.create_task(bot.close()))

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, close)
        try:
            await bot.start(token)
        except discord.LoginFailure:
            log.error("Discord refuses the token: it was reset, or the bot was deleted")
            return NodeExit.TOKEN
        except discord.PrivilegedIntentsRequired:
            log.error("Discord refuses the intents of config.py: switch them on in the developer portal")
            return NodeExit.INTENTS
        except discord.ConnectionClosed as error:
            log.error("Discord closed the connection: %s", error)
            return NodeExit.TOKEN if error.code == 4004 else NodeExit.UNEXPECTED
        except CALL_FAILURES as error:
            # Of the bot's own setup_hook: login and connection wait for Discord by themselves.
            log.error("Discord cannot be reached: %s", error, exc_info=error)
            return NodeExit.UNREACHABLE
    return NodeExit.ASKED
