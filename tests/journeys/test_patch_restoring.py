"""A release that went back before it was good, and that an operator restores: it stays, or says that it did not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from master.demonstration.stage import EventTap, Stage
from master.operations import lineage, patches
from master.operations.parameters import LineageRestoreParams, NodeParams, PatchStopParams
from master.services.core.lineage_views import LineageView
from nodekit.releases import Releases, ReleaseState
from tests.journeys.patched_fleet import GOOD, Fleet, patched_fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def fleet(stage: Stage, tap: EventTap) -> AsyncIterator[Fleet]:
    async with patched_fleet(stage, tap, ("atlas",)) as opened:
        yield opened


async def went_back(fleet: Fleet, reload: tuple[str, ...]) -> int:
    """Have a patch go back before it was good; returns the generation that had it."""
    patch = await fleet.deploy(GOOD.format(text="ranks"), soak_s=60.0, reload=reload)
    await fleet.until_told(patch, "healthy", node="atlas")
    await fleet.run(patches.rollback, PatchStopParams(patch="news"))
    await fleet.until(patch, "rolled_back")
    assert fleet.has() == []
    shown: LineageView = await fleet.run(lineage.lineage, NodeParams("atlas"))
    return max(one.generation for one in shown.generations if one.cause == "patched")


async def restart(fleet: Fleet) -> None:
    since = len(fleet.tap.events)
    await fleet.stage.act("restart", ["atlas"])
    await fleet.tap.wait_for("ready", "atlas", since=since)


async def restore(fleet: Fleet, generation: int) -> None:
    since = len(fleet.tap.events)
    await fleet.run(lineage.restore, LineageRestoreParams(name="atlas", generation=generation))
    await fleet.tap.wait_for("ready", "atlas", since=since)
    assert fleet.has() == ["atlas"]
    assert await fleet.answer("atlas") == "ranks"


async def test_a_restored_release_that_works_is_good_and_stays(fleet: Fleet) -> None:
    await restore(fleet, await went_back(fleet, ()))
    releases = Releases(fleet.folder("atlas"))
    async with asyncio.timeout(60):
        while releases.list()[-1].state is not ReleaseState.GOOD:  # noqa: ASYNC110 - of the folder nothing tells
            await asyncio.sleep(0.05)
    await restart(fleet)
    assert await fleet.answer("atlas") == "ranks"


async def test_a_restored_release_that_ends_before_it_is_good_goes_back_and_that_is_told(fleet: Fleet) -> None:
    await restore(fleet, await went_back(fleet, ("news",)))
    await restart(fleet)
    assert fleet.has() == []
    told = await fleet.stage.log.wait_for_message(
        lambda m: any(e["title"] == "atlas went back from what was restored" for e in m.embeds), timeout_s=30
    )
    assert "the process ended before the release was good" in told.embeds[0]["description"]
