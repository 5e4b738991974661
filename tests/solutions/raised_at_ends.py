"""Ends of processes, as the supervisor and nodekit say them."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from unittest.mock import patch

import discord
import discord.gateway
import discord.http

import nodekit.running
from master.services.healing.sighting import SeenIn
from master.supervision.process import ExitReport
from master.supervision.runner import OVER_MEMORY_LIMIT
from nodekit.identify_budget import IdentifyBudgetSpent
from tests.solutions.raising import CASES, Case, Place, Shown, logs

# CROSS raised_by_gateway ['token_refused', 'token_missing', 'intents_refused']


def _ends(name: str, solution: str, detail: str, *lines: str) -> None:
    async def ended(place: Place) -> list[Shown]:
        return [Shown(SeenIn.EXIT, "\n".join([detail, *lines]))]

    CASES.append(Case(name, solution, frozenset(), {}, ended))


_KILLED = ExitReport(signal=signal.SIGKILL, cpu_s=1.2, peak_rss_bytes=90 << 20)
_ENDED = ExitReport(signal=signal.SIGTERM)
_ends("oom_hard_limit", "out_of_memory", f"out of memory: it went above its hard limit: {_KILLED}; {_KILLED.used}")
_ends("oom_of_the_box", "oom_kill", f"out of memory: the kernel ended it, the box has too little: {_KILLED}")
_ends(
    "oom_told", "out_of_memory", f"out of memory: it needs more than its hard limit of 90 MB: {ExitReport(exit_code=1)}"
)
_ends("over_its_limit", "out_of_memory", f"{OVER_MEMORY_LIMIT} (120 of 100 MB): {_ENDED}")
_ends("no_pulse", "no_pulse", f"no pulse for 27 s: {_KILLED}")
_ends("no_pulse_stopped", "no_pulse", f"no pulse for 27 s; it is stopped by a signal: {_KILLED}")
_ends("not_ready", "not_ready_in_time", f"not ready within 60 s: {_ENDED}")


# What nodekit says before it ends


async def _run_node(place: Place, token: str) -> None:
    await nodekit.running._run(lambda: discord.Client(intents=discord.Intents.none()), token)


@logs("token_refused")
async def token_refused_to_a_node(place: Place) -> None:
    _, bot = await place.discord()
    await _run_node(place, bot.token[:-4] + "nope")


@logs("intents_refused")
async def intents_refused_to_a_node(place: Place) -> None:
    sandbox, bot = await place.discord()
    sandbox.faults.refuse_identify(bot.account, 4014)
    await _run_node(place, bot.token)


@logs("token_refused")
async def node_closed_for_its_token(place: Place) -> None:
    sandbox, bot = await place.discord()
    sandbox.faults.refuse_identify(bot.account, 4004)
    await _run_node(place, bot.token)


@logs("shutdown_stuck")
async def shutdown_stuck(place: Place) -> None:
    """A bot whose close() does not end is asked to end, by a signal as the master sends it."""
    _, bot = await place.discord()
    asked, released = asyncio.Event(), asyncio.Event()

    class Stuck(discord.Client):
        async def setup_hook(self) -> None:
            signal.raise_signal(signal.SIGTERM)

        async def close(self) -> None:
            asked.set()
            await released.wait()
            await super().close()

    with patch("nodekit.ending.STUCK_AFTER_S", 0.05), patch("nodekit.running.keep_connected"):
        running = asyncio.create_task(nodekit.running._run(lambda: Stuck(intents=discord.Intents.none()), bot.token))
        await asked.wait()
        for watch in threading.enumerate():
            if watch.name == "ending":
                await asyncio.to_thread(watch.join)
        released.set()
        await running


@logs("token_missing")
async def token_missing_to_a_node(place: Place) -> None:
    with patch("nodekit.running.program_folder", lambda: place.folder), patch("nodekit.running.set_up_logging"):
        nodekit.running.run(lambda: discord.Client(intents=discord.Intents.none()))


@logs("identifies_spent")
async def identifies_spent(place: Place) -> None:
    logging.getLogger("nodekit.attachment").error("%s", IdentifyBudgetSpent(3_600))
