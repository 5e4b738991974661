"""Orders of the master: a few things that a running bot does about itself. Imported with the first one.

What an order names comes out of a log, which anybody may have filled: it is compared with the names of the cogs that
the bot has, and becomes neither a path nor an import of anything else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import discord
from discord.ext import commands

from handshake.messages import Order, OrderKind, OrderResult
from nodekit.bot import HandshakeBot

log = logging.getLogger("node")

CARRY_OUT_S = 15.0
SYNC_EVERY_S = 600.0
"""Discord limits how often commands are registered (200 new ones a day); an order is one of several reasons to."""

_synced_at: float | None = None


class _NotDone(Exception):
    """The order is not carried out; the text says why."""


async def carry_out(client: discord.Client, order: Order) -> OrderResult:
    """Carry out an order; whatever goes wrong is part of the result."""
    log.info("order of the master: %s %s", order.kind, order.argument)
    try:
        async with asyncio.timeout(CARRY_OUT_S):
            detail = await _KINDS[order.kind](client, order.argument)
        done = True
    except _NotDone as error:
        done, detail = False, str(error)
    except TimeoutError:
        done, detail = False, f"not done within {CARRY_OUT_S:g} s"
    except Exception as error:
        # Of the cog's own code, whatever it is.
        log.exception("an order failed")
        done, detail = False, f"{type(error).__name__}: {error}"
    return OrderResult(order_id=order.id, done=done, detail=detail[:400])


async def _reload_cog(client: discord.Client, wanted: str) -> str:
    if isinstance(client, HandshakeBot):
        name = _file_of(client, wanted)
        changes = await client.load_cogs([name])
        if name in changes.failed:
            error = changes.failed[name]
            raise _NotDone(f"cog {name} could not be loaded: {type(error).__name__}: {error}")
        return f"cog {name} is loaded again"
    bot, extension = _extension_of(client, wanted)
    await bot.reload_extension(extension)
    return f"extension {extension} is loaded again"


async def _disable_cog(client: discord.Client, wanted: str) -> str:
    if isinstance(client, HandshakeBot):
        name = _file_of(client, wanted)
        problem = await client.disable_cog(name)
        return f"cog {name} is off " + (f"in this process only: {problem}" if problem else "until its file changes")
    bot, extension = _extension_of(client, wanted)
    await bot.unload_extension(extension)
    return f"extension {extension} is off until the process restarts: what loads it is the program's own"


async def _sync_commands(client: discord.Client, _argument: str) -> str:
    global _synced_at
    if not isinstance(client, HandshakeBot):
        raise _NotDone("the program registers its slash commands by itself, globally or for a server: its own affair")
    if _synced_at is not None and time.monotonic() - _synced_at < SYNC_EVERY_S:
        raise _NotDone(
            f"registered {time.monotonic() - _synced_at:.0f} s ago; once in {SYNC_EVERY_S / 60:g} min is all"
        )
    _synced_at = time.monotonic()
    refused = await client.register_commands(always=True)
    if refused is not None:
        raise _NotDone(f"Discord did not take them: {refused}")
    return f"{len(client.tree.get_commands())} slash commands are registered"


async def _check_licence(client: discord.Client, user_id: str) -> str:
    from nodekit.licence import licence_of

    licence_of(client).forget(int(user_id) if user_id.isdecimal() else None)
    return "what was remembered of it is forgotten"


async def _tell_of_ticket(client: discord.Client, ticket_id: str) -> str:
    if not isinstance(client, commands.Bot) or not client.extra_events.get("on_ticket_changed"):
        raise _NotDone("no cog of the program listens to ticket_changed")
    client.dispatch("ticket_changed", ticket_id)
    return "told"


def _file_of(bot: HandshakeBot, wanted: str) -> str:
    """Return which of the bot's cogs is wanted."""
    name, known = wanted.removeprefix("cogs."), bot.cog_files.find()
    if name not in known:
        raise _NotDone(f"there is no cog {wanted!r}; there are {', '.join(sorted(known)) or 'none'}")
    return name


def _extension_of(client: discord.Client, wanted: str) -> tuple[commands.Bot, str]:
    """Return which of a program's extensions is wanted, by its name or the last part of it."""
    if not isinstance(client, commands.Bot):
        raise _NotDone("the program has no cogs: its client is no commands.Bot")
    known = sorted(client.extensions)
    found = [name for name in known if name == wanted] or [name for name in known if name.split(".")[-1] == wanted]
    if len(found) != 1:
        raise _NotDone(f"there is no extension {wanted!r}; there are {', '.join(known) or 'none'}")
    return client, found[0]


_KINDS: dict[OrderKind, Callable[[Any, str], Awaitable[str]]] = {
    "reload_cog": _reload_cog,
    "disable_cog": _disable_cog,
    "sync_commands": _sync_commands,
    "check_licence": _check_licence,
    "ticket_changed": _tell_of_ticket,
}
