"""What a command's error means to the person who used it: their own mistake, a missing permission, or a bug of the bot.

discord.py has two trees of errors, of text commands and of slash commands; a hybrid command raises either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import discord
from discord import app_commands
from discord.ext import commands

_WRAPPERS = (commands.CommandInvokeError, commands.ConversionError, app_commands.CommandInvokeError)
_COOLDOWNS = (commands.CommandOnCooldown, app_commands.CommandOnCooldown)
_USER_PERMISSIONS = (commands.MissingPermissions, app_commands.MissingPermissions)
_BOT_PERMISSIONS = (commands.BotMissingPermissions, app_commands.BotMissingPermissions)
_CHECKS = (commands.CheckFailure, app_commands.CheckFailure)
_CHANGED = (app_commands.CommandSignatureMismatch, app_commands.CommandNotFound)
_DISCORD_REFUSES = {
    50001: "I cannot see that.",
    50013: "I may not do that here: my role lacks a permission, or is too low.",
}
"""Codes of Discord's that a server's administrator can do something about: topics/opcodes-and-status-codes#json."""
_SAYS_NOTHING = "The check functions for command"
"""How discord.py's own text of a failed check begins."""


def cause_of(error: BaseException) -> BaseException:
    """Return what was raised, without the errors of discord.py around it."""
    if isinstance(error, commands.HybridCommandError):
        error = error.original
    return error.original if isinstance(error, _WRAPPERS) else error


def explain(error: BaseException) -> str | None:
    """Return what to tell the user of a command that failed; None for an error that nobody expects."""
    error = cause_of(error)
    if isinstance(error, discord.Forbidden):
        return _DISCORD_REFUSES.get(error.code)
    if isinstance(error, _COOLDOWNS):
        return f"Not so fast: try again in {_duration(error.retry_after)}."
    if isinstance(error, commands.MaxConcurrencyReached):
        return "It is already running. Try again when it has finished."
    if isinstance(error, commands.DisabledCommand):
        return "This command is switched off."
    if isinstance(error, _CHANGED):
        return "This command was changed. Restart Discord (Ctrl+R), and try again."
    if isinstance(error, app_commands.TransformerError):
        return f"{str(error.value)[:100]!r} cannot be used here."
    if isinstance(error, commands.UserInputError):
        return _sentence(str(error)) or "That is not how the command is used."
    return _explain_check(error) if isinstance(error, _CHECKS) else None


def _explain_check(error: BaseException) -> str:
    if isinstance(error, _USER_PERMISSIONS):
        return f"You need {_names(error.missing_permissions)} for that."
    if isinstance(error, _BOT_PERMISSIONS):
        return f"I need {_names(error.missing_permissions)} for that. An administrator can give it to my role."
    if isinstance(error, commands.NotOwner):
        return "Only the owner of this bot may do that."
    text = str(error)
    return "You may not use this command here." if text.startswith(_SAYS_NOTHING) else _sentence(text)


def _names(permissions: Sequence[str]) -> str:
    """Return permissions by the names that Discord's client shows."""
    names = [f"**{name.replace('_', ' ').replace('guild', 'server').title()}**" for name in permissions]
    return ("the permissions " if len(names) > 1 else "the permission ") + " and ".join(names)


def _sentence(text: str) -> str:
    text = text.strip()[:300]
    return text if not text or text[-1] in ".!?" else text + "."


def _duration(seconds: float) -> str:
    """Return a duration in words, rounded up: who waits that long does not wait in vain."""
    left = max(math.ceil(seconds), 1)
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if left > 2 * size:
            left, name = math.ceil(left / size), unit
            break
    else:
        name = "second"
    return f"{left} {name}" + ("s" if left != 1 else "")
