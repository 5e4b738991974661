"""A node whose cog is broken: shown, told, left running, and well again once the cog is mended."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from master.operations.parameters import RollParams
from master.services.core.views import ActionResult, NodeStatus

pytestmark = pytest.mark.timeout(120)

BROKEN = "raise RuntimeError('no strings')\n"


def cog_of(stage: Stage, node: str, name: str = "music") -> Path:
    return stage.home / "bots" / node / "cogs" / f"{name}.py"


async def alert(stage: Stage, title: str) -> dict[str, str]:
    """Wait for an alert in LOG_CHANNEL, and return it."""
    shown = await stage.log.wait_for_message(lambda m: any(e.get("title") == title for e in m.embeds))
    embed: dict[str, str] = next(e for e in shown.embeds if e.get("title") == title)
    return embed


async def pulsed_for(stage: Stage, node: str, seconds: float) -> NodeStatus:
    """Wait until a node's process is that old, and pulses."""
    while True:
        found = await stage.node(node)
        if found.uptime_s is not None and found.uptime_s > seconds and found.latency_ms is not None:
            return found
        await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_broken_cog_is_shown_and_told_until_it_is_mended(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    cog_of(stage, "atlas").write_text(BROKEN)
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    degraded = await tap.wait_for("degraded", "atlas", since=since)
    assert degraded.detail == "1 cog failed: music"
    assert (await alert(stage, "atlas is degraded"))["description"] == "1 cog failed: music"

    # Older than a node gets whose pulses are missing (2 x 3 x 0.5 s): this one was not replaced.
    node = await pulsed_for(stage, "atlas", 4.5)
    assert (node.state, node.cogs_failed, node.detail) == ("degraded", ("music",), "1 cog failed: music")
    version = (stage.home / "bots" / "atlas" / "VERSION").read_text().strip()
    assert (node.pid, node.guilds, node.version) == (degraded.pid, 1, version)
    assert [event.kind for event in tap.events[since:] if event.node == "atlas"].count("degraded") == 1

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master.cli", "status", "--home", str(stage.home)), stdout=asyncio.subprocess.PIPE
    )
    table = (await process.communicate())[0].decode()
    assert "1 cog failed: music" in table
    shown = await stage.operator.runs_command(stage.office, stage.master_bot, "runbots")
    await shown.wait_until(lambda i: bool(i.embeds))
    assert shown.embeds[0]["title"] == "0 of 1 nodes ready · 1 troubled"
    assert "1 cog failed: music" in shown.embeds[0]["description"]

    cog_of(stage, "atlas").unlink()
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    await alert(stage, "atlas is no longer degraded")
    node = await stage.node("atlas")
    assert (node.state, node.cogs_failed) == ("ready", ())


async def roll(stage: Stage) -> dict[str, ActionResult]:
    params = RollParams(all=True, width=1)
    results = await asyncio.to_thread(stage.client.call, "roll", params, answer=list[ActionResult], timeout_s=60.0)
    return {result.node: result for result in results}


@pytest.mark.slow
async def test_a_rolling_restart_halts_on_a_cog_that_failed_and_passes_one_that_had_failed_before(
    stage: Stage, tap: EventTap
) -> None:
    for name in ("atlas", "borealis"):
        await stage.register(name)
        await tap.wait_for("ready", name)
    cog_of(stage, "atlas").write_text(BROKEN)
    before = (await stage.node("borealis")).pid
    halted = await roll(stage)
    assert (halted["atlas"].ok, halted["atlas"].state) == (False, "degraded")
    assert halted["atlas"].detail == "1 cog failed: music"
    assert (halted["borealis"].code, halted["borealis"].detail) == ("halted", "left as it is: atlas came back degraded")
    assert (await stage.node("borealis")).pid == before

    # The next one makes nothing worse.
    passed = await roll(stage)
    assert {name: (result.ok, result.state) for name, result in passed.items()} == {
        "atlas": (True, "degraded"),
        "borealis": (True, "ready"),
    }
    assert (await stage.node("borealis")).pid != before

    # Another cog that fails does.
    cog_of(stage, "atlas", "fun").write_text(BROKEN)
    again = await roll(stage)
    assert again["atlas"].detail == "2 cogs failed: fun, music"
    assert again["borealis"].code == "halted"
