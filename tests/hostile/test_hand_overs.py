"""Restarts of a node while people write all the time, stopped by signals at random: each message is handled once.

``FLEET_FUZZ=300`` makes 300 restarts. The seed of a failure is in its message.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from tests.hostile.effort import rounds

ROUNDS = rounds(8)
MESSAGES_A_SECOND = 50
SLOWEST_LISTENER_S = 0.2
LONGEST_STOP_S = 0.4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 20 * ROUNDS)]

WORK = f"""
import asyncio
import os
import random
from pathlib import Path

from discord.ext import commands

HANDLED = Path(__file__).resolve().parent.parent / "handled"

class Work(commands.Cog):
    def __init__(self):
        self._file = os.open(HANDLED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def cog_unload(self):
        await asyncio.sleep(random.uniform(0, {SLOWEST_LISTENER_S}))
        os.close(self._file)

    @commands.Cog.listener()
    async def on_message(self, message):
        if not message.author.bot:
            await asyncio.sleep(random.uniform(0, {SLOWEST_LISTENER_S}))
            os.write(self._file, f"{{message.id}}\\n".encode())

async def setup(bot):
    await bot.add_cog(Work())
"""


def handled(folder: Path) -> Counter[int]:
    with contextlib.suppress(FileNotFoundError):
        return Counter(map(int, (folder / "handled").read_text().split()))
    return Counter()


@asynccontextmanager
async def written_all_the_time(stage: Stage) -> AsyncIterator[set[int]]:
    """Write throughout the block; yields the ids of the messages."""
    channel, sent = stage.guild.create_channel("events"), set[int]()

    async def write() -> None:
        for number in itertools.count():
            sent.add((await stage.operator.sends(channel, f"event {number}")).id)
            await asyncio.sleep(1 / MESSAGES_A_SECOND)

    writing = asyncio.create_task(write())
    try:
        yield sent
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def disturb(pid: int, rng: random.Random) -> None:
    """Stop a process by a signal for a moment, some time after it was told to end."""
    await asyncio.sleep(rng.uniform(0, 0.3))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(rng.uniform(0, LONGEST_STOP_S))
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_no_message_is_lost_or_handled_twice_over_restarts(stage: Stage, tap: EventTap) -> None:
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)  # noqa: S311
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    folder = stage.home / "bots" / "atlas"
    since = len(tap.events)
    (folder / "cogs" / "work.py").write_text(WORK)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    identifies, bot = stage.sandbox.gateway.identifies, stage.bots["atlas"].id
    before = identifies[bot]
    async with written_all_the_time(stage) as sent:
        for _ in range(ROUNDS):
            pid, since = (await stage.node("atlas")).pid, len(tap.events)
            assert pid is not None
            disturbance = asyncio.create_task(disturb(pid, rng))
            await stage.act("restart", ["atlas"])
            await tap.wait_for("ready", "atlas", since=since)
            await disturbance
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while not sent <= handled(folder).keys():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.05)
    found = handled(folder)
    lost, doubled = sent - found.keys(), [one for one in sent if found[one] > 1]
    print(f"{ROUNDS} restarts, {len(sent)} messages: {len(lost)} lost, {len(doubled)} handled twice")
    assert (lost, doubled, identifies[bot] - before) == (set(), [], 0), f"seed {seed}"
