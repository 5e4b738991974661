"""Real fleets on the demo's stage, and their folders as programs for a peer."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

import child_template
from benchmarks.peers import Program
from master.demonstration.stage import Stage


async def start_fleet(stage: Stage, count: int, *, at_once: int = 8) -> list[str]:
    """Register ``count`` nodes of the template, and wait until each is ready; returns their names."""
    names = [f"node-{number}" for number in range(count)]
    async with stage.listen() as tap:
        for start in range(0, count, at_once):
            batch = names[start : start + at_once]
            await asyncio.gather(*(stage.register(name) for name in batch))
        for name in names:
            await tap.wait_for("ready", name, timeout_s=300.0)
    return names


TEMPLATE = Path(child_template.__path__[0])


def as_programs(stage: Stage, names: list[str]) -> list[Program]:
    """Return the nodes' folders as programs for a peer, each with its token in a .env."""
    programs = []
    for name in names:
        folder = stage.home / "bots" / name
        write_env(stage, folder, name)
        programs.append(Program(name, folder))
    return programs


def write_env(stage: Stage, folder: Path, name: str) -> None:
    """Write the .env of a bot that is started without a master."""
    (folder / ".env").write_text(
        f"DISCORD_TOKEN={stage.bots[name].token}\n"
        f"DISCORD_API_BASE={stage.sandbox.api_base}\nDISCORD_GATEWAY_URL={stage.sandbox.gateway_url}\n"
    )


def copy_and_start(stage: Stage, folder: Path, name: str) -> psutil.Popen:
    """Do by hand what a fleet does: copy the template, put the bot's token into its .env, start a plain process."""
    shutil.copytree(TEMPLATE, folder)
    write_env(stage, folder, name)
    return psutil.Popen([sys.executable, "bot.py"], cwd=folder, stderr=subprocess.DEVNULL)


@contextmanager
def ending(processes: Iterable[psutil.Popen]) -> Iterator[None]:
    """Kill processes at the end of the block, those too that were added within it."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def zygote_of(master: psutil.Process) -> psutil.Process:
    """Return a master's zygote.

    Raises
    ------
    LookupError
    """
    for child in master.children():
        if "zygote" in " ".join(child.cmdline()):
            return child
    raise LookupError("the master has no zygote")
