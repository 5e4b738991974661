"""The real errors of the shipped solutions, each made to happen: their samples are what is printed here."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import gc
import importlib
import io
import json
import logging
import os
import resource
import signal
import socket
import sqlite3
import ssl
import struct
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn
from unittest.mock import patch

import aiohttp
import discord
import discord.gateway
import discord.http
import sqlalchemy.exc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from discord import app_commands
from discord.ext import commands, tasks

import nodekit.running
from handshake.boot import BootDocument
from handshake.messages import Heartbeat
from master.services.healing.sighting import SeenIn
from master.supervision.process import ExitReport
from master.supervision.runner import OVER_MEMORY_LIMIT
from nodekit.endpoints import apply_endpoints
from nodekit.identify_budget import IdentifyBudgetSpent
from nodekit.link import NodeFacts, NodeLink, _warn_of_skew
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


# Discord, by HTTP


async def _ask(
    place: Place,
    status: int,
    body: dict[str, Any] | str,
    *,
    count: int = 1,
    path: str = "/channels/1",
    **headers: str,
) -> object:
    """Have discord.py ask something that is answered like this."""
    sandbox, bot = await place.discord()
    raw, kind = (body, "text/html") if isinstance(body, str) else (json.dumps(body), "application/json")
    sandbox.faults.answer_raw(
        raw.encode(), status=status, content_type=kind, headers=headers, path_contains=path, count=count
    )
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(bot.token)
        return await client.fetch_channel(1)


@raises("missing_permissions")
async def missing_permissions(place: Place) -> None:
    await _ask(place, 403, {"code": 50013, "message": "Missing Permissions"})


@raises("missing_access")
async def missing_access(place: Place) -> None:
    await _ask(place, 403, {"code": 50001, "message": "Missing Access"})


@raises("missing_permissions")
async def missing_permissions_in_a_command(place: Place) -> None:
    try:
        await missing_permissions(place)
    except discord.Forbidden as error:
        raise commands.CommandInvokeError(error) from error


@raises("unknown_interaction")
async def unknown_interaction(place: Place) -> None:
    await _ask(place, 404, {"code": 10062, "message": "Unknown interaction"})


@raises("interaction_already_acknowledged")
async def already_acknowledged(place: Place) -> None:
    await _ask(place, 400, {"code": 40060, "message": "Interaction has already been acknowledged."})


@raises("interaction_already_acknowledged")
async def responded_twice(place: Place) -> None:
    response = discord.InteractionResponse(object())  # type: ignore[arg-type]
    response._response_type = discord.InteractionResponseType.pong
    response._parent = type("Parent", (), {"user": None})()
    await response.send_message("again")


@raises("unknown_channel")
async def unknown_channel(place: Place) -> None:
    await _ask(place, 404, {"code": 10003, "message": "Unknown Channel"})


@raises("unknown_message")
async def unknown_message(place: Place) -> None:
    await _ask(place, 404, {"code": 10008, "message": "Unknown Message"})


@raises("user_takes_no_messages")
async def user_takes_no_messages(place: Place) -> None:
    await _ask(place, 403, {"code": 50007, "message": "Cannot send messages to this user"})


@raises("upload_too_large")
async def upload_too_large(place: Place) -> None:
    await _ask(place, 413, {"code": 40005, "message": "Request entity too large"})


@raises("invalid_form_body")
async def invalid_form_body(place: Place) -> None:
    too_long = {
        "content": {"_errors": [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer in length."}]}
    }
    await _ask(place, 400, {"code": 50035, "message": "Invalid Form Body", "errors": too_long})


@raises("discord_server_error")
async def discord_server_error(place: Place) -> None:
    await _ask(place, 503, "upstream connect error or disconnect/reset before headers")


@raises("library_too_old", where="on_ready", source="event")
async def api_version_refused(place: Place) -> None:
    await _ask(place, 400, {"code": 50041, "message": "Invalid API version provided"})


CLOUDFLARE = """<!DOCTYPE html>
<html lang="en-US"><head><title>Access denied | discord.com used Cloudflare to restrict access</title></head>
<body><h1>Error 1015</h1><h2>You are being rate limited</h2></body></html>"""


@raises("cloudflare_ban")
async def cloudflare_ban(place: Place) -> None:
    await _ask(place, 429, CLOUDFLARE)


@raises("rate_limited", "rate_limited_and_ended")
async def rate_limited_for_good(place: Place) -> None:
    body = {"message": "You are being rate limited.", "retry_after": 0.001, "global": False}
    await _ask(place, 429, body, count=5, Via="1.1 google")


@raises("rate_limited", "rate_limited_and_ended")
async def rate_limited_longer_than_allowed(place: Place) -> NoReturn:
    raise discord.RateLimited(1432.5)


@shows("rate_limited_and_ended")
async def rate_limited_and_ended(place: Place) -> list[Shown]:
    try:
        await rate_limited_for_good(place)
    except discord.HTTPException as error:
        return [one for one in of_exception(error, "startup", "main") if one.seen_in is SeenIn.EXIT]
    raise AssertionError("nothing was raised")


@logs("rate_limit_warning")
async def rate_limit_warning(place: Place) -> None:
    sandbox, bot = await place.discord()
    body = {"message": "You are being rate limited.", "retry_after": 0.001, "global": False}
    sandbox.faults.answer_raw(
        json.dumps(body).encode(), status=429, headers={"Via": "1.1 google"}, path_contains="/users/@me"
    )
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(bot.token)


@logs("global_rate_limit", "rate_limit_warning")
async def global_rate_limit(place: Place) -> None:
    sandbox, bot = await place.discord()
    body = {"message": "You are being rate limited.", "retry_after": 0.001, "global": True}
    sandbox.faults.answer_raw(
        json.dumps(body).encode(), status=429, headers={"Via": "1.1 google"}, path_contains="/users/@me"
    )
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(bot.token)


# Logging in, and the gateway


@raises("token_refused", where="on_connect", source="event")
async def token_refused(place: Place) -> None:
    _, bot = await place.discord()
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(bot.token[:-4] + "nope")


@raises("token_missing", where="setup", source="startup")
async def token_missing(place: Place) -> None:
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(os.environ.get("TOKEN_OF_NOBODY"))  # type: ignore[arg-type]


async def _closed_with(place: Place, code: int) -> None:
    sandbox, bot = await place.discord()
    sandbox.faults.refuse_identify(bot.account, code)
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.start(bot.token)


@raises("intents_refused", where="gateway", source="event")
async def intents_refused(place: Place) -> None:
    await _closed_with(place, 4014)


@raises("intents_invalid", where="gateway", source="event")
async def intents_invalid(place: Place) -> None:
    await _closed_with(place, 4013)


@raises("library_too_old", where="gateway", source="event")
async def gateway_version_refused(place: Place) -> None:
    await _closed_with(place, 4012)


@raises("sharding_needed", where="gateway", source="event")
async def sharding_needed(place: Place) -> None:
    await _closed_with(place, 4011)


@raises("sharding_needed", where="gateway", source="event")
async def shard_refused(place: Place) -> None:
    await _closed_with(place, 4010)


@raises("token_refused", where="gateway", source="event")
async def token_refused_by_the_gateway(place: Place) -> None:
    await _closed_with(place, 4004)


def _closes(code: int, solution: str) -> None:
    async def closed(place: Place) -> list[Shown]:
        return [Shown(SeenIn.GATEWAY_CLOSE, f"gateway closed with {code}")]

    CASES.append(Case(f"gateway_{code}", solution, frozenset(), {"code": str(code)}, closed))


for _code, _solution in {
    4000: "gateway_reconnects",
    4001: "gateway_reconnects",
    4002: "gateway_reconnects",
    4003: "gateway_session_refused",
    4004: "token_refused",
    4005: "gateway_reconnects",
    4007: "gateway_session_refused",
    4008: "gateway_reconnects",
    4009: "gateway_reconnects",
    4010: "sharding_needed",
    4011: "sharding_needed",
    4012: "library_too_old",
    4013: "intents_invalid",
    4014: "intents_refused",
}.items():
    _closes(_code, _solution)


class _Blocked:
    """The answer of an event loop that is blocked ``times`` times ten seconds."""

    def __init__(self, times: int) -> None:
        self.left = times

    def result(self, timeout: float | None = None) -> None:
        self.left -= 1
        if self.left >= 0:
            raise TimeoutError


class _Socket:
    """What discord.py's heartbeat, and nodekit's bounds on it, need of a connection."""

    socket = threading.Event()
    thread_id = threading.get_ident()
    _max_heartbeat_timeout = 60.0
    sequence = 1
    HEARTBEAT = 1
    loop = None

    async def send_heartbeat(self, data: object) -> None:
        """Do nothing."""

    async def close(self, code: int) -> None:
        """Do nothing."""


def _beat(times: int, *, silent_s: float = 0.0) -> None:
    """Run discord.py's own heartbeat; only its waits are cut short, ten seconds each."""
    from discord.gateway import KeepAliveHandler

    beat = KeepAliveHandler(ws=_Socket(), interval=0.001, shard_id=0)  # type: ignore[arg-type]
    beat._last_recv -= silent_s

    def submit(coro: Any, loop: object) -> _Blocked:
        coro.close()
        beat.stop()
        return _Blocked(times)

    with patch("asyncio.run_coroutine_threadsafe", submit):
        beat.run()


