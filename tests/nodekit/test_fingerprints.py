"""One error has one fingerprint, as a report and as a traceback in a log; two errors have two."""

from __future__ import annotations

import asyncio
import errno
import importlib
import json
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import discord
import pytest
from discord import app_commands
from discord.ext import commands

from nodekit.fingerprints import Place, code_in, fingerprint, fingerprint_of, read_error
from nodekit.reports import describe_error

COG = """\
import asyncio, json, sqlite3

class Nested(Exception):
    pass

def call(work):
    return work()

def command(work):
    value = 1
    return call(work)

def other(work):
    return call(work)

def recurse(work):
    return recurse(work)

def grouped(work):
    async def run():
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(work))
    asyncio.run(run())

async def fail(work):
    work()
"""


@pytest.fixture
def cog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module of a bot's own."""
    (tmp_path / "a_cog.py").write_text(COG)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_cog", raising=False)
    return importlib.import_module("a_cog")


def raised(function: Callable[[Any], object], work: Callable[[], object]) -> BaseException:
    try:
        function(work)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def http_error(kind: type[discord.HTTPException], status: int, reason: str, code: int, message: str) -> Any:
    """Return what raises an error as Discord's answer makes it."""
    response: Any = SimpleNamespace(status=status, reason=reason)

    def work() -> None:
        raise kind(response, {"code": code, "message": message})

    return work


def closed(code: int) -> Any:
    socket: Any = SimpleNamespace(close_code=code)

    def work() -> None:
        raise discord.ConnectionClosed(socket, shard_id=None, code=code)

    return work


def failing(error: BaseException) -> Any:
    def work() -> None:
        raise error

    return work


def wrapped(error: BaseException) -> Any:
    """Return what fails as a command of discord.py does: with an exception around the bot's own."""

    def work() -> None:
        command: Any = SimpleNamespace(name="ban", qualified_name="ban")
        try:
            raise error
        except Exception as cause:
            raise app_commands.CommandInvokeError(command, cause) from cause

    return work


def database(statement: str) -> Any:
    return lambda: sqlite3.connect(":memory:").execute(statement)


def os_error(number: int) -> Any:
    return failing(OSError(number, errno.errorcode[number], "/x"))


DIFFERENT: dict[str, Callable[[], object]] = {
    "50001": http_error(discord.Forbidden, 403, "Forbidden", 50001, "Missing Access"),
    "50013": http_error(discord.Forbidden, 403, "Forbidden", 50013, "Missing Permissions"),
    "10062": http_error(discord.NotFound, 404, "Not Found", 10062, "Unknown interaction"),
    "50035": http_error(discord.HTTPException, 400, "Bad Request", 50035, "Invalid Form Body\nIn content: Required"),
    "4004": closed(4004),
    "4014": closed(4014),
    "ENOSPC": os_error(errno.ENOSPC),
    "ENFILE": os_error(errno.ENFILE),
    "locked": failing(sqlite3.OperationalError("database is locked")),
    "no table": database("SELECT * FROM missing"),
    "no column": database("SELECT missing"),
    "odbc 08001": failing(sqlite3.OperationalError("('08001', '[08001] [Microsoft]Login timeout')")),
    "odbc 42S02": failing(sqlite3.OperationalError("('42S02', '[42S02] [Microsoft]Invalid object name')")),
    "json": lambda: json.loads("{"),
    "module": lambda: importlib.import_module("not_installed_one"),
    "module 2": lambda: importlib.import_module("not_installed_two"),
    "attribute": lambda: None.send,  # type: ignore[attr-defined]
    "attribute 2": lambda: None.edit,  # type: ignore[attr-defined]
    "key": failing(KeyError("user 1")),
    "wrapped": wrapped(ValueError("boom")),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_report_and_a_log_have_one_fingerprint(cog: ModuleType, name: str) -> None:
    error = raised(cog.command, DIFFERENT[name])
    read = read_error("".join(traceback.format_exception(error)).splitlines())
    assert read is not None
    assert read.is_whole
    assert read.fingerprint == fingerprint_of(error) == describe_error(error, source="event", where="x").fingerprint


def test_different_errors_of_one_place_have_different_fingerprints(cog: ModuleType) -> None:
    found = {name: fingerprint_of(raised(cog.command, work)) for name, work in DIFFERENT.items()}
    assert len(set(found.values())) == len(DIFFERENT), found


def test_the_same_error_elsewhere_is_another(cog: ModuleType) -> None:
    work = failing(KeyError("x"))
    assert fingerprint_of(raised(cog.command, work)) != fingerprint_of(raised(cog.other, work))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (KeyError("user 81273"), KeyError("user 4")),
        (OSError(errno.ENOENT, "No such file", "/home/a/1.json"), OSError(errno.ENOENT, "No such file", "/b/2.json")),
        (ValueError("invalid literal for int(): 'abc'"), ValueError("invalid literal for int(): 'xyz'")),
    ],
)
def test_what_varies_in_a_message_does_not_split(cog: ModuleType, one: Exception, other: Exception) -> None:
    assert fingerprint_of(raised(cog.command, failing(one))) == fingerprint_of(raised(cog.command, failing(other)))


