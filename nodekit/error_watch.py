"""What counts as an unhandled error of a discord.py program, and the places where each kind is caught.

What discord.py or its user did wrong is not an error of the program: a command that is not known, an argument that does
not convert, a check that says no. Whatever is caught here reaches the program's own handlers all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeAlias

import discord
from discord import app_commands

Source: TypeAlias = Literal["command", "event", "startup", "task"]
Report: TypeAlias = Callable[[BaseException, Source, str], None]
"""Takes an error, what raised it, and the name of that."""

_LOGGED: dict[str, Source] = {"discord.ui.view": "event", "discord.ui.modal": "event", "discord.ext.tasks": "task"}
"""Loggers to which discord.py tells errors that it dispatches to nobody."""


def watch_listeners(client: discord.Client, report: Report) -> None:
    """Report what event listeners raise."""
    run_event = client._run_event

    async def watched(coro: Callable[..., Coroutine[Any, Any, Any]], name: str, *args: Any, **kwargs: Any) -> None:
        async def listener(*args: Any, **kwargs: Any) -> None:
            try:
                await coro(*args, **kwargs)
            except Exception as error:
                report(error, "event", name)
                raise

        await run_event(listener, name, *args, **kwargs)

    client._run_event = watched  # type: ignore[method-assign, assignment]


def watch_commands(client: discord.Client, report: Report) -> None:
    """Report what slash commands and context menus raise; called when the client's command tree is complete."""
    tree = client._connection._command_tree
    if tree is None:
        return
    on_error = tree.on_error

    async def watched(interaction: discord.Interaction[Any], error: app_commands.AppCommandError) -> None:
        if not isinstance(error, (app_commands.CheckFailure, app_commands.TransformerError)):
            name = f"/{interaction.command.qualified_name}" if interaction.command else "an unknown command"
            report(error.__cause__ or error, "command", name)
        await on_error(interaction, error)

    tree.on_error = watched  # type: ignore[method-assign]


def report_text_command(report: Report, context: Any, error: BaseException) -> None:
    """Report what a text command raised, from discord.py's event ``command_error``."""
    from discord.ext import commands

    if isinstance(error, commands.HybridCommandError):
        error = error.original
    if isinstance(error, (commands.CommandInvokeError, commands.ConversionError, app_commands.CommandInvokeError)):
        report(error.original, "command", str(context.command))


def watch_logged(report: Report) -> None:
    """Report what views, modals and ``discord.ext.tasks`` raise, where the program handles it itself nowhere."""
    for name, source in _LOGGED.items():
        logging.getLogger(name).addFilter(_filter_of(source, report))


def _filter_of(source: Source, report: Report) -> Callable[[logging.LogRecord], bool]:
    # A filter, no handler: with one, logging would no longer print what a program without any set-up logs.
    def look(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and str(record.msg).startswith(("Ignoring exception", "Unhandled exception")):
            what = record.args[0] if isinstance(record.args, tuple) and record.args else record.name
            report(error, source, what if isinstance(what, str) else type(what).__name__)
        return True

    return look


def watch_tasks(loop: asyncio.AbstractEventLoop, report: Report) -> None:
    """Report tasks that ended with an error that nobody looked at, unless the program does so itself."""
    if loop.get_exception_handler() is not None:
        return

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        error, task = context.get("exception"), context.get("task") or context.get("future")
        if isinstance(error, Exception):
            report(error, "task", task.get_name() if isinstance(task, asyncio.Task) else "a callback")

    loop.set_exception_handler(handle)
