"""From a PM2 that runs: seen, saved, imported, stopped there, started here."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from tests.moving.typing_in import typed

PM2 = shutil.which("pm2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(PM2 is None, reason="there is no PM2 on this machine"),
]

SLEEPER = "import signal\nsignal.pause()\n"


class Pm2:
    """A PM2 with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, command: str) -> str:
        """Run a line of shell, as an operator would paste it."""
        done = subprocess.run(  # noqa: S602
            command,
            shell=True,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "PM2_HOME": str(self.home), "MOOD": "fine"},
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def pm2(tmp_path: Path) -> Iterator[Pm2]:
    running = Pm2(tmp_path / "pm2")
    yield running
    running.run("pm2 kill")


async def test_what_runs_under_pm2_is_not_started_twice_and_moves_with_the_lines_that_are_shown(
    stage: Stage, tap: EventTap, pm2: Pm2, tmp_path: Path
) -> None:
    folder = tmp_path / "atlas"
    folder.mkdir()
    (folder / "bot.py").write_text(SLEEPER)
    pm2.run(f"cd {folder} && pm2 start bot.py --name atlas --interpreter {sys.executable} --cron-restart '0 5 * * *'")
    pm2.run("pm2 save")
    done = await typed("import", "--yes", home=stage.home, PM2_HOME=str(pm2.home))
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "restart at 0 5 * * *" in done.stdout
    assert "(PM2)" in done.stdout
    assert (await stage.node("atlas")).state == "stopped"
    *_, stop, start = [line.strip() for line in done.stdout.splitlines()]
    assert (stop, start) == ("pm2 stop atlas && pm2 save", "fleet start atlas")
    await asyncio.to_thread(pm2.run, stop)
    assert (await typed(*start.split()[1:], home=stage.home)).returncode == 0
    await tap.wait_for("ready", "atlas")
    assert "MOOD=fine" in (stage.home / "env" / "atlas.env").read_text()
