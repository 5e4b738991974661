"""Which errors of a program are reported, and which are none."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands, tasks

from nodekit.error_watch import report_text_command, watch_commands, watch_listeners, watch_logged, watch_tasks


class Reports:
    """What was reported, and an event for it."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, str]] = []
        self.came = asyncio.Event()

    def __call__(self, error: BaseException, source: str, where: str) -> None:
        self.all.append((type(error).__name__, source, where))
        self.came.set()

    async def next(self) -> tuple[str, str, str]:
        await asyncio.wait_for(self.came.wait(), 5)
        self.came.clear()
        return self.all[-1]


class Shop(discord.ui.View):
    """A view that does not handle its errors."""


async def test_a_listeners_error_reaches_the_program_and_the_report() -> None:
    reports, handled = Reports(), asyncio.Event()
    async with discord.Client(intents=discord.Intents.none()) as client:
        watch_listeners(client, reports)

        @client.event
        async def on_delivery(parcel: str) -> None:
            raise LookupError(parcel)

        @client.event
        async def on_error(event: str, *_args: Any) -> None:
            if event == "on_delivery":
                handled.set()

        client.dispatch("delivery", "lost")
        assert await reports.next() == ("LookupError", "event", "on_delivery")
        await asyncio.wait_for(handled.wait(), 5)


async def test_a_task_loop_and_a_view_are_reported_where_discord_py_only_logs() -> None:
    reports = Reports()
    watch_logged(reports)

    @tasks.loop(count=1)
    async def chores() -> None:
        raise KeyError("the broom")

    chores.start()
    assert await reports.next() == ("KeyError", "task", "chores")
    item: Any = SimpleNamespace()
    interaction: Any = SimpleNamespace()
    await Shop().on_error(interaction, ValueError("sold out"), item)
    assert await reports.next() == ("ValueError", "event", "Shop")


async def test_a_task_that_nobody_looks_at_is_reported() -> None:
    reports = Reports()
    loop = asyncio.get_running_loop()
    watch_tasks(loop, reports)

    async def fail() -> None:
        raise OSError("no paper")

    task = asyncio.create_task(fail(), name="printing")
    await asyncio.wait({task})
    del task
    assert await reports.next() == ("OSError", "task", "printing")


async def test_a_program_that_looks_at_its_tasks_itself_goes_on_doing_so() -> None:
    loop = asyncio.get_running_loop()

    def own(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
        """Nothing."""

    loop.set_exception_handler(own)
    watch_tasks(loop, Reports())
    assert loop.get_exception_handler() is own


def test_a_users_mistake_in_a_text_command_is_no_error() -> None:
    reports = Reports()
    context = SimpleNamespace(command="roll")
    mistakes = [commands.CommandNotFound(), commands.BadArgument(), commands.NotOwner(), commands.DisabledCommand()]
    for mistake in mistakes:
        report_text_command(reports, context, mistake)
    assert reports.all == []
    report_text_command(reports, context, commands.CommandInvokeError(ZeroDivisionError()))
    assert reports.all == [("ZeroDivisionError", "command", "roll")]


async def test_a_failed_check_of_a_slash_command_is_no_error_and_reaches_the_program() -> None:
    reports, seen = Reports(), list[str]()
    async with commands.Bot("!", intents=discord.Intents.none()) as bot:

        @bot.tree.error
        async def on_error(_interaction: Any, error: app_commands.AppCommandError) -> None:
            seen.append(type(error).__name__)

        watch_commands(bot, reports)
        interaction: Any = SimpleNamespace(command=SimpleNamespace(qualified_name="shop open"))
        await bot.tree.on_error(interaction, app_commands.MissingRole("keeper"))
        assert reports.all == []
        broken = app_commands.AppCommandError()
        broken.__cause__ = RuntimeError("closed")
        await bot.tree.on_error(interaction, broken)
    assert reports.all == [("RuntimeError", "command", "/shop open")]
    assert seen == ["MissingRole", "AppCommandError"]
