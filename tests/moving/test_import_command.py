"""`fleet import` as an operator types it, with a real master and real programs."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from master.demonstration.stage import EventTap, Stage
from tests.moving.typing_in import said_by, typed

pytestmark = pytest.mark.timeout(120)

BOT = """
import os
import discord
from discord.gateway import DiscordWebSocket
from discord.http import Route
import yarl
Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = os.environ["API"], yarl.URL(os.environ["GATEWAY"])
bot = discord.Client(intents=discord.Intents.default())
@bot.event
async def on_ready():
    print("as", bot.user.name, os.environ.get("MOOD"), flush=True)
bot.run(os.environ["DISCORD_TOKEN"])
"""
SLEEPER = "import signal\nprint('up', flush=True)\nsignal.pause()\n"


def folder_with(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def saved(name: str, folder: Path, file: str, **more: Any) -> dict[str, Any]:
    """Return a process as `pm2 save` writes it."""
    return {
        "name": name,
        "pm_exec_path": str(folder / file),
        "pm_cwd": str(folder),
        "exec_interpreter": sys.executable,
        "status": "online",
        **more,
    }


@pytest.fixture
async def elsewhere() -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Yield a list for processes that the fleet did not start; they are ended."""
    started: list[asyncio.subprocess.Process] = []
    yield started
    for process in started:
        process.kill()
        await process.wait()


@pytest.mark.slow
async def test_a_bot_and_a_program_of_pm2_become_nodes(stage: Stage, tap: EventTap, tmp_path: Path) -> None:
    bot = stage.create_bot("atlas")
    token = bot.token
    variables = {
        **{"DISCORD_TOKEN": token, "API": stage.sandbox.api_base, "GATEWAY": stage.sandbox.gateway_url},
        **{"MOOD": 'it\'s "fine"', "PATH": os.environ["PATH"], "SSH_CONNECTION": "1 2 3 4", "HOME": "/root"},
    }
    atlas = folder_with(tmp_path / "atlas", bot=BOT)
    plain = folder_with(tmp_path / "plain", run=SLEEPER)
    dump = tmp_path / ".pm2" / "dump.pm2"
    dump.parent.mkdir()
    dump.write_text(
        json.dumps(
            [
                saved("atlas", atlas, "bot.py", env=variables, max_memory_restart=300 * 2**20),
                saved("my plain.one", plain, "run.py", env={"A": "1"}),
                saved("gone", tmp_path / "gone", "run.py"),
            ]
        )
    )
    # Without a file it is what PM2 saved.
    seen = await typed("import", "--dry-run", home=stage.home, user_home=tmp_path)
    assert (seen.returncode, "Nothing was changed" in seen.stderr) == (0, True), seen.stderr
    assert (await stage.status()).nodes == ()
    for said in ("atlas ", " bot.py ", "DISCORD_TOKEN", "memory limit 300 MB", "no token"):
        assert said in seen.stdout
    assert f"gone: there is no folder {tmp_path}/gone" in seen.stdout.replace("\n  ", " ")
    assert token not in seen.stdout + seen.stderr

    asked = await typed("import", home=stage.home, user_home=tmp_path)
    assert (asked.returncode, (await stage.status()).nodes) == (2, ())

    done = await typed("import", "--yes", home=stage.home, user_home=tmp_path)
    assert done.returncode == 1, (done.stdout, done.stderr)  # for the one in whose way something is
    await tap.wait_for("ready", "atlas")
    await tap.wait_for("ready", "my-plain-one")
    node = await stage.node("atlas")
    assert (node.bot_user_id, node.folder) == (str(bot.id), str(atlas))
    assert (await stage.node("my-plain-one")).bot_user_id == "0"
    await said_by(stage, "atlas", 'as atlas it\'s "fine"')
    file = stage.home / "env" / "atlas.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "SSH_CONNECTION" not in file.read_text()
    # The token is where the bot reads it, and nowhere else.
    assert holders(stage.home, token) == {file}
    assert token not in done.stdout + done.stderr

    again = await typed("import", "--yes", "--json", home=stage.home, user_home=tmp_path)
    assert again.returncode == 1, again.stdout
    assert [program["outcome"] for program in json.loads(again.stdout)["programs"]] == [
        *("present", "present", "impossible"),
    ]


