"""Programs that know nothing of patches are patched in their folders, really, and restarted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from master.errors import FleetError
from master.events import Event
from master.operations import patches
from master.operations.parameters import PatchDeployParams, PatchParams, PatchReceiveParams, PatchStopParams
from master.services.core.patch_views import PatchDetails, PatchView
from master.services.onboarding.saga import RegisterRequest
from tests.services.conftest import OPERATOR, House
from tests.services.patches.conftest import NEW, OLD, Bench

PROGRAM = "import signal\nprint('up', flush=True)\nsignal.pause()\n"
ENDED = ("done", "rolled_back", "failed", "aborted")


@asynccontextmanager
async def rolling(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.house.services.patches.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def register(house: House, name: str, *, start: bool = True) -> Path:
    folder = house.base / name
    (folder / "cogs").mkdir(parents=True)
    (folder / "bot.py").write_text(PROGRAM)
    (folder / "cogs" / "one.py").write_bytes(OLD)
    await house.register(
        OPERATOR,
        RegisterRequest(name=name, token=None, folder=name, options={"READY_WHEN": "log:up"}, start=start),
    )
    return folder


async def until(bench: Bench, word: str, *states: str) -> PatchDetails:
    """Return a patch once it is in one of these states; each change is an event."""
    with bench.house.services.bus.subscribe(Event) as events:
        while True:
            found = await bench.house.operations.run(patches.show, OPERATOR, PatchParams(word))
            if found.patch.state in states:
                return found
            try:
                async with asyncio.timeout(30):
                    await events.get()
            except TimeoutError:
                pytest.fail(f"nothing happens: {found}")


@pytest.mark.slow
async def test_a_patch_goes_over_canary_and_wave_to_running_programs_and_back(bench: Bench) -> None:
    house = bench.house
    folders = [await register(house, name) for name in ("atlas", "vega")]
    run = house.operations.run
    async with rolling(bench):
        begun: PatchView = await run(patches.receive, OPERATOR, PatchReceiveParams(path=bench.bundle(), deploy=True))
        assert begun.state in ("approved", "rolling")
        done = await until(bench, "ranks", *ENDED)
        assert done.patch.state == "done", done
        assert {view.state for view in done.nodes} == {"good"}
        assert [(folder / "cogs" / "one.py").read_bytes() for folder in folders] == [NEW] * 2
        await run(patches.rollback, OPERATOR, PatchStopParams(patch="ranks", why="not wanted"))
        back = await until(bench, "ranks", "rolled_back", "failed")
        assert (back.patch.state, back.patch.reason) == ("rolled_back", "not wanted")
        assert [(folder / "cogs" / "one.py").read_bytes() for folder in folders] == [OLD] * 2
        with pytest.raises(FleetError, match="quarantined"):
            await run(patches.receive, OPERATOR, PatchReceiveParams(path=str(bench.folder / "1.fleetpatch")))
        with pytest.raises(FleetError, match="cannot be rolled out"):
            await run(patches.deploy, OPERATOR, PatchDeployParams(patch="ranks"))
