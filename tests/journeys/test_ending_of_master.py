"""How a real master ends: what it waits for is said, a second signal ends it sooner, and something that hangs does not
keep it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from master.demonstration.stage import Stage
from master.errors import ExitCode, FleetError
from master.operations.parameters import AuditParams, NamesParams, NoParams, RegisterParams
from master.services.core.views import ActionResult, AuditView, MasterStatus, Registered

DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\nsignal.pause()\n"
pytestmark = pytest.mark.slow

WITHIN_S = 60.0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def deaf_node(stage: Stage, name: str, *, grace_s: float) -> psutil.Process:
    """Register and start a node that ignores SIGTERM."""
    config = stage.home / "config.py"
    config.write_text(config.read_text() + f"SUPERVISION['GRACE_S'] = {grace_s}\n")
    await asyncio.to_thread(stage.client.call, "reload", NoParams(), answer=dict, timeout_s=20.0)
    folder = stage.home / "bots" / name
    folder.mkdir(parents=True)
    (folder / "bot.py").write_text(DEAF)
    wanted = RegisterParams(
        name=name, token=stage.create_bot(name).token, folder=name, readiness="process", start=False
    )
    await asyncio.to_thread(stage.client.call, "register", wanted, answer=Registered, timeout_s=30.0)
    params = NamesParams(names=(name,))
    await asyncio.to_thread(stage.client.call, "start", params, answer=list[ActionResult], timeout_s=30.0)
    out = stage.home / "state" / "logs" / f"{name}.out.log"
    await until(lambda: out.exists() and "deaf" in out.read_text())
    node = await stage.node(name)
    assert node.pid is not None
    return psutil.Process(node.pid)


async def ping(stage: Stage) -> MasterStatus | None:
    try:
        return await asyncio.to_thread(stage.client.call, "ping", NoParams(), answer=MasterStatus, timeout_s=10.0)
    except FleetError:
        return None


async def waiting(stage: Stage) -> MasterStatus:
    """Return the status of an ending master that waits for something."""
    async with asyncio.timeout(WITHIN_S):
        while (status := await ping(stage)) is None or not status.waits_for:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    return status


def process_of(stage: Stage) -> asyncio.subprocess.Process:
    assert stage.master is not None
    return stage.master.process


async def test_it_says_for_which_node_it_waits_and_a_second_signal_ends_it_at_once(stage: Stage) -> None:
    node = await deaf_node(stage, "atlas", grace_s=300.0)
    process = process_of(stage)
    process.send_signal(signal.SIGTERM)
    status = await waiting(stage)
    assert (status.ending, status.waits_for) == (True, ("node atlas",))
    assert status.ends_within_s is not None
    assert status.ends_within_s > 200
    await until(lambda: "waits_for=" in stage.log_tail())
    assert "node atlas" in stage.log_tail()
    assert node.is_running()
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == ExitCode.OK
    assert not node.is_running()
    assert "asked again to end" in stage.log_tail()


async def test_down_tells_what_it_waits_for_and_a_signal_beside_it_is_no_second(stage: Stage) -> None:
    node = await deaf_node(stage, "atlas", grace_s=3.0)
    command = [sys.executable, "-m", "master.cli", "down", "--json", "--home", str(stage.home)]
    down = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})  # noqa: ASYNC220, S603
    status = await waiting(stage)
    assert status.waits_for == ("node atlas",)
    # As systemd does, which stops the unit at the same time.
    process_of(stage).send_signal(signal.SIGTERM)
    assert await process_of(stage).wait() == ExitCode.OK
    assert not node.is_running()
    told, _ = await asyncio.to_thread(down.communicate, timeout=WITHIN_S)
    assert (down.returncode, json.loads(told)["running"]) == (0, False)
    log = stage.log_tail(60)
    assert "asked again" not in log
    assert "node ignored SIGTERM" in log


async def test_a_task_that_will_not_end_is_named_and_does_not_keep_it(empty_ledger: Path) -> None:
    async with Stage(ledger=empty_ledger, program="tests.journeys.ending_master") as stage:
        await stage.start_master()
        process = process_of(stage)
        process.send_signal(signal.SIGTERM)
        await until(lambda: "stopping the nodes" in stage.log_tail())
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == ExitCode.TIMED_OUT
        log = stage.log_tail(30)
        assert "not waited for any longer" in log
        assert "ended by force" in log
        assert "task box" in log
        # What it left is as after a SIGKILL: the next one starts.
        stage._program = "master"
        await stage.start_master()


async def test_nodes_that_are_kept_are_not_waited_for(stage: Stage) -> None:
    node = await deaf_node(stage, "atlas", grace_s=300.0)
    process_of(stage).send_signal(signal.SIGHUP)
    assert await process_of(stage).wait() == ExitCode.OK
    assert node.is_running()
    await stage.start_master()
    assert (await stage.node("atlas")).pid == node.pid
    # Two of the same kind could be one.
    for number in (signal.SIGTERM, signal.SIGINT):
        process_of(stage).send_signal(number)
    await process_of(stage).wait()


async def test_it_ends_without_its_ledger_and_without_discord_and_what_was_written_is_kept(empty_ledger: Path) -> None:
    async with Stage(ledger=empty_ledger) as stage:
        config = stage.home / "config.py"
        config.write_text(config.read_text() + "DATABASE = {'STATEMENT_TIMEOUT_S': 0.05}\n")
        await stage.start_master()
        other = sqlite3.connect(stage.home / "state" / "ledger.db", isolation_level=None, timeout=10)
        other.execute("BEGIN IMMEDIATE")
        async with stage.sandbox.faults.outage():
            # It is audited while the ledger is away: its row waits in the spool.
            await asyncio.to_thread(stage.client.call, "reload", NoParams(), answer=dict, timeout_s=20.0)
            process_of(stage).send_signal(signal.SIGTERM)
            assert await process_of(stage).wait() == ExitCode.OK
        other.close()
        await stage.start_master()
        found = await asyncio.to_thread(
            stage.client.call, "audit", AuditParams(limit=20), answer=list[AuditView], timeout_s=20.0
        )
        assert "reload" in {row.action for row in found}
