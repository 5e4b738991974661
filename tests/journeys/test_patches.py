"""Patches from an author's signature to real nodes, and back: what each fault can do, and what it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from master.control.client import RemoteError
from master.demonstration.author import Author
from master.demonstration.stage import EventTap, Stage
from master.operations import patches
from master.operations.parameters import PatchDeployParams, PatchParams, PatchReceiveParams, PatchStopParams
from master.services.core.patch_views import PatchDetails, PatchView

pytestmark = pytest.mark.timeout(120)

NAMES = ("atlas", "borealis", "cassini")
NEWS = "cogs/news.py"
GOOD = """\
import discord
from discord import app_commands
from discord.ext import commands

class News(commands.Cog):
    @app_commands.command(description="What is new?")
    async def news(self, interaction: discord.Interaction) -> None:
        await interaction.response.send_message("{text}")

async def setup(bot):
    await bot.add_cog(News())
"""


@dataclass
class Fleet:
    """Three nodes whose master trusts an author."""

    stage: Stage
    tap: EventTap
    author: Author
    version: int = 0

    def folder(self, name: str) -> Path:
        return self.stage.home / "bots" / name

    async def run(self, operation: Any, parameters: Any) -> Any:
        return await asyncio.to_thread(self.stage.client.run, operation, parameters)

    def write(self, text: str, **more: Any) -> Path:
        """Write a patch that brings a cog, or another text of it."""
        self.version += 1
        given = {"reload": ("news",), **more}
        return self.author.write(self.folder("atlas"), {NEWS: text}, name="news", version=self.version, **given)

    async def deploy(self, text: str, *, canary: int = 1, soak_s: float = 0.0, **more: Any) -> PatchView:
        receiving = PatchReceiveParams(path=str(self.write(text, **more)), deploy=True, canary=canary, soak_s=soak_s)
        deployed: PatchView = await self.run(patches.receive, receiving)
        return deployed

    async def until_told(self, patch: PatchView, state: str) -> None:
        await self.tap.wait_for("patch", "", detail=f"{patch.label}: {state.replace('_', ' ')}", timeout_s=60)

    async def until(self, patch: PatchView, state: str) -> PatchDetails:
        await self.until_told(patch, state)
        shown: PatchDetails = await self.run(patches.show, PatchParams(patch.id))
        assert shown.patch.state == state, shown
        return shown

    async def pids(self) -> dict[str, int | None]:
        return {node.name: node.pid for node in (await self.stage.status()).nodes}

    def has(self) -> list[str]:
        """Return the nodes in whose folder the cog is."""
        return [name for name in NAMES if (self.folder(name) / NEWS).exists()]

    async def answer(self, name: str) -> str:
        sent = await self.stage.operator.runs_command(self.stage.office, self.stage.bots[name], "news")
        return sent.content

    def identifies(self) -> int:
        return sum(self.stage.sandbox.gateway.identifies.get(self.stage.bots[name].id, 0) for name in NAMES)


@pytest.fixture
async def fleet(stage: Stage, tap: EventTap) -> Fleet:
    author = Author(stage.home)
    await asyncio.to_thread(author.is_trusted_by, stage.client)
    await asyncio.gather(*(stage.register(name) for name in NAMES))
    for name in NAMES:
        await tap.wait_for("verified", name)
    return Fleet(stage, tap, author)


def states(shown: PatchDetails) -> dict[str, str]:
    return {node.node: node.state for node in shown.nodes}


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


@pytest.mark.slow
async def test_the_next_master_goes_on_where_one_was_killed(fleet: Fleet) -> None:
    patch = await fleet.deploy(GOOD.format(text="late"), canary=0, reload=())
    await fleet.until_told(patch, "rolling")
    master = fleet.stage.master
    assert master is not None
    os.kill(master.process.pid, signal.SIGKILL)
    await master.process.wait()
    await fleet.stage.start_master()
    shown: PatchDetails = await fleet.run(patches.show, PatchParams(patch.id))
    while shown.patch.state in ("rolling", "soaking"):
        await asyncio.sleep(0.1)
        shown = await fleet.run(patches.show, PatchParams(patch.id))
    assert states(shown) == dict.fromkeys(NAMES, "good")
    assert [await fleet.answer(name) for name in NAMES] == ["late"] * 3


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
