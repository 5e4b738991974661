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
from nodekit.endpoints import apply_endpoints
from nodekit.exit_codes import NodeExit
from nodekit.identity import inherited_identity, program_folder

log = logging.getLogger("node")


def run(make_bot: Callable[[], discord.Client], *, voice: bool = False) -> int:
    """Run a bot until it is asked to stop; returns the exit code (docs/writing-a-node.md lists them).

    Started by a Fleetmaster, the token comes through an inherited descriptor. Started by hand, it is DISCORD_TOKEN in
    the ``.env`` beside the program, and the bot runs unsupervised.

    Parameters
    ----------
    make_bot
        Returns the bot; it is called when there is a token.
    voice
        Whether the bot uses voice: discord.py then warns if the voice libraries are missing.
    """
    line = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = voice
    discord.utils.setup_logging(level=logging.INFO, formatter=line, root=True)
    try:
        token = load_token()
    except HandshakeError as error:
        log.error("%s", error)
        return NodeExit.CONFIGURATION
    return asyncio.run(_run(make_bot, token))


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
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: closing.add(loop.create_task(bot.close())))
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
