"""Patches that go wrong on real nodes of a real master: each ends with the old code, and says why."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from master.operations import patches
from master.operations.parameters import PatchParams, PatchStopParams
from tests.journeys.patched_fleet import GOOD, NAMES, Fleet, open_fleet, states

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SETTINGS = """\
PATCHES = {"ANSWER_WITHIN_S": 10, "WAVES": [100], "MOST_SOAK_S": 60}
SUPERVISION |= {"GRACE_S": 1, "MISSED_PULSES": 4}
"""
SETUP = "async def setup(bot):\n"


@pytest.fixture
async def fleet(empty_ledger: Path) -> AsyncIterator[Fleet]:
    async with open_fleet(empty_ledger, SETTINGS) as opened:
        yield opened


def which(text: str, *lines: str) -> str:
    """Return a cog with further lines in its setup."""
    return GOOD.format(text=text).replace(SETUP, SETUP + "".join(f"    {line}\n" for line in lines))


async def test_one_that_blocks_the_loop_is_bad_its_node_is_replaced_and_runs_the_old_code(fleet: Fleet) -> None:
    before = await fleet.pids()
    blocks = which("x", "import asyncio, time", "asyncio.get_running_loop().call_later(1, time.sleep, 600)")
    patch = await fleet.deploy(blocks, soak_s=60.0)
    shown = await fleet.until(patch, "rolled_back")
    assert states(shown)["borealis"] == "skipped"
    assert "atlas" in shown.patch.reason
    await fleet.until_ready()
    after = await fleet.pids()
    assert [name for name in NAMES if after[name] != before[name]] == ["atlas"]
    assert fleet.has() == []


async def test_one_that_fails_on_one_node_as_it_runs_goes_back_everywhere_with_its_traceback(fleet: Fleet) -> None:
    odd = which(
        "odd",
        "import asyncio, pathlib",
        "if pathlib.Path.cwd().name == 'borealis':",
        "    async def on_oddity(): raise RuntimeError('not on this one')",
        "    bot.add_listener(on_oddity)",
        "    asyncio.get_running_loop().call_later(1, bot.dispatch, 'oddity')",
    )
    patch = await fleet.deploy(odd, canary=0, soak_s=4.0)
    shown = await fleet.until(patch, "rolled_back")
    assert fleet.has() == []
    assert "RuntimeError" in shown.patch.reason
    assert "borealis" in shown.patch.reason
    (bad,) = [node for node in shown.nodes if "not on this one" in node.detail]
    assert bad.node == "borealis"


async def test_where_the_rollback_fails_too_the_bot_runs_on_and_a_retry_takes_it_back(fleet: Fleet) -> None:
    old = which("old", "import pathlib", "assert not pathlib.Path('poison').exists(), 'there is poison'")
    await fleet.until_told(await fleet.deploy(old, canary=0), "done")
    patch = await fleet.deploy(GOOD.format(text="new"), canary=0)
    await fleet.until_told(patch, "done")
    before = await fleet.pids()
    poison = fleet.folder("borealis") / "poison"
    poison.touch()

    await fleet.run(patches.rollback, PatchStopParams(patch=patch.id))
    shown = await fleet.until(patch, "failed")
    assert states(shown) == {"atlas": "rolled_back", "borealis": "rollback_failed", "cassini": "rolled_back"}
    assert shown.patch.reason.startswith("could not go back: borealis")
    (stuck,) = [node for node in shown.nodes if node.node == "borealis"]
    assert "there is poison" in stuck.detail
    assert await fleet.pids() == before
    assert [await fleet.answer(name) for name in ("atlas", "cassini")] == ["old", "old"]

    # Still there: it is no better, and says so again.
    seen = len(fleet.tap.events)
    await fleet.run(patches.retry, PatchParams(patch.id))
    await fleet.tap.wait_for("patch", "", detail=f"{patch.label}: failed", since=seen)

    poison.unlink()
    await fleet.run(patches.retry, PatchParams(patch.id))
    shown = await fleet.until(patch, "rolled_back")
    assert set(states(shown).values()) == {"rolled_back"}
    assert await fleet.answers() == ["old"] * 3
    await fleet.until_ready()


async def test_a_node_killed_between_stage_and_switch_is_asked_again(fleet: Fleet) -> None:
    pids = await fleet.pids()
    patch = await fleet.deploy(GOOD.format(text="new"), canary=0)
    await fleet.until_told(patch, "staged", node="borealis")
    os.kill(pids["borealis"] or 0, signal.SIGKILL)
    shown = await fleet.until_in(patch, "done", "rolled_back", "failed")
    # Killed a moment later it had it in force, on trial: then it starts with the old code, and the patch is bad.
    if shown.patch.state == "done":
        assert await fleet.answers() == ["new"] * 3
    else:
        assert fleet.has() == []
    await fleet.until_ready()


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[str], None]]:
    """Mount a small disk over a folder, with what is in it; yields what mounts it anew with other options."""
    saved = folder.with_name("saved")
    shutil.copytree(folder, saved, symlinks=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "fleet-test", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)  # noqa: S603, S607

    try:
        shutil.copytree(saved, folder, dirs_exist_ok=True, symlinks=True)
        shutil.rmtree(saved)
        yield remount
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


async def test_a_node_whose_disk_is_full_or_read_only_has_not_changed_and_says_so(fleet: Fleet) -> None:
    await fleet.stage.act("stop", ["borealis"])
    folder = fleet.folder("borealis")
    with small_disk(folder) as remount:
        seen = len(fleet.tap.events)
        await fleet.stage.act("start", ["borealis"])
        await fleet.tap.wait_for("verified", "borealis", since=seen)
        before = await fleet.pids()
        ballast = folder / "ballast"
        troubles: list[tuple[Callable[[], None], Callable[[], None], str]] = [
            (lambda: fill(ballast), ballast.unlink, "the disk is full"),
            (lambda: remount("ro"), lambda: remount("rw"), "the disk is read-only"),
        ]
        for make, unmake, told in troubles:
            files = code_of(folder)
            make()
            patch = await fleet.deploy(GOOD.format(text="new"), canary=0)
            shown = await fleet.until(patch, "rolled_back")
            (bad,) = [node for node in shown.nodes if node.node == "borealis"]
            assert told in bad.detail, bad
            assert code_of(folder) == files
            assert fleet.has() == []
            unmake()
        patch = await fleet.deploy(GOOD.format(text="new"), canary=0)
        await fleet.until_told(patch, "done")
        assert await fleet.answers() == ["new"] * 3
        assert await fleet.pids() == before
        await fleet.stage.act("stop", ["borealis"])


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2


def code_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*.py") if ".releases" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