def holders(home: Path, token: str) -> set[Path]:
    return {path for path in home.rglob("*") if path.is_file() and token.encode() in path.read_bytes()}


@pytest.mark.slow
async def test_what_still_runs_elsewhere_is_registered_stopped(
    stage: Stage, tmp_path: Path, elsewhere: list[asyncio.subprocess.Process]
) -> None:
    plain = folder_with(tmp_path / "plain", run=SLEEPER)
    old = await asyncio.create_subprocess_exec(sys.executable, "run.py", cwd=plain, stdout=subprocess.PIPE)
    elsewhere.append(old)
    assert old.stdout is not None
    assert await old.stdout.readline() == b"up\n"
    conf = tmp_path / "supervisord.conf"
    conf.write_text(f"[program:plain]\ncommand={sys.executable} run.py\ndirectory={plain}\n")
    done = await typed("import", str(conf), "--yes", home=stage.home)
    assert done.returncode == 0, done.stderr
    assert f"plain: pid {old.pid}" in done.stdout
    assert f"kill {old.pid}\n  fleet start plain" in done.stdout
    assert (await stage.node("plain")).state == "stopped"
    assert psutil.pid_exists(old.pid)


@pytest.mark.slow
async def test_a_failure_of_one_does_not_stop_the_others(stage: Stage, tap: EventTap, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "two", one=SLEEPER, two=SLEEPER)
    wrong = stage.create_bot("wrong").token[:-3] + "xyz"
    apps = [
        {"name": "one", "script": "one.py", "interpreter": sys.executable, "env": {"BOT_TOKEN": wrong}},
        {"name": "copy", "script": "one.py", "interpreter": sys.executable, "env": {"SECRET_OF_IT": wrong}},
        {"name": "leaky", "script": "one.py", "interpreter": sys.executable, "args": ["--token", wrong]},
        {"name": "two", "script": "two.py", "interpreter": sys.executable, "cron_restart": "61 * * * *"},
    ]
    (folder / "ecosystem.json").write_text(json.dumps({"apps": apps}))
    done = await typed("import", str(folder / "ecosystem.json"), "--yes", "--json", home=stage.home)
    assert done.returncode == 1, done.stderr
    found = {program["name"]: program for program in json.loads(done.stdout)["programs"]}
    assert found["one"]["outcome"] == "failed"
    assert "does not accept the token" in found["one"]["error"]
    assert "if BOT_TOKEN is another service's: --no-token one" in found["one"]["hint"]
    assert found["copy"]["error"] == "has the same bot as one: only one of them may run"
    assert "its token is among its arguments" in found["leaky"]["error"]
    assert found["two"]["outcome"] == "registered"
    assert wrong not in done.stdout
    await tap.wait_for("ready", "two")


@pytest.mark.slow
async def test_without_a_master_it_can_be_looked_at(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "bots", one=SLEEPER)
    file = folder / "ecosystem.json"
    file.write_text('[{"name": "one", "script": "one.py"}, {"name": "two", "script": "one.py"}]')
    seen, needs, wrong, nothing = await asyncio.gather(
        typed("import", str(file), "--dry-run", "--only", "two", home=tmp_path),
        typed("import", str(file), "--yes", home=tmp_path),
        typed("import", str(file), "--dry-run", "--only", "three", home=tmp_path),
        typed("import", "--dry-run", home=tmp_path),
    )
    assert (seen.returncode, "two" in seen.stdout, "one  " in seen.stdout) == (0, True, False), seen.stderr
    assert (needs.returncode, needs.stdout) == (6, "")
    assert (wrong.returncode, "there are: one, two" in wrong.stderr) == (3, True)
    assert (nothing.returncode, "run `pm2 save`, or name a file" in nothing.stderr) == (4, True)
