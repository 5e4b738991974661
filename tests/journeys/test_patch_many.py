"""A patch on many real nodes, and one that is watched for minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox import Message
from tests.hostile.effort import VARIABLE
from tests.journeys.patched_fleet import GOOD, open_fleet

pytestmark = pytest.mark.slow
NODES = 25
TOLD = ("📥", "📦", "✅")
SETUP = "async def setup(bot):\n"
LEAK = """
    import asyncio

    async def leak(kept=[]):
        while True:
            kept.append(bytearray(400_000))
            await asyncio.sleep(1)

    bot.leaking = asyncio.get_running_loop().create_task(leak())
"""


@pytest.mark.timeout(180)
async def test_25_real_nodes_react_to_one_message_and_none_is_lost(empty_ledger: Path) -> None:
    names = tuple(f"node{number:02}" for number in range(NODES))
    async with open_fleet(empty_ledger, 'PATCHES = {"ANSWER_WITHIN_S": 60, "WAVES": [100]}\n', names) as fleet:
        patch = await fleet.deploy(GOOD.format(text="new"), canary=0)
        await fleet.until_told(patch, "done")
        bots = {fleet.stage.bots[name].id for name in names}

        def has_all(message: Message) -> bool:
            return all(bots <= set(message.reactions.get(emoji, ())) for emoji in TOLD)

        # Discord takes one reaction in a quarter of a second from each bot: they come later than the statuses.
        message = await fleet.stage.patch.wait_for_message(has_all, timeout_s=90.0)
        assert fleet.stage.patch.messages == [message]
        assert set((await fleet.pids()).values()).isdisjoint({None})
        assert fleet.has() == list(names)


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"takes seven minutes: {VARIABLE}=1")
@pytest.mark.timeout(900)
async def test_one_that_leaks_is_bad_after_five_minutes_and_goes_back(empty_ledger: Path) -> None:
    settings = 'PATCHES = {"ANSWER_WITHIN_S": 20, "WAVES": [100], "MOST_SOAK_S": 600}\n'
    async with open_fleet(empty_ledger, settings) as fleet:
        patch = await fleet.deploy(GOOD.format(text="new").replace(SETUP, SETUP + LEAK), canary=1, soak_s=390.0)
        await fleet.tap.wait_for("patch", "", detail=f"{patch.label}: rolled back", timeout_s=600)
        shown = await fleet.show(patch)
        assert "memory" in shown.patch.reason
        assert fleet.has() == []
