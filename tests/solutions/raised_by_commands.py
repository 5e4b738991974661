"""Errors of extensions and commands, made to happen."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import sys
from typing import NoReturn
from unittest.mock import patch

import discord
import discord.gateway
import discord.http
from discord import app_commands
from discord.ext import commands, tasks

from tests.solutions.raising import Place, Shown, logs, raises, run_program, shows

# CROSS raised_by_discord ['invalid_form_body']
# CROSS raised_by_modules ['missing_module']
# CROSS raised_at_ends ['_run']


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
    return await run_program(place, "-c", "async def send(): pass\nsend()")
