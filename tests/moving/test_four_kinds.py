"""The whole way of bots that nobody here wrote: imported from another supervisor's file, run, killed, adopted, removed.

Each has what it would have elsewhere: discord.py and nextcord a virtual environment from the index, discord.js its
node_modules from npm. None of them knows of a fleet; the sandbox is the Discord that they log in to.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from master.demonstration.stage import EventTap, Stage
from tests.hostile.effort import rounds
from tests.moving.typing_in import said_by, typed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DISCORD_PY = """
import os, sys
import discord, yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route
Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = os.environ["API"], yarl.URL(os.environ["GATEWAY"])
bot = discord.Client(intents=discord.Intents.default())
@bot.event
async def on_ready():
    print("VERSION as", bot.user.name, sys.argv[1:], sys.prefix, flush=True)
bot.run(os.environ["DISCORD_TOKEN"])
"""
NEXTCORD = """
import os, sys
import nextcord
from nextcord.http import Route
Route.BASE = os.environ["API"]
bot = nextcord.Client(intents=nextcord.Intents.default())
@bot.event
async def on_ready():
    print("VERSION as", bot.user.name, sys.argv[1:], sys.prefix, flush=True)
bot.run(os.environ["DISCORD_TOKEN"])
"""
DISCORD_JS = """
const { Client, GatewayIntentBits, Events } = require("discord.js");
const rest = { api: process.env.API.replace(/.v10$/, ""), version: "10" };
const bot = new Client({ intents: [GatewayIntentBits.Guilds], rest });
bot.once(Events.ClientReady, (ready) => console.log("VERSION as", ready.user.username, process.argv.slice(2)));
bot.login(process.env.DISCORD_TOKEN);
"""
PLAIN = """
trap 'exit 0' TERM
echo "VERSION as plain $1 $MOOD"
while true; do sleep 600 & wait $!; done
"""


@dataclass(frozen=True)
class Kind:
    """A bot, in its folder as its author would have it."""

    name: str
    folder: Path
    file: str
    text: str
    has_token: bool = True

    def write(self, version: str) -> None:
        """Write its program, as an editor or a pull does."""
        (self.folder / self.file).write_text(self.text.replace("VERSION", version))


def _run(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command[-3:])} does not work here: {done.stderr[-300:]}")


def _with_environment(folder: Path, package: str) -> Path:
    folder.mkdir()
    _run(sys.executable, "-m", "venv", "venv", cwd=folder)
    _run("venv/bin/python", "-m", "pip", "install", "--quiet", package, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """Return the four kinds; the installers are asked once."""
    base = tmp_path_factory.mktemp("bots")
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node.js on this machine")
    javascript = base / "gram"
    javascript.mkdir()
    (javascript / "package.json").write_text('{"name": "gram", "version": "1.0.0", "private": true}')
    _run("npm", "install", "--silent", "--no-audit", "--no-fund", "discord.js", cwd=javascript)
    plain = base / "plain"
    plain.mkdir()
    found = [
        Kind("atlas", _with_environment(base / "atlas", "discord.py"), "bot.py", DISCORD_PY),
        Kind("nova", _with_environment(base / "nova", "nextcord"), "main.py", NEXTCORD),
        Kind("gram", javascript, "index.js", DISCORD_JS),
        Kind("plain", plain, "run.sh", PLAIN, has_token=False),
    ]
    return {kind.name: kind for kind in found}


def variables_of(kind: Kind, stage: Stage) -> dict[str, str]:
    """Return a program's variables; a bot's token is among them."""
    if not kind.has_token:
        return {"MOOD": "fine"}
    bot = stage.bots.get(kind.name) or stage.create_bot(kind.name)
    return {"DISCORD_TOKEN": bot.token, "API": stage.sandbox.api_base, "GATEWAY": stage.sandbox.gateway_url}


def dump(kind: Kind, variables: dict[str, str], place: Path) -> Path:
    script = kind.folder / kind.file
    interpreter = {".js": "node", ".sh": "bash"}.get(script.suffix, str(kind.folder / "venv" / "bin" / "python"))
    process: dict[str, Any] = {
        **{"name": kind.name, "pm_exec_path": str(script), "pm_cwd": str(kind.folder), "args": ["one"]},
        **{"exec_interpreter": interpreter, "status": "online", "exec_mode": "fork_mode"},
        "env": {**os.environ, **variables, "unique_id": "x", kind.name: "{}"},
    }
    path = place / f"{kind.name}.pm2"
    path.write_text(json.dumps([process]))
    return path


def ecosystem(kind: Kind, variables: dict[str, str], place: Path) -> Path:
    python = {"interpreter": "./venv/bin/python"} if kind.file.endswith(".py") else {}
    app = {"name": kind.name, "script": kind.file, "cwd": str(kind.folder), "args": "one", "env": variables, **python}
    path = place / f"{kind.name}.config.js"
    path.write_text(f"module.exports = {{ apps: [{json.dumps(app)}] }};")
    return path


def supervisord(kind: Kind, variables: dict[str, str], place: Path) -> Path:
    path = place / f"{kind.name}.conf"
    listed = ",".join(f'{name}="{value}"' for name, value in variables.items())
    path.write_text(f"[program:{kind.name}]\ncommand={_command(kind)}\ndirectory={kind.folder}\nenvironment={listed}\n")
    return path


def unit(kind: Kind, variables: dict[str, str], place: Path) -> Path:
    path = place / f"{kind.name}.service"
    listed = "".join(f'Environment="{name}={value}"\n' for name, value in variables.items())
    text = f"[Service]\nExecStart={_command(kind)}\nWorkingDirectory={kind.folder}\n{listed}Restart=always\n"
    path.write_text(text)
    return path


def compose(kind: Kind, variables: dict[str, str], place: Path) -> Path:
    path = place / f"{kind.name}.yml"
    words = {".js": ["node"], ".sh": ["bash"]}.get(Path(kind.file).suffix, ["python"])
    service = {
        **{"image": "python:3.12", "working_dir": "/app", "volumes": [f"{kind.folder}:/app"]},
        **{"command": [*words, f"/app/{kind.file}", "one"], "environment": variables},
    }
    path.write_text(json.dumps({"services": {kind.name: service}}))
    return path


def _command(kind: Kind) -> str:
    words = {".js": "node", ".sh": "bash"}.get(Path(kind.file).suffix, f"{kind.folder}/venv/bin/python")
    return f"{words} {kind.folder}/{kind.file} one"


# The readers have tests of their own: one format is what the suite affords, and FLEET_FUZZ=5 asks for all.
FORMATS = [ecosystem, dump, supervisord, unit, compose][: rounds(1)]


@pytest.mark.parametrize("written", FORMATS, ids=lambda written: written.__name__)
async def test_four_kinds_of_bot_move_in_live_and_leave(
    stage: Stage, tap: EventTap, kinds: dict[str, Kind], tmp_path: Path, written: Any
) -> None:
    files = []
    for kind in kinds.values():
        kind.write("first")
        files.append(str(written(kind, variables_of(kind, stage), tmp_path)))
    done = await typed("import", *files, "--yes", home=stage.home)
    assert done.returncode == 0, (done.stdout, done.stderr)

    # Each runs as it did: with its own packages, its arguments, its variables, as its own bot.
    for kind in kinds.values():
        await said_by(stage, kind.name, f"first as {kind.name}")
        await tap.wait_for("ready", kind.name)
        node = await stage.node(kind.name)
        assert node.bot_user_id == (str(stage.bots[kind.name].id) if kind.has_token else "0")
    for name in ("atlas", "nova"):
        await said_by(stage, name, f"['one'] {kinds[name].folder}/venv")
    await said_by(stage, "gram", "[ 'one' ]")
    await said_by(stage, "plain", "one fine")

    # Killed, it comes back; what is edited runs from the next start on.
    for kind in kinds.values():
        kind.write("second")
        before, since = (await stage.node(kind.name)).pid, len(tap.events)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await tap.wait_for("ready", kind.name, since=since)
        await said_by(stage, kind.name, f"second as {kind.name}")

    # A new master takes them over as they run.
    pids = {node.name: node.pid for node in (await stage.status()).nodes}
    assert stage.master is not None
    stage.master.process.send_signal(signal.SIGHUP)
    await asyncio.wait_for(stage.master.process.wait(), 30)
    await stage.start_master()
    await until_ready(stage)
    assert {node.name: node.pid for node in (await stage.status()).nodes} == pids

    async with stage.listen() as after:
        for kind in kinds.values():
            kind.write("third")
        restarted = await typed("restart", "--all", home=stage.home)
        assert restarted.returncode == 0, restarted.stderr
        for kind in kinds.values():
            await after.wait_for("ready", kind.name)
            await said_by(stage, kind.name, f"third as {kind.name}")
        await changed_and_removed(stage, after, kinds)


async def until_ready(stage: Stage) -> None:
    """Wait until nodes that were taken over are ready; the event may be older than any listener."""
    async with asyncio.timeout(30):
        while not all(node.state == "ready" for node in (await stage.status()).nodes):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def changed_and_removed(stage: Stage, after: EventTap, kinds: dict[str, Kind]) -> None:
    """Change what a node was registered with; then remove each, which leaves its folder as it was."""
    since = len(after.events)
    edited = await typed("edit", "gram", "--set", "ARGS=two", "--restart", home=stage.home)
    assert edited.returncode == 0, (edited.stdout, edited.stderr)
    await after.wait_for("ready", "gram", since=since)
    await said_by(stage, "gram", "[ 'two' ]")
    pids = [node.pid for node in (await stage.status()).nodes]
    removed = await typed("remove", *kinds, "--keep-folder", "--yes", home=stage.home)
    assert removed.returncode == 0, (removed.stdout, removed.stderr)
    assert (await stage.status()).nodes == ()
    assert not any(pid is not None and Path(f"/proc/{pid}").exists() for pid in pids)
    for kind in kinds.values():
        assert (kind.folder / kind.file).is_file()
        assert not list(kind.folder.glob(".fleet*"))