@logs("heartbeat_blocked")
async def heartbeat_blocked(place: Place) -> None:
    _beat(1)


@logs("heartbeat_stuck", "heartbeat_blocked")
async def heartbeat_stuck(place: Place) -> None:
    _beat(6)


@logs("gateway_stopped_responding")
async def gateway_stopped_responding(place: Place) -> None:
    _beat(0, silent_s=61)


@logs("event_loop_stalled")
async def event_loop_stalled(place: Place) -> None:
    boot = BootDocument(
        node_id="0" * 26, name="atlas", token="t", key=b"k" * 32, key_epoch=1, channel_pulse_interval_s=0.01
    )
    link = NodeLink(
        boot,
        NodeFacts(licence="l", version="1.0.0", bot_user_id=1, library=""),
        describe=lambda: Heartbeat(uptime_s=0, latency_ms=0, guilds=0),
        post_to_channel=None,
        on_refused=print,
    )
    with patch("nodekit.link.STALL_S", 0.04):
        pulsing = asyncio.create_task(link._pulse_until_asked())
        await asyncio.sleep(0)
        await _block(0.06)
        await asyncio.sleep(0.001)
        pulsing.cancel()
        await asyncio.wait({pulsing})


@logs("event_loop_stalled")
async def slow_callback(place: Place) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
    try:
        await asyncio.create_task(_block(0.01))
        await asyncio.sleep(0)
    finally:
        loop.set_debug(False)


