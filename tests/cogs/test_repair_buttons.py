"""An alert that asks: its button carries the repair out, once, also for the next master and for nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.control.client import ControlClient
from master.demonstration.stage import EventTap, Stage
from master.operations import repairs
from master.operations.parameters import RepairsParams
from master.services.core.solution_views import RepairView
from sandbox import Message
from tests.journeys.nudging import SOLUTION, add_node, kill_master, nudge, set_up

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def stage(empty_ledger: Path) -> AsyncIterator[Stage]:
    """Yield a master whose solution asks before it acts."""
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as up:
        set_up(up, SOLUTION.replace('"auto"', '"ask"'))
        await up.start_master()
        yield up


async def asked(stage: Stage) -> Message:
    """Wait for the alert that asks."""
    return await stage.log.wait_for_message(
        lambda m: any(e["title"] == "atlas: Its cache is stale" for e in m.embeds), timeout_s=30
    )


async def rows(stage: Stage) -> list[RepairView]:
    client: ControlClient = stage.client
    return await asyncio.to_thread(client.run, repairs.listing, RepairsParams())


@pytest.mark.slow
async def test_a_press_carries_it_out_once_and_of_the_next_master_too(stage: Stage, tap: EventTap) -> None:
    await add_node(stage, tap)
    pid = await nudge(stage)
    message = await asked(stage)
    assert "Restart?" in message.embeds[0]["description"]
    assert (await stage.node("atlas")).pid == pid

    stranger = stage.sandbox.create_human("mallory")
    stage.guild.add_member(stranger)
    refused = await stranger.presses(message, "Do it")
    await refused.wait_until(lambda i: bool(i.embeds))
    assert "may not" in refused.embeds[0]["title"]

    lines = await stage.operator.presses(message, "Show lines")
    await lines.wait_until(lambda i: bool(i.embeds))
    assert "RuntimeError: the cache is stale" in lines.embeds[0]["description"]
    muted = await stage.operator.presses(message, "Mute 1 h")
    await muted.wait_until(lambda i: bool(i.embeds))
    assert muted.embeds[0]["title"].endswith("Nothing is told of it for an hour"), muted.embeds

    await kill_master(stage)
    await stage.start_master()
    async with stage.listen() as next_tap:
        pressed = await stage.operator.presses(message, "Do it")
        await pressed.wait_until(lambda i: bool(i.embeds))
        assert pressed.embeds[0]["title"].endswith("atlas: done"), pressed.embeds
        await next_tap.wait_for("ready", "atlas")
        again = await stage.operator.presses(message, "Do it")
        await again.wait_until(lambda i: bool(i.embeds))
        assert "nothing is open here" in again.embeds[0]["title"].lower()
    assert (await stage.node("atlas")).pid != pid
    while (await rows(stage))[0].outcome == "running":  # noqa: ASYNC110 - of the ledger nothing tells
        await asyncio.sleep(0.02)
    (row,) = await rows(stage)
    assert (row.outcome, row.actor) == ("watching", f"discord:{stage.operator.id}")
