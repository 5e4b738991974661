"""Programs that know nothing of patches are patched in their folders, really, and restarted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from master.errors import FleetError
from master.events import Event, NodePatched
from master.operations import patches
from master.operations.parameters import PatchDeployParams, PatchParams, PatchReceiveParams, PatchStopParams
from master.services.core.patch_views import PatchDetails, PatchView
from master.services.onboarding.saga import RegisterRequest
from master.supervision.states import NodeState
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


TALKING = (
    "import signal, sys\n"
    "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))\n"
    "from cogs.one import x\n"
    "open('starts', 'a').write(f'{x} ')\n"
    "print('up', flush=True)\n"
    "while True:\n    signal.pause()\n"
)


async def register_command(house: House, name: str) -> Path:
    """Register a program that is run by a COMMAND, and says which code it has."""
    folder = house.base / name
    (folder / "cogs").mkdir(parents=True)
    (folder / "bot.py").write_text(TALKING)
    (folder / "cogs" / "one.py").write_bytes(OLD)
    options = {"COMMAND": f"{sys.executable} bot.py", "READY_WHEN": "log:up"}
    await house.register(OPERATOR, RegisterRequest(name=name, token=None, folder=name, options=options, start=True))
    await house.services.supervisor.wait_state(house.services.directory.find(name).id, (NodeState.READY,), timeout_s=15)
    return folder


def states_told(house: House) -> list[str]:
    """Return a list that grows with each state that is told of a node."""
    told: list[str] = []
    house.services.bus.on(NodePatched, lambda event: told.append(event.state))
    return told


@pytest.mark.slow
async def test_a_command_that_ends_with_its_patch_starts_with_what_it_ran_before(bench: Bench) -> None:
    house = bench.house
    folder = await register_command(house, "atlas")
    told = states_told(house)
    async with rolling(bench):
        path = bench.bundle(b"raise SystemExit(7)\n")
        await house.operations.run(patches.receive, OPERATOR, PatchReceiveParams(path=path, deploy=True))
        ended = await until(bench, "ranks", *ENDED)
    assert ended.patch.state == "rolled_back"
    assert "exited with code 7" in ended.patch.reason
    assert (folder / "cogs" / "one.py").read_bytes() == OLD
    assert not {"healthy", "good"} & set(told)


async def test_a_command_that_ends_on_trial_goes_back_with_its_next_start(bench: Bench) -> None:
    house = bench.house
    folder = await register_command(house, "atlas")
    node, run = house.services.directory.find("atlas"), house.operations.run
    async with rolling(bench):
        wanted = PatchReceiveParams(path=bench.bundle(), deploy=True, soak_s=600.0)
        await run(patches.receive, OPERATOR, wanted)
        await until(bench, "ranks", "soaking")
        assert (await run(patches.show, OPERATOR, PatchParams("ranks"))).nodes[0].state == "healthy"
        os.kill(house.services.supervisor.view(node.id).pid or 0, signal.SIGUSR1)
        ended = await until(bench, "ranks", *ENDED)
    assert ended.patch.state == "rolled_back"
    assert "ended before the release was good: exited with code 7" in ended.patch.reason
    assert (folder / "cogs" / "one.py").read_bytes() == OLD
    await house.services.supervisor.wait_state(node.id, (NodeState.READY,), timeout_s=15)
    assert (folder / "starts").read_text() == "1 2 1 "


@pytest.mark.slow
async def test_a_command_that_works_calls_its_release_good_and_keeps_it(bench: Bench) -> None:
    house = bench.house
    folder = await register_command(house, "atlas")
    node, run = house.services.directory.find("atlas"), house.operations.run
    with house.services.bus.subscribe(NodePatched) as moves:
        async with rolling(bench):
            await run(patches.receive, OPERATOR, PatchReceiveParams(path=bench.bundle(), deploy=True, soak_s=0.2))
            async with asyncio.timeout(30):
                while (await moves.get()).state != "good":
                    pass
            await house.services.supervisor.restart(node.id)
            await house.services.supervisor.wait_state(node.id, (NodeState.READY,), timeout_s=15)
    assert (folder / "cogs" / "one.py").read_bytes() == NEW
