"""A node that reports an error whenever it is nudged, and a solution that knows the error."""

from __future__ import annotations

import os
import signal

from master.demonstration.stage import EventTap, Stage
from master.services.core.views import FleetEvent

FAILS_WHEN_NUDGED = """\
import asyncio
import signal

from discord.ext import commands

class Nudged(commands.Cog):
    @commands.Cog.listener()
    async def on_nudge(self):
        raise RuntimeError("the cache is stale")

async def setup(bot):
    await bot.add_cog(Nudged())
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, bot.dispatch, "nudge")
"""
SOLUTION = """\
id = "stale_cache"
title = "Its cache is stale"
risk = "auto"
applies_to = ["report"]
patterns = ['''RuntimeError: the cache is stale$''']
cooldown_s = 0
stays_away_s = 6
action = {name = "restart"}
[samples]
match = ["event on_nudge: RuntimeError: the cache is stale"]
"""


def set_up(stage: Stage, solution: str = SOLUTION) -> None:
    """Write the solution, and a config under which a new one acts at once."""
    (stage.home / "solutions").mkdir()
    (stage.home / "solutions" / "stale_cache.toml").write_text(solution)
    with (stage.home / "config.py").open("a") as config:
        config.write('HEALING = {"DETECT_ONLY_S": 0}\n')


async def add_node(stage: Stage, tap: EventTap, name: str = "atlas") -> None:
    """Register a node that can be nudged, and wait until it is ready."""
    await stage.register(name)
    await tap.wait_for("ready", name)
    (stage.home / "bots" / name / "cogs" / "nudged.py").write_text(FAILS_WHEN_NUDGED)
    since = len(tap.events)
    await stage.act("restart", [name])
    await tap.wait_for("ready", name, since=since)


async def nudge(stage: Stage, name: str = "atlas") -> int:
    """Have a node report an error; returns its pid."""
    pid = (await stage.node(name)).pid or 0
    os.kill(pid, signal.SIGUSR1)
    return pid


async def step(tap: EventTap, words: str, *, since: int = 0, name: str = "atlas") -> FleetEvent:
    """Wait for a step of a repair whose detail has these words."""
    while True:
        event = await tap.wait_for("repair", name, since=since)
        since = tap.events.index(event) + 1
        if words in event.detail:
            return event


async def kill_master(stage: Stage) -> None:
    """End the master with SIGKILL."""
    if stage.master is not None:
        stage.master.process.kill()
        await stage.master.process.wait()