def test_line_numbers_and_the_folder_do_not_count(cog: ModuleType, tmp_path: Path) -> None:
    before = fingerprint_of(raised(cog.command, failing(KeyError("x"))))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "a_cog.py").write_text("# a line more\n\n" + COG)
    spec: Any = importlib.util.spec_from_file_location("a_cog_moved", moved / "a_cog.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert fingerprint_of(raised(module.command, failing(KeyError("x")))) == before


def test_the_wrapped_error_counts(cog: ModuleType) -> None:
    plain, inside = failing(ValueError("boom")), wrapped(ValueError("boom"))
    read = read_error("".join(traceback.format_exception(raised(cog.command, inside))).splitlines())
    assert read is not None
    assert read.exception == "ValueError"
    assert fingerprint_of(commands.CommandError()) != read.fingerprint != fingerprint_of(raised(cog.command, plain))


def test_of_chained_errors_the_last_counts(cog: ModuleType) -> None:
    def work() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise RuntimeError("second") from None

    def chained() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise RuntimeError("second") from error

    for one in (work, chained):
        error = raised(cog.command, one)
        read = read_error("".join(traceback.format_exception(error)).splitlines())
        assert read is not None
        assert (read.exception, read.fingerprint) == ("RuntimeError", fingerprint_of(error))


def test_a_group_of_exceptions_is_its_last_one(cog: ModuleType) -> None:
    error = raised(cog.grouped, failing(KeyError("x")))
    read = read_error("".join(traceback.format_exception(error)).splitlines())
    assert read is not None
    assert (read.exception, read.fingerprint) == ("KeyError", fingerprint_of(error))


def test_an_endless_recursion_is_one_error(cog: ModuleType) -> None:
    error = raised(cog.recurse, str)
    read = read_error("".join(traceback.format_exception(error)).splitlines())
    assert read is not None
    assert read.fingerprint == fingerprint_of(error)


def test_a_real_process_that_only_prints(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(COG + "command(lambda: {}['x'])\n")
    ended = subprocess.run([sys.executable, "bot.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    read = read_error(ended.stderr.splitlines())
    assert read is not None
    assert (read.exception, read.message, read.is_whole) == ("KeyError", "'x'", True)
    assert [str(place) for place in read.places] == [
        "bot.py:<module>",
        "bot.py:command",
        "bot.py:call",
        "bot.py:<lambda>",
    ]
    cut = read_error(ended.stderr.splitlines()[-6:])
    assert cut is not None
    assert not cut.is_whole


def test_a_syntax_error_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text("import broken\n")
    (tmp_path / "broken.py").write_text("def (\n")
    ended = subprocess.run([sys.executable, "bot.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    read = read_error(ended.stderr.splitlines())
    assert read is not None
    assert read.exception == "SyntaxError"
    assert str(read.places[-1]) == "broken.py"


def test_an_unhandled_error_of_a_task_is_read(cog: ModuleType) -> None:
    async def fail() -> None:
        cog.command(failing(KeyError("x")))

    async def run() -> BaseException:
        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        error = task.exception()
        assert error is not None
        return error

    error = asyncio.run(run())
    text = ["Task exception was never retrieved", "future: <Task finished name='Task-2' coro=<fail()>>"]
    read = read_error([*text, *"".join(traceback.format_exception(error)).splitlines()])
    assert read is not None
    assert read.fingerprint == fingerprint_of(error)


JAVASCRIPT = """\
/srv/bot/index.js:10
    client.nothing();
           ^

TypeError: client.nothing is not a function
    at run (/srv/bot/index.js:10:8)
    at async Client.emit (node:events:517:28)
    at Object.<anonymous> (/srv/bot/node_modules/discord.js/src/x.js:3:1)
    at /srv/bot/index.js:22:1

Node.js v18.19.0
"""


def test_a_traceback_of_node_is_read() -> None:
    read = read_error(JAVASCRIPT.splitlines())
    moved = read_error(JAVASCRIPT.replace("/srv/bot", "/home/x").replace(":10", ":99").splitlines())
    assert read is not None
    assert moved is not None
    assert (read.exception, read.message) == ("TypeError", "client.nothing is not a function")
    assert read.fingerprint == moved.fingerprint


def test_no_traceback_is_no_error() -> None:
    assert read_error(["INFO ready", "", "ValueError: said without a traceback"]) is None
    assert read_error([]) is None


def test_an_exception_that_cannot_say_what_it_is_has_a_fingerprint() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    report = describe_error(MuteError(), source="task", where="x")
    assert report.message == ""
    assert len(report.fingerprint) == 16


def test_the_code_is_a_part_of_the_message() -> None:
    assert code_in("403 Forbidden (error code: 50013): Missing Permissions") == "403 Forbidden (error code: 50013)"
    assert code_in("[Errno 28] No space left on device: '/srv/7'") == "[Errno 28]"
    assert code_in("user 7 not found") == ""
    assert fingerprint("a.b.Boom", "", [Place("/x/y.py", "f")]) == fingerprint("Boom", "", [Place("y.py", "f")])
