"""The demo's sick bot: an error that no restart mends, and the solution that does."""

from __future__ import annotations

import asyncio

from master.demonstration.stage import EventTap, Stage, StageError
from master.operations import solutions
from master.operations.parameters import SolutionEnableParams, SolutionSaveParams
from master.services.core.views import FleetEvent

_ERROR = "ValueError: the weather service speaks another language now"
_COG = """\
import asyncio

from discord.ext import commands


class Weather(commands.Cog):
    def __init__(self, bot):
        self.bot = bot

    async def cog_load(self):
        self.asking = asyncio.create_task(self.ask())

    async def cog_unload(self):
        self.asking.cancel()

    async def ask(self):
        while True:
            await asyncio.sleep(1)
            self.bot.dispatch("forecast")

    @commands.Cog.listener()
    async def on_forecast(self):
        raise ValueError("the weather service speaks another language now")


async def setup(bot):
    await bot.add_cog(Weather(bot))
"""
_SOLUTION = f"""\
id = "weather_speaks_another_language"
title = "The weather service speaks another language"
advice = "Update cogs/weather.py of {{node}}."
risk = "auto"
applies_to = ["stderr"]
patterns = ['''^{_ERROR}$''']
cooldown_s = 5
stays_away_s = 5

[action]
name = "disable_cog"
cog = "weather"

[samples]
match = ["{_ERROR}"]
"""
_WAIT_S = 60.0


async def break_and_repair(stage: Stage, tap: EventTap, name: str, figures: dict[str, float]) -> str:
    """Break a cog of a node, restart it in vain, then save a solution; returns what happened.

    Raises
    ------
    FleetError
        It was not repaired.
    """
    (stage.home / "bots" / name / "cogs" / "weather.py").write_text(_COG)
    for _ in range(2):
        since = len(tap.events)
        await stage.act("restart", [name])
        ready = await tap.wait_for("ready", name, since=since)
        # In the node's own time: what is reported again after the restart was not mended by it.
        await tap.wait_for("error", name, since=tap.events.index(ready))
    saving = SolutionSaveParams(text=_SOLUTION, why="the demo's weather")
    saved = await asyncio.to_thread(stage.client.run, solutions.save, saving)
    since = len(tap.events)
    await asyncio.to_thread(stage.client.run, solutions.enable, SolutionEnableParams(id=saved.id, now=True))
    done = await _step(tap, name, "watching", since=since)
    began = await _step(tap, name, "running", since=since)
    helped = await _step(tap, name, "helped", since=since)
    if (await stage.node(name)).pid != ready.pid:
        raise StageError(f"{name} was restarted; its cog was to be switched off alone")
    figures["error_to_repaired_ms"] = round((done.at - began.at) * 1000, 1)
    return (
        f"{name} restarted twice, and its cog weather still raises; a solution that is saved knows the error, and "
        f"switched the cog off after {figures['error_to_repaired_ms'] / 1000:.1f} s; no such error for "
        f"{helped.at - done.at:.0f} s: it helped (`fleet repairs`)"
    )


async def _step(tap: EventTap, name: str, outcome: str, *, since: int) -> FleetEvent:
    while True:
        event = await tap.wait_for("repair", name, since=since, timeout_s=_WAIT_S)
        since = tap.events.index(event) + 1
        if f": {outcome}" in event.detail:
            return event
