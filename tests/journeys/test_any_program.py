"""Programs of any kind under a real master: node.js, a shell script, a Python with its own environment."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import venv
from pathlib import Path

import psutil
import pytest

from master.demonstration.stage import EventTap, Stage
from master.supervision.isolation import landlock_problem

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

NODE_JS = """
const fs = require('fs');
const { spawn } = require('child_process');
const greet = require('greeting');  // of node_modules, which is a link
const look = (path) => { try { fs.readFileSync(path); return 'open' } catch (error) { return error.code } };
spawn('sleep', ['600']);
console.log(greet(process.argv[2]), process.env.API_KEY, look(process.argv[3]));
fs.writeFileSync('data.json', '{}');
require('http').createServer((_, answer) => answer.end('hi')).listen(0, '127.0.0.1');
"""
SHELL = """#!/bin/sh
echo "shell says $GREETING"
cd /
sleep 600 &
wait
"""
OWN_PYTHON = "import signal, sys; print(sys.prefix, flush=True); signal.pause()\n"


async def fleet(stage: Stage, *arguments: str) -> str:
    """Run a command as somebody types it; returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master.cli", *arguments, "--home", str(stage.home)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "80", "API_KEY": "s3cret"},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def make_site(folder: Path) -> Path:
    site, modules = folder / "site", folder / "shared" / "node_modules"
    site.mkdir(parents=True)
    (modules / "greeting").mkdir(parents=True)
    (modules / "greeting" / "index.js").write_text("module.exports = (name) => `hello ${name}`\n")
    (site / "node_modules").symlink_to(modules)
    (site / "index.js").write_text(NODE_JS)
    return site


def make_script(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text(SHELL)
    (folder / "own.env").write_text("GREETING='good day'\n")
    (folder / "own.env").chmod(0o600)
    return folder


def make_python(folder: Path) -> Path:
    folder.mkdir(parents=True)
    venv.create(folder / ".venv", symlinks=True)
    (folder / "main.py").write_text(OWN_PYTHON)
    return folder


async def printed(stage: Stage, name: str, text: str) -> None:
    """Wait until a node has printed a text: a file has no event."""
    path = stage.home / "state" / "logs" / f"{name}.out.log"
    async with asyncio.timeout(30):
        while not path.exists() or text not in path.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def pids(stage: Stage) -> dict[str, int]:
    return {node.name: node.pid for node in (await stage.status()).nodes if node.pid is not None}


async def register_all(stage: Stage, tap: EventTap, folder: Path) -> set[str]:
    script, own = make_script(folder / "script"), make_python(folder / "own")
    env_file = str(script / "own.env")
    arguments: tuple[str, ...] = ("--folder", str(script), "--entry", "run.sh", "--no-token", "--env-file", env_file)
    arguments += ("--ready-when", "log:shell says good")
    assert "in the fleet" in await fleet(stage, "register", "script", *arguments)
    await fleet(stage, "register", "own", "--folder", str(own), "--entry", "main.py", "--no-token", "--watch", ".")
    names = {"script", "own"}
    node = shutil.which("node")
    if node:
        site = make_site(folder)
        # Where nvm puts it: in somebody's home, which an isolated node does not open.
        own_node = folder / ".nvm" / "versions" / "node" / "v20" / "bin" / "node"
        own_node.parent.mkdir(parents=True)
        shutil.copy(node, own_node)
        command = f"{own_node} index.js world {stage.home / '.env'}"
        shown = await fleet(
            *(stage, "register", "web", "--folder", str(site), "--command", command, "--no-token", "--env", "API_KEY")
        )
        assert "licence" not in shown
        assert "Invite" not in shown
        names.add("web")
    for name in names:
        await tap.wait_for("ready", name)
    return names


async def test_programs_of_any_kind_are_run_restarted_adopted_and_stopped(
    stage: Stage, tap: EventTap, tmp_path: Path
) -> None:
    names = await register_all(stage, tap, tmp_path / "elsewhere")
    await printed(stage, "script", "shell says good day")
    await printed(stage, "own", f"{tmp_path}/elsewhere/own/.venv")
    if "web" in names:
        await printed(stage, "web", "hello world s3cret " + ("" if landlock_problem() else "EACCES"))
        assert (tmp_path / "elsewhere" / "site" / "data.json").exists()
    first = await pids(stage)
    assert set(first) == names
    for pid in first.values():
        assert "s3cret" not in " ".join(psutil.Process(pid).cmdline())

    # Saved, it is started anew.
    (tmp_path / "elsewhere" / "own" / "main.py").write_text(OWN_PYTHON + "# saved\n")
    assert (await tap.wait_for("changed", "own")).detail == "main.py"
    await tap.wait_for("ready", "own", since=len(tap.events))
    first = await pids(stage)

    # Killed, each is started again.
    begun = len(tap.events)
    for pid in first.values():
        os.kill(pid, signal.SIGKILL)
    for name in names:
        await tap.wait_for("ready", name, since=begun)
    second = await pids(stage)
    assert set(second) == names
    assert not set(second.values()) & set(first.values())

    # A new master takes them over as they are.
    master = stage.master
    assert master is not None
    master.process.kill()
    await master.process.wait()
    await stage.start_master()
    assert await pids(stage) == second

    # Whatever they started ends with them.
    below = [child for pid in second.values() for child in psutil.Process(pid).children(recursive=True)]
    assert len(below) >= len(names) - 1
    await fleet(stage, "stop", "--all", "--yes")
    _, alive = await asyncio.to_thread(psutil.wait_procs, below, 15)
    assert alive == []
    assert not any(psutil.pid_exists(pid) for pid in second.values())
