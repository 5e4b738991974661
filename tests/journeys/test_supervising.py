"""Operating a running fleet: rolling restarts, history, adoption."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import time

import psutil
import pytest

from master.demonstration.stage import EventTap, Stage
from master.operations.parameters import NodeParams, RegisterParams, RollParams
from master.services.core.views import ActionResult, NodeHistoryView, Registered
from master.supervision.isolation import describe_isolation, landlock_problem

pytestmark = pytest.mark.timeout(120)


async def three(stage: Stage, tap: EventTap) -> list[str]:
    names = ["atlas", "borealis", "cassini"]
    await asyncio.gather(*(stage.register(name) for name in names))
    for name in names:
        await tap.wait_for("ready", name)
    return names


async def roll(stage: Stage, width: int) -> dict[str, ActionResult]:
    params = RollParams(all=True, width=width)
    results = await asyncio.to_thread(stage.client.call, "roll", params, answer=list[ActionResult], timeout_s=60.0)
    return {result.node: result for result in results}


async def test_a_rolling_restart_replaces_nodes_one_by_one(stage: Stage, tap: EventTap) -> None:
    names = await three(stage, tap)
    await stage.act("stop", ["cassini"])
    before = {node.name: node.pid for node in (await stage.status()).nodes}
    since = len(tap.events)
    results = await roll(stage, 1)
    assert {name: (result.ok, result.state) for name, result in results.items()} == {
        "atlas": (True, "ready"),
        "borealis": (True, "ready"),
        "cassini": (True, "stopped"),
    }
    assert results["cassini"].detail == "left as it is: stopped"
    after = {node.name: node.pid for node in (await stage.status()).nodes}
    assert after["atlas"] not in (None, before["atlas"])
    assert after["cassini"] is None
    # The second restarts only after the first is ready again.
    steps = [(event.kind, event.node) for event in tap.events[since:] if event.kind in ("stopped", "ready")]
    first, second = (steps[0][1], steps[2][1])
    assert steps == [("stopped", first), ("ready", first), ("stopped", second), ("ready", second)]
    assert {first, second} == set(names) - {"cassini"}


async def test_a_rolling_restart_halts_on_the_first_that_does_not_come_back(stage: Stage, tap: EventTap) -> None:
    await three(stage, tap)
    before = {node.name: node.pid for node in (await stage.status()).nodes}
    (stage.home / "bots" / "atlas" / "bot.py").write_text("raise SystemExit('broken by an edit')")
    results = await roll(stage, 1)
    assert not results["atlas"].ok
    assert "exited with code 1" in results["atlas"].detail
    for name in ("borealis", "cassini"):
        assert not results[name].ok
        assert (results[name].code, results[name].state) == ("halted", "ready")
        assert results[name].detail == "left as it is: atlas did not come back"
    after = {node.name: node.pid for node in (await stage.status()).nodes}
    assert (after["borealis"], after["cassini"]) == (before["borealis"], before["cassini"])


@pytest.mark.slow
async def test_history_shows_the_usage_of_a_node(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")

    async def ask() -> NodeHistoryView:
        params = NodeParams(name="atlas")
        return await asyncio.to_thread(stage.client.call, "history", params, answer=NodeHistoryView, timeout_s=10.0)

    while len((await ask()).seconds.cpu_percent) < 2:  # noqa: ASYNC110 - a second is a second
        await asyncio.sleep(0.1)
    found = await ask()
    assert (found.seconds.slot_s, found.minutes.slot_s) == (1.0, 60.0)
    assert found.seconds.rss_mb[-1] > 5
    assert found.node.pss_bytes is not None
    assert found.node.rss_bytes is not None
    assert 1 << 20 < found.node.pss_bytes < found.node.rss_bytes
    # Its socket to the gateway; the descriptors are at least the three standard ones.
    assert found.node.connections == 1
    assert found.node.open_files is not None
    assert found.node.open_files > 3
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master.cli", "history", "atlas", "--home", str(stage.home)),
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert "five minutes, CPU" in told.decode()


@pytest.mark.slow
async def test_a_foreign_bot_without_a_run_record_is_not_started_twice(stage: Stage, tap: EventTap) -> None:
    folder = stage.home / "bots" / "foreign"
    folder.mkdir(parents=True)
    (folder / "bot.py").write_text("import signal; signal.pause()")
    params = RegisterParams(
        name="foreign", token=stage.create_bot("foreign").token, folder="foreign", readiness="process"
    )
    await asyncio.to_thread(stage.client.call, "register", params, answer=Registered, timeout_s=60.0)
    await tap.wait_for("ready", "foreign")
    before = (await stage.node("foreign")).pid
    assert stage.master is not None
    stage.master.process.kill()
    await stage.master.process.wait()
    # As if the master had died between the fork and the record.
    for record in (stage.home / "state" / "runs").iterdir():
        record.unlink()
    with sqlite3.connect(stage.home / "state" / "ledger.db") as ledger:
        ledger.execute("UPDATE nodes SET pid = NULL, pid_started_at = NULL")
    await stage.start_master()
    assert (await stage.node("foreign")).pid == before
    alive = [process.pid for process in psutil.process_iter() if _cwd(process) == str(folder)]
    assert alive == [before]


def _cwd(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


@pytest.mark.slow
async def test_an_adopted_node_keeps_its_process_and_its_pulses(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    since, asked_at = len(tap.events), time.monotonic()
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    before, looked_at = await stage.node("atlas"), time.monotonic()
    # Not since the zygote forked it as a spare.
    assert (before.uptime_s or 0.0) <= looked_at - asked_at + 0.02
    assert stage.master is not None
    stage.master.process.kill()
    await stage.master.process.wait()
    await stage.start_master()
    async with stage.listen() as later:
        if (await stage.node("atlas")).state != "ready":
            await later.wait_for("ready", "atlas")
    passed_s, after = time.monotonic() - looked_at, await stage.node("atlas")
    assert (after.pid, after.state, after.restarts) == (before.pid, "ready", 1)
    # Its own, not this master's: to the 10 ms that the kernel tells.
    assert (after.uptime_s or 0.0) >= (before.uptime_s or 0.0) + passed_s - 0.02
    assert after.last_pulse_s_ago is not None
    assert after.last_pulse_s_ago < 5


async def restart_master(stage: Stage) -> None:
    assert stage.master is not None
    stage.master.process.kill()
    await stage.master.process.wait()
    await stage.start_master()


@pytest.mark.slow
@pytest.mark.skipif(bool(landlock_problem()), reason=describe_isolation())
async def test_the_status_says_of_each_process_whether_it_is_isolated_not_what_the_settings_would_have(
    stage: Stage, tap: EventTap
) -> None:
    config = stage.home / "config.py"
    isolated, walled = config.read_text(), describe_isolation()

    async def told_after(change: str) -> str:
        config.write_text(isolated + change)
        await asyncio.to_thread(stage.client.call, "reload", answer=dict)
        return (await stage.status()).master.isolation

    bare = '\nNODES = {"atlas": {"ISOLATED": False}}\n'
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    await stage.register("borealis")
    await tap.wait_for("ready", "borealis")
    assert await told_after(bare) == walled  # it still is
    await stage.act("restart", ["atlas"])
    assert (await stage.status()).master.isolation == f"{walled}, not atlas"
    assert await told_after("") == f"{walled}, not atlas until restarted"
    await restart_master(stage)
    assert (await stage.status()).master.isolation == f"{walled}, not atlas until restarted"
    await stage.act("restart", ["atlas"])
    assert (await stage.status()).master.isolation == walled
    await restart_master(stage)
    assert (await stage.status()).master.isolation == walled
    await stage.act("stop", ["atlas"])
    assert await told_after(bare) == f"{walled}, not atlas"


@pytest.mark.slow
async def test_a_master_can_be_stopped_while_it_starts_nodes(stage: Stage, tap: EventTap) -> None:
    await three(stage, tap)
    assert stage.master is not None
    process = stage.master.process
    process.kill()
    await process.wait()
    for node in (stage.home / "state" / "runs").iterdir():
        node.unlink()
    for stray in psutil.process_iter():
        if _cwd(stray).startswith(str(stage.home / "bots")):
            stray.kill()
    await stage.start_master()
    stage.master.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(stage.master.process.wait(), 20) == 0
    assert [p for p in psutil.process_iter() if _cwd(p).startswith(str(stage.home / "bots"))] == []