async def _block(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - this is the error


@logs("gateway_send_limit")
async def gateway_send_limit(place: Place) -> None:
    from discord.gateway import GatewayRatelimiter

    limiter = GatewayRatelimiter(count=1, per=0.05)
    limiter.shard_id = 0
    for _ in range(2):
        await limiter.block()


@logs("message_content_missing")
async def message_content_missing(place: Place) -> None:
    async with commands.Bot("!", intents=discord.Intents.default()):
        """The warning is of its beginning."""


# Modules


@raises("missing_module", where="cogs/store.py", source="startup", module="aiosqlite_of_nobody")
async def missing_module(place: Place) -> None:
    importlib.import_module("aiosqlite_of_nobody")


@raises("missing_module", where="cogs/store.py", source="startup", module="aiosqlite_of_nobody")
async def missing_submodule(place: Place) -> None:
    importlib.import_module("aiosqlite_of_nobody.connection")


@raises("own_module_missing", where="cogs/store.py", source="startup", module="utils.money")
async def own_module_missing(place: Place) -> None:
    with patch.object(sys, "path", []), patch.dict(sys.modules):
        sys.modules["utils"] = type(sys)("utils")
        sys.modules["utils"].__path__ = []
        importlib.import_module("utils.money")


@raises("removed_from_python", where="cogs/music.py", source="startup", module="audioop")
async def removed_from_python(place: Place) -> None:
    with patch.object(sys, "path", []), patch.dict(sys.modules):
        sys.modules.pop("audioop", None)
        importlib.import_module("audioop")


@shows("missing_module", module="aiosqlite_of_nobody")
async def missing_main_module(place: Place) -> list[Shown]:
    return await _run(place, "-m", "aiosqlite_of_nobody")


@raises("import_error", where="cogs/store.py", source="startup")
async def import_error(place: Place) -> None:
    exec("from discord.ext.commands import Kommand")  # noqa: S102


@raises("import_error", where="cogs/store.py", source="startup")
async def import_error_of_an_old_library(place: Place) -> None:
    exec("from discord import slash_command_of_tomorrow")  # noqa: S102


@raises("syntax_error", where="cogs/store.py", source="startup")
async def syntax_error(place: Place) -> None:
    compile("def f(:\n", "cogs/store.py", "exec")


@raises("syntax_error", where="cogs/store.py", source="startup")
async def indentation_error(place: Place) -> None:
    compile("def f():\nreturn 1\n", "cogs/store.py", "exec")


@raises("program_for_an_old_library", where="setup", source="startup")
async def no_intents(place: Place) -> None:
    commands.Bot("!")  # type: ignore[call-arg]


# Extensions and commands


async def _load(place: Place, name: str, code: str) -> commands.Bot:
    """Load a cog as the only one of its folder."""
    folder = place.folder / "cogs"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(code, "utf-8")
    bot = commands.Bot("!", intents=discord.Intents.none())
    await bot._async_setup_hook()
    with patch.object(sys, "path", [str(place.folder), *sys.path]), patch.dict(sys.modules):
        sys.modules.pop("cogs", None)
        importlib.invalidate_caches()
        await bot.load_extension(f"cogs.{name}")
        await bot.load_extension(f"cogs.{name}")
    return bot


@raises("extension_failed", where="main", cog="cogs.music")
async def extension_failed(place: Place) -> None:
    await _load(place, "music", "async def setup(bot):\n    raise ValueError('boom')\n")


@raises("extension_failed", "missing_module", where="main", cog="cogs.music")
async def extension_failed_for_a_module(place: Place) -> None:
    await _load(place, "music", "import aiosqlite_of_nobody\n")


@raises("extension_cannot_be_loaded", where="main", cog="cogs.music")
async def extension_without_setup(place: Place) -> None:
    await _load(place, "music", "x = 1\n")


@raises("extension_cannot_be_loaded", where="main", cog="cogs.nothing")
async def extension_not_found(place: Place) -> None:
    (place.folder / "cogs").mkdir()
    with patch.object(sys, "path", [str(place.folder), *sys.path]), patch.dict(sys.modules):
        sys.modules.pop("cogs", None)
        importlib.invalidate_caches()
        await commands.Bot("!", intents=discord.Intents.none()).load_extension("cogs.nothing")


@raises("loaded_twice", where="main", name="cogs.music")
async def extension_already_loaded(place: Place) -> None:
    await _load(place, "music", "async def setup(bot):\n    pass\n")


@raises("loaded_twice", where="main", name="Music")
async def cog_already_loaded(place: Place) -> None:
    bot = commands.Bot("!", intents=discord.Intents.none())
    cog = type("Music", (commands.Cog,), {})
    await bot.add_cog(cog())
    await bot.add_cog(cog())


@raises("loaded_twice", where="main", name="play")
async def slash_command_already_registered(place: Place) -> None:
    bot = commands.Bot("!", intents=discord.Intents.none())
    for _ in range(2):

        @bot.tree.command(name="play", description="Play")
        async def play(interaction: discord.Interaction) -> None:
            """Play."""


@raises("loaded_twice", where="main", name="play")
async def text_command_already_registered(place: Place) -> None:
    bot = commands.Bot("!", intents=discord.Intents.none())
    for _ in range(2):
        # Unlike the tree, a bot reads a name only from an object.
        async def play(context: commands.Context[commands.Bot]) -> None:
            """Play."""

        bot.add_command(commands.Command(play, name="play"))


@raises("commands_out_of_sync", where="an unknown command")
async def command_not_found(place: Place) -> NoReturn:
    raise app_commands.CommandNotFound("play", [])


@raises("commands_out_of_sync")
async def command_signature_mismatch(place: Place) -> None:
    client = discord.Client(intents=discord.Intents.none())
    tree = app_commands.CommandTree(client)

    @tree.command(name="play", description="Play")
    async def play(interaction: discord.Interaction, song: str) -> None:
        """Play."""

    # What happens when Discord's copy of the command has no parameter.
    await play._invoke_with_namespace(object(), app_commands.Namespace.__new__(app_commands.Namespace))  # type: ignore[arg-type]


@raises("commands_refused", "invalid_form_body", where="registering the slash commands", source="startup")
async def commands_refused(place: Place) -> None:
    sandbox, bot = await place.discord()
    wrong = {"0": {"description": {"_errors": [{"code": "BASE_TYPE_BAD_LENGTH", "message": "Must be 1 to 100."}]}}}
    body = json.dumps({"code": 50035, "message": "Invalid Form Body", "errors": wrong}).encode()
    sandbox.faults.answer_raw(body, status=400, method="PUT", path_contains="/commands")
    async with discord.Client(intents=discord.Intents.none()) as client:
        tree = app_commands.CommandTree(client)

        @tree.command(name="play", description="Play")
        async def play(interaction: discord.Interaction) -> None:
            """Play."""

        await client.login(bot.token)
        await tree.sync()


@logs("task_loop_ended")
async def task_loop_ended(place: Place) -> None:
    @tasks.loop()
    async def refresh() -> None:
        raise ValueError("boom")

    with contextlib.suppress(ValueError):
        await refresh.start()


@logs("task_exception_never_retrieved")
async def task_exception_never_retrieved(place: Place) -> None:
    async def work() -> NoReturn:
        raise ValueError("boom")

    task = asyncio.create_task(work())
    await asyncio.wait({task})
    del task
    gc.collect()


@logs("task_destroyed")
async def task_destroyed(place: Place) -> None:
    async def wait_for_nothing() -> None:
        await asyncio.Future()

    task = asyncio.create_task(wait_for_nothing())
    await asyncio.sleep(0)
    del task
    gc.collect()


@shows("never_awaited")
async def never_awaited(place: Place) -> list[Shown]:
    return await _run(place, "-c", "async def send(): pass\nsend()")


# Network


@raises("dns_failed", where="on_message", source="event")
async def dns_failed(place: Place) -> None:
    async with aiohttp.ClientSession() as session:
        await session.get("http://no-such-host.invalid/")


@raises("dns_failed", where="on_message", source="event")
async def dns_failed_of_a_socket(place: Place) -> None:
    socket.getaddrinfo("no-such-host.invalid", 443)


@raises("connection_failed", where="on_message", source="event")
async def connection_refused(place: Place) -> None:
    async with aiohttp.ClientSession() as session:
        await session.get(f"http://127.0.0.1:{_free_port()}/")


@raises("connection_failed", where="on_message", source="event")
async def connection_refused_to_a_socket(place: Place) -> None:
    await asyncio.open_connection("127.0.0.1", _free_port())


@raises("connection_failed", where="on_message", source="event")
async def server_disconnected(place: Place) -> None:
    await _hang_up(abort=False)


@raises("connection_failed", where="on_message", source="event")
async def connection_reset(place: Place) -> None:
    await _hang_up(abort=True)


@raises("connection_failed", where="on_message", source="event")
async def request_timed_out(place: Place) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_read=0.01)) as session:
        await session.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


