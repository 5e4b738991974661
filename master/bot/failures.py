"""Translation of discord.py's exceptions, of calls and of commands, into errors that say what to do."""

from __future__ import annotations

import json
import math
import traceback
from typing import ClassVar

import discord
from discord import app_commands

from master.errors import ExitCode, FleetError
from master.services.core.errors import (
    DiscordForbidden,
    DiscordNotFound,
    DiscordPortError,
    DiscordRefused,
    DiscordUnavailable,
)
from master.wording import duration
from nodekit.call_failures import CALL_FAILURES as CALL_FAILURES
from nodekit.call_failures import UNREADABLE

_LATER = "try again in a minute; status.discord.com shows outages"
_MISSING_ACCESS = 50001
_MISSING_PERMISSIONS = 50013
_NO_DIRECT_MESSAGES = (50007, 50278)


def named_failure(error: Exception, doing: str, needs: str = "") -> DiscordPortError | None:
    """Return the services' error for ``error``; None if it is not an error of a Discord call.

    Parameters
    ----------
    doing
        Description of the call: "post in channel 42".
    needs
        The permission that it needs besides View Channel, by its name in Discord's client.
    """
    if isinstance(error, discord.HTTPException):
        return _http_error(error, doing, needs)
    if isinstance(error, CALL_FAILURES):
        return DiscordUnavailable(f"could not {doing}: {str(error) or type(error).__name__}", hint=_LATER)
    if isinstance(error, json.JSONDecodeError):
        return DiscordUnavailable(f"could not {doing}: the response is not JSON", hint=_LATER)
    if _is_of_closed_connection(error):
        return away(doing)
    if isinstance(error, (*UNREADABLE, RecursionError)):
        return DiscordUnavailable(f"could not {doing}: the response cannot be read ({error!r:.100})", hint=_LATER)
    return None


def away(doing: str) -> DiscordUnavailable:
    """Return the error for a call while the master is not connected."""
    return DiscordUnavailable(
        f"could not {doing}: the master is not connected to Discord",
        hint="`fleet status` shows the state of the connection",
    )


def _http_error(error: discord.HTTPException, doing: str, needs: str) -> DiscordPortError:
    # discord.py uses 0 for "no code".
    status, json_code = error.status, error.code or None
    said = " ".join(str(error.text).split())
    if said.startswith("<"):
        # A page is never Discord's: what it says of a channel or a permission does not count.
        words = f"could not {doing}: something before Discord answers with a page (HTTP {status})"
        return DiscordUnavailable(words, hint=_LATER, status=status)
    words = f"could not {doing}: Discord says {status}{f' ({json_code})' if json_code else ''} {said[:300]}".rstrip()
    if status >= 500 or status == 429:
        return DiscordUnavailable(words, hint=_LATER, status=status, json_code=json_code)
    if status == 404:
        return DiscordNotFound(
            words, hint="it may have been deleted; check the ids in config.py", status=status, json_code=json_code
        )
    if status == 403:
        return _forbidden(words, needs, json_code)
    return DiscordRefused(words, status=status, json_code=json_code)


def _forbidden(words: str, needs: str, json_code: int | None) -> DiscordForbidden:
    missing, hint = "", ""
    if json_code in _NO_DIRECT_MESSAGES:
        hint = "the user does not accept direct messages from the bot"
    elif json_code == _MISSING_ACCESS:
        missing = "View Channel"
    elif json_code == _MISSING_PERMISSIONS:
        # Discord does not say which permission is missing; the call knows what it needs.
        missing = needs
    if missing:
        hint = f"give the master's role the permission {missing} there"
        if missing == "Manage Roles":
            hint += ", and move it above the roles that it assigns"
    return DiscordForbidden(words, hint=hint, status=403, json_code=json_code, missing=missing)


def _is_of_closed_connection(error: Exception) -> bool:
    """Tell whether discord.py (2.7) failed because its own HTTP session is closed, or not open yet."""
    if isinstance(error, AttributeError):
        return error.obj is discord.utils.MISSING
    if isinstance(error, AssertionError):
        # Of aiohttp, in a request whose session is closed meanwhile.
        frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
        return bool(frames) and str(frames[-1]).startswith("aiohttp.")
    return isinstance(error, RuntimeError) and str(error) == "Session is closed"


class CommandRefused(FleetError):
    """A command was not carried out, as its author wanted: a cooldown, a permission, a place."""

    code: ClassVar[str] = "command_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


def named_refusal(error: app_commands.AppCommandError) -> CommandRefused | None:
    """Return what a failed check of a command means to its user; None if it is no refusal but a failure."""
    match error:
        case app_commands.CommandOnCooldown():
            # Rounded up: who waits for as long as it says is let through.
            return CommandRefused(f"too fast: wait {duration(math.ceil(error.retry_after))}, then try again")
        case app_commands.MissingPermissions():
            return CommandRefused(f"you need the permission {_listed(error.missing_permissions)} here")
        case app_commands.BotMissingPermissions():
            missing = _listed(error.missing_permissions)
            return CommandRefused(f"the master lacks the permission {missing} here", hint=f"give its role {missing}")
        case app_commands.MissingRole() | app_commands.MissingAnyRole():
            return CommandRefused("you need a role for this that you do not have")
        case app_commands.NoPrivateMessage():
            return CommandRefused("this works on the server only, not in direct messages")
        case app_commands.CommandSignatureMismatch():
            return CommandRefused("Discord shows an older form of this command", hint="reload Discord, then try again")
        case app_commands.TransformerError():
            return CommandRefused(f"{str(error.value)[:100]!r} is not valid here")
        case app_commands.CheckFailure():
            return CommandRefused("you may not use this here")
        case _:
            return None


def _listed(permissions: list[str]) -> str:
    """Return permissions by their names in Discord's client, as far as discord.py's names allow."""
    return ", ".join(name.replace("_", " ").replace("guild", "server").title() for name in permissions)
