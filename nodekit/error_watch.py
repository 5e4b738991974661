"""Detects unhandled errors of a discord.py program, with a hook for each kind.

Errors of a command's user are not reported: an unknown command, an argument that cannot be converted, a failed check.
Every error still reaches the program's own handlers.
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
"""Called with an error, the kind of its source, and the source's name."""

_LOGGED: dict[str, Source] = {"discord.ui.view": "event", "discord.ui.modal": "event", "discord.ext.tasks": "task"}
"""Loggers of discord.py for errors that it does not dispatch as events."""


def watch_listeners(client: discord.Client, report: Report) -> None:
    """Report exceptions of event listeners."""
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
    """Report exceptions of slash commands and context menus; call it when the client's command tree is complete."""
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
    """Report an exception of a text command, from discord.py's event ``command_error``."""
    from discord.ext import commands

    if isinstance(error, commands.HybridCommandError):
        error = error.original
    if isinstance(error, (commands.CommandInvokeError, commands.ConversionError, app_commands.CommandInvokeError)):
        report(error.original, "command", str(context.command))


def watch_logged(report: Report) -> None:
    """Report exceptions of views, modals and ``discord.ext.tasks`` that the program does not handle itself."""
    for name, source in _LOGGED.items():
        logging.getLogger(name).addFilter(_filter_of(source, report))


def _filter_of(source: Source, report: Report) -> Callable[[logging.LogRecord], bool]:
    # A filter instead of a handler: a handler would disable logging's last-resort output in programs without set-up.
    def look(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and str(record.msg).startswith(("Ignoring exception", "Unhandled exception")):
            what = record.args[0] if isinstance(record.args, tuple) and record.args else record.name
            report(error, source, what if isinstance(what, str) else type(what).__name__)
        return True

    return look


def watch_tasks(loop: asyncio.AbstractEventLoop, report: Report) -> None:
    """Report task exceptions that were never retrieved, unless the program has its own exception handler."""
    if loop.get_exception_handler() is not None:
        return

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        error, task = context.get("exception"), context.get("task") or context.get("future")
        if isinstance(error, Exception):
            report(error, "task", task.get_name() if isinstance(task, asyncio.Task) else "a callback")

    loop.set_exception_handler(handle)
