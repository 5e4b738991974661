"""An error that a solution knows is repaired, and it is proved that it helped; also over the death of the master."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from master.operations import repairs
from master.operations.parameters import RepairsParams
from master.services.core.solution_views import RepairView
from tests.journeys.nudging import SOLUTION, add_node, kill_master, nudge, set_up, step

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def stage(empty_ledger: Path) -> AsyncIterator[Stage]:
    """Yield a master with a solution of the operator's own, which acts from the start."""
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as up:
        set_up(up)
        await up.start_master()
        yield up


async def rows(stage: Stage) -> list[RepairView]:
    return await asyncio.to_thread(stage.client.run, repairs.listing, RepairsParams())


async def test_a_node_that_reports_a_known_error_is_restarted(stage: Stage, tap: EventTap) -> None:
    await add_node(stage, tap)
    since, pid = len(tap.events), await nudge(stage)
    await step(tap, "watching", since=since)
    await tap.wait_for("ready", "atlas", since=since)
    assert (await stage.node("atlas")).pid != pid
    told = await stage.log.wait_for_message(
        lambda m: any(e["title"] == "atlas: Its cache is stale" for e in m.embeds), timeout_s=30
    )
    words = told.embeds[0]["description"]
    assert words.startswith("Done: restarted; ready again after ")
    assert "RuntimeError: the cache is stale" in words


@pytest.mark.slow
async def test_the_next_master_goes_on_watching_whether_it_helped(stage: Stage, tap: EventTap) -> None:
    patient = SOLUTION.replace("stays_away_s = 6", "stays_away_s = 25")
    (stage.home / "solutions" / "stale_cache.toml").write_text(patient)
    await kill_master(stage)
    await stage.start_master()
    async with stage.listen() as second:
        await add_node(stage, second)
        await nudge(stage)
        await step(second, "watching")
        while (await rows(stage))[0].ready_ms is None:  # noqa: ASYNC110 - of the ledger nothing tells
            await asyncio.sleep(0.02)
    await kill_master(stage)
    await stage.start_master()
    async with stage.listen() as third:
        await step(third, "helped")
    # What is told is written soon.
    while (await rows(stage))[0].outcome == "watching":  # noqa: ASYNC110 - of the ledger nothing tells
        await asyncio.sleep(0.02)
    (row,) = await rows(stage)
    assert (row.outcome, row.detail) == ("helped", "the error stayed away for 25s")
    assert row.ready_ms is not None


@pytest.mark.slow
async def test_an_action_that_the_death_of_the_master_cut_off_counts_as_tried(stage: Stage, tap: EventTap) -> None:
    slow = SOLUTION.replace('{name = "restart"}', '{name = "restart", delay_s = 30}')
    (stage.home / "solutions" / "stale_cache.toml").write_text(slow)
    await kill_master(stage)
    await stage.start_master()
    async with stage.listen() as second:
        await add_node(stage, second)
        pid = await nudge(stage)
        await step(second, "running")
        while not await rows(stage):  # noqa: ASYNC110 - of the ledger nothing tells
            await asyncio.sleep(0.02)
        await kill_master(stage)
    await stage.start_master()
    async with stage.listen() as third:
        while (await rows(stage))[0].outcome == "running":  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
        (row,) = await rows(stage)
        assert (row.outcome, row.detail) == ("interrupted", "the master ended while it was carried out")
        assert (await stage.node("atlas")).pid == pid
        await nudge(stage)
        await step(third, "running")


@pytest.mark.slow
async def test_a_crash_that_a_solution_tells_of_is_told_once(stage: Stage, tap: EventTap) -> None:
    known = SOLUTION.replace('"auto"', '"manual"').replace('["report"]', '["exit"]').replace('"restart"', '"notify"')
    text = known.replace("RuntimeError: the cache is stale$", "^ValueError: no strings on me$")
    (stage.home / "solutions" / "stale_cache.toml").write_text(
        text.replace("event on_nudge: RuntimeError: the cache is stale", "ValueError: no strings on me")
    )
    await kill_master(stage)
    await stage.start_master()
    async with stage.listen() as second:
        await stage.register("atlas")
        await second.wait_for("ready", "atlas")
        pid = (await stage.node("atlas")).pid or 0
        program = stage.home / "bots" / "atlas" / "bot.py"
        program.write_text("raise ValueError('no strings on me')\n")
        os.kill(pid, signal.SIGKILL)
        await step(second, "told")
        # The crash watch gathers for some seconds; its word on the SIGKILL comes after that.
        await stage.log.wait_for_message(lambda m: any("SIGKILL" in str(e["title"]) for e in m.embeds), timeout_s=60)
    titles = [e["title"] for m in stage.log.messages for e in m.embeds]
    assert "atlas: Its cache is stale" in titles
    assert not [title for title in titles if "no strings on me" in title and "quarantined" not in title], titles
