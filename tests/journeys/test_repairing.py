"""An error that a solution knows is repaired, and it is proved that it helped."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage

pytestmark = pytest.mark.timeout(120)

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
stays_away_s = 5
action = {name = "restart"}
[samples]
match = ["event on_nudge: RuntimeError: the cache is stale"]
"""


@pytest.fixture
async def stage(empty_ledger: Path) -> AsyncIterator[Stage]:
    """Yield a master with a solution of the operator's own, which acts from the start."""
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as up:
        (up.home / "solutions").mkdir()
        (up.home / "solutions" / "stale_cache.toml").write_text(SOLUTION)
        with (up.home / "config.py").open("a") as config:
            config.write('HEALING = {"DETECT_ONLY_S": 0}\n')
        await up.start_master()
        yield up


async def test_a_node_that_reports_a_known_error_is_restarted(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    (stage.home / "bots" / "atlas" / "cogs" / "nudged.py").write_text(FAILS_WHEN_NUDGED)
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    since, pid = len(tap.events), (await stage.node("atlas")).pid or 0
    os.kill(pid, signal.SIGUSR1)
    await tap.wait_for("stopped", "atlas", since=since)
    ready = await tap.wait_for("ready", "atlas", since=since)
    assert ready.pid != pid
