"""Patches from an author's signature to real nodes, and back: what each fault can do, and what it cannot."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from master.control.client import RemoteError
from master.demonstration.stage import EventTap, Stage
from master.operations import patches
from master.operations.parameters import PatchDeployParams, PatchStopParams
from tests.journeys.patched_fleet import GOOD, NAMES, Fleet, patched_fleet, states

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def fleet(stage: Stage, tap: EventTap) -> AsyncIterator[Fleet]:
    async with patched_fleet(stage, tap) as opened:
        yield opened


async def test_a_good_patch_goes_over_canary_and_waves_without_a_new_session_and_back(fleet: Fleet) -> None:
    before, identified = await fleet.pids(), fleet.identifies()
    patch = await fleet.deploy(GOOD.format(text="ranks"))
    shown = await fleet.until(patch, "done")
    assert states(shown) == dict.fromkeys(NAMES, "good")
    assert sorted(node.wave for node in shown.nodes) == [0, 1, 2]
    assert [await fleet.answer(name) for name in NAMES] == ["ranks"] * 3
    assert (await fleet.pids(), fleet.identifies()) == (before, identified)

    await fleet.run(patches.rollback, PatchStopParams(patch="news"))
    shown = await fleet.until(patch, "rolled_back")
    assert set(states(shown).values()) == {"rolled_back"}
    assert fleet.has() == []
    assert (await fleet.pids(), fleet.identifies()) == (before, identified)


@pytest.mark.slow
async def test_one_that_restarts_resumes_every_session(fleet: Fleet) -> None:
    before, identified = await fleet.pids(), fleet.identifies()
    patch = await fleet.deploy(GOOD.format(text="anew"), canary=0, reload=())
    await fleet.until(patch, "done")
    after = await fleet.pids()
    assert all(after[name] not in (None, before[name]) for name in NAMES)
    assert fleet.identifies() == identified
    assert [await fleet.answer(name) for name in NAMES] == ["anew"] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken", ["import nothing_of_that_name\n", "async def setup(bot):\n    raise OSError('no')\n"]
)
async def test_one_that_does_not_load_stops_at_the_canary_and_says_why(fleet: Fleet, broken: str) -> None:
    before = await fleet.pids()
    patch = await fleet.deploy(broken)
    shown = await fleet.until(patch, "rolled_back")
    assert fleet.has() == []
    assert await fleet.pids() == before
    (canary,) = [node for node in shown.nodes if node.state == "failed"]
    assert ("nothing_of_that_name" in canary.detail) or ("OSError: no" in canary.detail)
    assert sorted(states(shown).values()) == ["failed", "skipped", "skipped"]
    # It is quarantined.
    with pytest.raises(RemoteError, match="news 1"):
        await fleet.run(patches.deploy, PatchDeployParams(patch=patch.id))


@pytest.mark.slow
async def test_one_that_is_bad_on_one_node_alone_goes_back_everywhere(fleet: Fleet) -> None:
    odd = GOOD.format(text="odd") + "    import pathlib\n    assert pathlib.Path.cwd().name != 'borealis', 'not here'\n"
    patch = await fleet.deploy(odd, canary=0)
    shown = await fleet.until(patch, "rolled_back")
    assert fleet.has() == []
    (bad,) = [node for node in shown.nodes if "not here" in node.detail]
    assert bad.node == "borealis"
    assert "borealis" in shown.patch.reason


@pytest.mark.slow
async def test_one_that_crashes_after_five_seconds_is_gone_at_the_next_start(fleet: Fleet) -> None:
    crashing = GOOD.format(text="x").replace(
        "async def setup(bot):\n",
        "import asyncio, os\n\nasync def setup(bot):\n    asyncio.get_running_loop().call_later(5, os._exit, 3)\n",
    )
    before = await fleet.pids()
    patch = await fleet.deploy(crashing, soak_s=60.0)
    shown = await fleet.until(patch, "rolled_back")
    assert fleet.has() == []
    after = await fleet.pids()
    assert [name for name in NAMES if after[name] != before[name]] == ["atlas"]
    assert states(shown)["borealis"] == "skipped"


async def fleet_cli(fleet: Fleet, *arguments: str) -> tuple[int, str]:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master.cli", "patch", *arguments, "--home", str(fleet.stage.home)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await running.communicate()
    return running.returncode or 0, told.decode()


@pytest.mark.slow
async def test_the_command_line_follows_to_the_end_and_its_exit_code_says_which(fleet: Fleet) -> None:
    good = fleet.write(GOOD.format(text="typed"))
    code, told = await fleet_cli(fleet, "deploy", str(good), "--canary", "1", "--soak", "0", "--follow")
    assert code == 0, told
    assert "1 node as the canary, then 25 % of the nodes, then 100 %" in told
    assert "canary: 1 good" in told
    assert told.rstrip().endswith("news 1  ● done: 3 good")

    code, told = await fleet_cli(fleet, "deploy", str(fleet.write("import nothing\n")), "--soak", "0", "--follow")
    assert code == 1, told
    assert "ModuleNotFoundError: No module named 'nothing'" in told

    code, told = await fleet_cli(fleet, "status")
    assert code == 0
    assert "2 news 1 good  borealis, cassini" in told
