"""Errors of modules that are missing or of another version, made to happen."""

from __future__ import annotations

import importlib
import sys
from unittest.mock import patch

from discord.ext import commands

from tests.solutions.raising import Place, Shown, raises, run_program, shows

# CROSS raised_at_ends ['_run']


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
    return await run_program(place, "-m", "aiosqlite_of_nobody")


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
