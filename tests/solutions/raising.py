"""How an error of a bot is made to happen and looked at; ``raised_*.py`` hold the errors, a field each."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import discord
import discord.gateway
import discord.http

from master.services.healing.sighting import SeenIn
from master.supervision.process import ExitReport
from nodekit.endpoints import apply_endpoints
from nodekit.reports import describe_error
from nodekit.running import LineFormatter
from sandbox import BotHandle, Sandbox

Source = Literal["command", "event", "startup", "task"]


@dataclass
class Place:
    """Where errors are made: a folder, and, for those that need it, a local Discord with a bot."""

    folder: Path
    leaving: contextlib.AsyncExitStack

    async def discord(self) -> tuple[Sandbox, BotHandle]:
        """Return Discord and a bot; discord.py goes there from now on."""
        sandbox = await self.leaving.enter_async_context(Sandbox())
        route, gateway = discord.http.Route, discord.gateway.DiscordWebSocket
        self.leaving.enter_context(patch.object(route, "BASE", route.BASE))
        self.leaving.enter_context(patch.object(gateway, "DEFAULT_GATEWAY", gateway.DEFAULT_GATEWAY))
        self.leaving.enter_context(
            patch.object(discord.http, "INTERNAL_API_VERSION", discord.http.INTERNAL_API_VERSION)
        )
        apply_endpoints(sandbox.api_base, sandbox.gateway_url)
        return sandbox, sandbox.create_bot("Atlas")


@dataclass(frozen=True)
class Shown:
    """What was seen of an error, where."""

    seen_in: SeenIn
    text: str


Happening = Callable[[Place], Awaitable[list[Shown]]]
Work = Callable[[Place], Awaitable[object]]


@dataclass(frozen=True)
class Case:
    """An error, and the solutions that know it."""

    name: str
    solution: str
    also: frozenset[str]
    """Other solutions that are right to know it."""
    captures: dict[str, str]
    happen: Happening


CASES: list[Case] = []


class Unavailable(Exception):
    """Something that a case needs is not there."""


# How an error shows


def of_exception(error: BaseException, source: Source, where: str) -> list[Shown]:
    """Return a traceback as Python prints it, as the end of a process, and as nodekit's report."""
    printed = "".join(traceback.format_exception(error))
    report = describe_error(error, source=source, where=where)
    first = f"{report.source} {report.where}: {report.exception}: {report.message}"
    last_lines = printed.splitlines()[-20:]
    shown = [
        Shown(SeenIn.STDERR, printed),
        Shown(SeenIn.EXIT, "\n".join([str(ExitReport(exit_code=1)), *last_lines])),
        Shown(SeenIn.REPORT, f"{first}\n{report.traceback}"),
        # What is left of a report whose traceback was too long for its last line.
        Shown(SeenIn.REPORT, first),
    ]
    if not where.startswith("cogs/"):
        # The intake for sentry-sdk says the same, but for the file of a cog.
        shown.append(Shown(SeenIn.REPORT, f"sentry {first.partition(' ')[2]}"))
    return shown


def _formatters() -> list[logging.Formatter]:
    """Return the forms of logs: discord.py's own (in colour in a container), nodekit's, logging's, a common one."""
    found = [LineFormatter(), logging.Formatter(logging.BASIC_FORMAT), logging.Formatter("%(message)s")]
    for has_colours in (False, True):
        handler = logging.StreamHandler(io.StringIO())
        with (
            patch("discord.utils.stream_supports_colour", lambda stream, answer=has_colours: answer),
            patch.object(logging.Logger, "addHandler"),
        ):
            discord.utils.setup_logging(handler=handler, root=False)
        assert handler.formatter is not None
        found.append(handler.formatter)
    return [*found, logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s")]


@contextmanager
def listening_to_logs() -> Iterator[list[Shown]]:
    """Collect what is logged, in each of the forms that bots have: of discord.py, of nodekit, of logging itself."""
    shown: list[Shown] = []
    streams = [(formatter, io.StringIO()) for formatter in _formatters()]
    handlers = []
    for formatter, stream in streams:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        handlers.append(handler)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield shown
    finally:
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
        for _, stream in streams:
            text = stream.getvalue()
            shown.append(Shown(SeenIn.STDERR, text))
            shown.append(Shown(SeenIn.EXIT, "\n".join([str(ExitReport(exit_code=1)), *text.splitlines()[-20:]])))


# How a case is written


def raises(
    solution: str, *also: str, source: Source = "command", where: str = "/play", **captures: str
) -> Callable[[Work], Work]:
    """Register a function that raises."""

    def register(work: Work) -> Work:
        async def happen(place: Place) -> list[Shown]:
            try:
                await work(place)
            except Unavailable:
                raise
            except Exception as error:
                # The frames of this module are not the bot's.
                return of_exception(error, source, where)
            raise AssertionError("nothing was raised")

        CASES.append(Case(work.__name__, solution, frozenset(also), captures, happen))
        return work

    return register


def logs(solution: str, *also: str, **captures: str) -> Callable[[Work], Work]:
    """Register a function that has a library log."""

    def register(work: Work) -> Work:
        async def happen(place: Place) -> list[Shown]:
            with listening_to_logs() as shown:
                await work(place)
            return shown

        CASES.append(Case(work.__name__, solution, frozenset(also), captures, happen))
        return work

    return register


def shows(solution: str, *also: str, **captures: str) -> Callable[[Happening], Happening]:
    """Register a function that returns what is seen."""

    def register(happen: Happening) -> Happening:
        CASES.append(Case(happen.__name__, solution, frozenset(also), captures, happen))
        return happen

    return register


# What several of them need


async def run_program(place: Place, *arguments: str) -> list[Shown]:
    """Run Python, and show what it writes and how it ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        *arguments,
        cwd=place.folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, output = await process.communicate()
    code = process.returncode or 0
    report = ExitReport(signal=-code) if code < 0 else ExitReport(exit_code=code)
    text = output.decode()
    return [Shown(SeenIn.STDERR, text), Shown(SeenIn.EXIT, "\n".join([str(report), *text.splitlines()[-20:]]))]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