@raises("cog_failed_for_the_network", "connection_failed", where="cogs/music.py", source="startup", cog="music")
async def cog_failed_for_the_network(place: Place) -> None:
    await connection_refused(place)


@raises("cog_failed_for_the_network", "dns_failed", where="cogs/music.py", source="startup", cog="music")
async def cog_failed_for_want_of_dns(place: Place) -> None:
    await dns_failed(place)


async def _hang_up(*, abort: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if abort:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession() as session:
        await session.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _certificate(folder: Path, begins_in_days: int) -> ssl.SSLContext:
    """Return the context of a server with a certificate that it made itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    begins = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=begins_in_days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + certificate.public_bytes(encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _ask_securely(place: Place, begins_in_days: int, *, is_trusted: bool = False) -> None:
    server = await asyncio.start_server(_greet, "127.0.0.1", 0, ssl=_certificate(place.folder, begins_in_days))
    context = ssl.create_default_context(cafile=str(place.folder / "server.pem") if is_trusted else None)
    async with server, aiohttp.ClientSession() as session:
        await session.get(f"https://localhost:{server.sockets[0].getsockname()[1]}/", ssl=context)


@raises("tls_failed", where="on_message", source="event")
async def certificate_unknown(place: Place) -> None:
    await _ask_securely(place, -1)


@raises("clock_wrong", where="on_message", source="event")
async def certificate_not_yet_valid(place: Place) -> None:
    await _ask_securely(place, 3, is_trusted=True)


@raises("tls_failed", where="on_message", source="event")
async def not_tls_at_all(place: Place) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession() as session:
        await session.get(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


@logs("clock_wrong")
async def clock_differs(place: Place) -> None:
    _warn_of_skew(-73.2)


@raises("closed_session", where="on_message", source="event")
async def session_closed(place: Place) -> None:
    session = aiohttp.ClientSession()
    await session.close()
    await session.get("http://127.0.0.1/")


@raises("closed_session", where="on_message", source="event")
async def loop_closed(place: Place) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    loop.call_soon(print)


@logs("unclosed_session")
async def unclosed_session(place: Place) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        session = aiohttp.ClientSession()
        connector = session.connector
        del session
        gc.collect()
    assert connector is not None
    await connector.close()


@raises("address_in_use", where="main", source="startup")
async def address_in_use(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        await asyncio.start_server(_greet, *taken.getsockname())


@raises("address_in_use", where="main", source="startup")
async def address_in_use_of_a_socket(place: Place) -> None:
    with socket.socket() as taken, socket.socket() as second:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        second.bind(taken.getsockname())


# The box


@raises("disk_full", where="on_message", source="event")
async def disk_full(place: Place) -> None:
    Path("/dev/full").write_bytes(b"x")


@raises("disk_full", where="on_message", source="event")
async def disk_full_for_sqlite(place: Place) -> None:
    database = sqlite3.connect(place.folder / "full.db")
    try:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    finally:
        database.close()


@raises("too_many_open_files", where="on_message", source="event")
async def too_many_open_files(place: Place) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = max(int(one) for one in os.listdir("/proc/self/fd"))
    opened = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 8, limits[1]))
    try:
        while True:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for one in opened:
            os.close(one)


@raises("memory_error", where="on_message", source="event")
async def memory_error(place: Place) -> None:
    bytearray(1 << 62)


@shows("threads_exhausted")
async def threads_exhausted(place: Place) -> list[Shown]:
    # With 60 MB of address space there is none for a thread's stack of 64 MB.
    code = (
        "import resource, threading\n"
        "threading.stack_size(1 << 30)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
        "threading.Thread(target=print).start()\n"
    )
    return await _run(place, "-c", code)


@raises("file_missing", where="on_message", source="event")
async def file_missing(place: Place) -> None:
    (place.folder / "settings.json").read_text("utf-8")


@shows("file_missing")
async def program_missing(place: Place) -> list[Shown]:
    return await _run(place, str(place.folder / "bot.py"))


@raises("permission_denied", where="on_message", source="event")
async def permission_denied(place: Place) -> NoReturn:
    # Tests may run as root, whom no file is refused.
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place.folder / "data.json"))


@raises("read_only_file_system", where="on_message", source="event")
async def read_only_file_system(place: Place) -> NoReturn:
    # A mount would need root.
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "data.json")


@raises("encoding_error", where="on_message", source="event")
async def decoding_error(place: Place) -> None:
    b"\xff\xfe".decode()


@raises("encoding_error", where="on_message", source="event")
async def encoding_error(place: Place) -> None:
    "\U0001f389".encode("latin-1")


@raises("json_damaged", where="on_message", source="event")
async def json_empty(place: Place) -> None:
    json.loads("")


@raises("json_damaged", where="on_message", source="event")
async def json_damaged(place: Place) -> None:
    json.loads('{"prefix": "!",}')


@raises("recursion_error", where="on_message", source="event")
async def recursion_error(place: Place) -> None:
    def again() -> None:
        again()

    again()


@shows("native_crash")
async def native_crash(place: Place) -> list[Shown]:
    silent, ended = await _run(place, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert not silent.text
    return [ended]


@shows("native_crash")
async def native_crash_told_by_faulthandler(place: Place) -> list[Shown]:
    return await _run(place, "-X", "faulthandler", "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")


# Databases


@raises("sqlite_locked", where="on_message", source="event")
async def sqlite_locked(place: Place) -> None:
    path = place.folder / "locked.db"
    with contextlib.closing(sqlite3.connect(path)) as holder:
        holder.execute("CREATE TABLE t (x)")
        holder.execute("BEGIN EXCLUSIVE")
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as database:
            database.execute("INSERT INTO t VALUES (1)")


@raises("sqlite_locked", where="on_message", source="event")
async def sqlite_locked_below_sqlalchemy(place: Place) -> None:
    try:
        await sqlite_locked(place)
    except sqlite3.OperationalError as error:
        raise sqlalchemy.exc.OperationalError("INSERT INTO t VALUES (1)", {}, error) from error


@raises("sqlite_damaged", where="on_message", source="event")
async def sqlite_is_none(place: Place) -> None:
    (place.folder / "bot.db").write_bytes(b"no database at all" * 100)
    with contextlib.closing(sqlite3.connect(place.folder / "bot.db")) as database:
        database.execute("SELECT * FROM t")


@raises("sqlite_damaged", where="on_message", source="event")
async def sqlite_damaged(place: Place) -> None:
    path = place.folder / "damaged.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE t (x)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("SELECT * FROM t").fetchall()


@raises("sqlite_read_only", where="on_message", source="event")
async def sqlite_read_only(place: Place) -> None:
    path = place.folder / "readonly.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.execute("INSERT INTO t VALUES (1)")


@raises("sqlite_table_missing", where="on_message", source="event", table="coins")
async def sqlite_table_missing(place: Place) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("SELECT * FROM coins")


@raises("odbc_driver_missing", where="on_message", source="event")
async def odbc_driver_missing(place: Place) -> None:
    _pyodbc().connect("DRIVER={ODBC Driver 99 for SQL Server};SERVER=127.0.0.1", timeout=1)


@raises("odbc_driver_missing", where="on_message", source="event")
async def odbc_source_missing(place: Place) -> None:
    _pyodbc().connect("DSN=nobody", timeout=1)


@raises("odbc_connection_failed", where="on_message", source="event")
async def odbc_server_away(place: Place) -> None:
    from master.ledger.odbc import wheel_folder

    drivers = sorted((wheel_folder() or place.folder).glob("libs/linux/debian_ubuntu/*/lib/libmsodbcsql-*.so*"))
    if not drivers:
        raise Unavailable("the package mssql-python-odbc is not installed")
    _pyodbc().connect(f"DRIVER={drivers[0]};SERVER=127.0.0.1,{_free_port()};UID=a;PWD=b", timeout=1)


class Unavailable(Exception):
    """Something that a case needs is not there."""


def _pyodbc() -> Any:
    try:
        return importlib.import_module("pyodbc")
    except ImportError as error:
        raise Unavailable("pyodbc or unixODBC is not installed") from error


# Voice


@raises("pynacl_missing")
async def pynacl_missing(place: Place) -> None:
    with patch("discord.voice_client.has_nacl", False):
        discord.VoiceClient(None, None)  # type: ignore[arg-type]


@raises("davey_missing")
async def davey_missing(place: Place) -> None:
    with patch("discord.voice_client.has_nacl", True), patch("discord.voice_client.has_dave", False):
        discord.VoiceClient(None, None)  # type: ignore[arg-type]


@raises("ffmpeg_missing")
async def ffmpeg_missing(place: Place) -> None:
    discord.FFmpegPCMAudio("song.mp3", executable="ffmpeg-of-nobody")


@raises("opus_missing")
async def opus_missing(place: Place) -> None:
    with patch("discord.opus._lib", None), patch("discord.opus._load_default", lambda: False):
        discord.opus.Encoder()


# The end of a process, as the supervisor says it


async def _run(place: Place, *arguments: str) -> list[Shown]:
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


def _ends(name: str, solution: str, detail: str, *lines: str) -> None:
    async def ended(place: Place) -> list[Shown]:
        return [Shown(SeenIn.EXIT, "\n".join([detail, *lines]))]

    CASES.append(Case(name, solution, frozenset(), {}, ended))


_KILLED = ExitReport(signal=signal.SIGKILL, cpu_s=1.2, peak_rss_bytes=90 << 20)
_ENDED = ExitReport(signal=signal.SIGTERM)
_ends("oom_hard_limit", "out_of_memory", f"out of memory: it went above its hard limit: {_KILLED}; {_KILLED.used}")
_ends("oom_of_the_box", "oom_kill", f"out of memory: the kernel ended it, the box has too little: {_KILLED}")
_ends(
    "oom_told", "out_of_memory", f"out of memory: it needs more than its hard limit of 90 MB: {ExitReport(exit_code=1)}"
)
_ends("over_its_limit", "out_of_memory", f"{OVER_MEMORY_LIMIT} (120 of 100 MB): {_ENDED}")
_ends("no_pulse", "no_pulse", f"no pulse for 27 s: {_KILLED}")
_ends("no_pulse_stopped", "no_pulse", f"no pulse for 27 s; it is stopped by a signal: {_KILLED}")
_ends("not_ready", "not_ready_in_time", f"not ready within 60 s: {_ENDED}")


# What nodekit says before it ends


async def _run_node(place: Place, token: str) -> None:
    await nodekit.running._run(lambda: discord.Client(intents=discord.Intents.none()), token)


@logs("token_refused")
async def token_refused_to_a_node(place: Place) -> None:
    _, bot = await place.discord()
    await _run_node(place, bot.token[:-4] + "nope")


@logs("intents_refused")
async def intents_refused_to_a_node(place: Place) -> None:
    sandbox, bot = await place.discord()
    sandbox.faults.refuse_identify(bot.account, 4014)
    await _run_node(place, bot.token)


@logs("token_refused")
async def node_closed_for_its_token(place: Place) -> None:
    sandbox, bot = await place.discord()
    sandbox.faults.refuse_identify(bot.account, 4004)
    await _run_node(place, bot.token)


@logs("shutdown_stuck")
async def shutdown_stuck(place: Place) -> None:
    """A bot whose close() does not end is asked to end, by a signal as the master sends it."""
    _, bot = await place.discord()
    asked, released = asyncio.Event(), asyncio.Event()

    class Stuck(discord.Client):
        async def setup_hook(self) -> None:
            signal.raise_signal(signal.SIGTERM)

        async def close(self) -> None:
            asked.set()
            await released.wait()
            await super().close()

    with patch("nodekit.ending.STUCK_AFTER_S", 0.05), patch("nodekit.running.keep_connected"):
        running = asyncio.create_task(nodekit.running._run(lambda: Stuck(intents=discord.Intents.none()), bot.token))
        await asked.wait()
        for watch in threading.enumerate():
            if watch.name == "ending":
                await asyncio.to_thread(watch.join)
        released.set()
        await running


@logs("token_missing")
async def token_missing_to_a_node(place: Place) -> None:
    with patch("nodekit.running.program_folder", lambda: place.folder), patch("nodekit.running.set_up_logging"):
        nodekit.running.run(lambda: discord.Client(intents=discord.Intents.none()))


@logs("identifies_spent")
async def identifies_spent(place: Place) -> None:
    logging.getLogger("nodekit.attachment").error("%s", IdentifyBudgetSpent(3_600))
