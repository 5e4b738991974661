"""A database outage under a running fleet."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from master.demonstration.stage import Stage
from master.errors import FleetError
from master.operations.parameters import AuditParams, LedgerParams, NoParams
from master.services.core.views import AuditView, LedgerStatus, Soundness

pytestmark = pytest.mark.timeout(120)

SHORT_TIMEOUT = 'DATABASE = {"URL": "sqlite:///state/ledger.db", "STATEMENT_TIMEOUT_S": 0.05}\n'


@contextmanager
def locked(stage: Stage) -> Iterator[None]:
    """Lock the ledger's file: no write succeeds until it is released."""
    other = sqlite3.connect(stage.home / "state" / "ledger.db", isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@pytest.mark.slow
async def test_the_fleet_keeps_running_during_an_outage_and_nothing_is_lost(empty_ledger: Path) -> None:
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as stage:
        config = stage.home / "config.py"
        config.write_text(config.read_text("utf-8") + SHORT_TIMEOUT, "utf-8")
        await stage.start_master()
        async with stage.listen() as tap:
            for name in ("atlas", "borealis"):
                await stage.register(name)
                await tap.wait_for("ready", name)
            with locked(stage):
                # A node that dies is restarted, verified and ready.
                since = len(tap.events)
                os.kill((await stage.node("atlas")).pid or 0, signal.SIGKILL)
                await tap.wait_for("ready", "atlas", since=since)
                # Operator actions are carried out and recorded.
                (result,) = await stage.act("stop", ["borealis"])
                assert result.ok, result
                status = await asyncio.to_thread(
                    stage.client.call, "ledger_status", LedgerParams(), answer=LedgerStatus
                )
                assert status.away_since is not None
                assert "locked" in status.away_why
                assert status.waiting > 0
                # A write that cannot be spooled is refused with the reason.
                with pytest.raises(FleetError, match="ledger"):
                    await stage.register("cassini")
                pid = (await stage.node("atlas")).pid
                (result,) = await stage.act("start", ["borealis"])
                (result,) = await stage.act("stop", ["borealis"])
                # A new master works too: it adopts the nodes, and keeps stopped ones stopped.
                assert stage.master is not None
                os.kill(stage.master.process.pid, signal.SIGKILL)
                await stage.master.process.wait()
                await stage.start_master()
                assert (await stage.node("atlas")).pid == pid
                assert (await stage.node("borealis")).state == "stopped"
                assert (await stage.node("borealis")).desired == "stopped"
        async with stage.listen() as tap:
            await wait_until_back(stage)
            await stage.register("cassini")
            await tap.wait_for("ready", "cassini")
            rows = await asyncio.to_thread(
                stage.client.call, "audit", AuditParams(limit=50, node="", action="stop"), answer=list[AuditView]
            )
            assert [(row.action, row.outcome) for row in rows] == 2 * [("stop", "done")]
            sound = await asyncio.to_thread(stage.client.call, "ledger_verify", NoParams(), answer=Soundness)
            assert sound.ok, sound.faults
        assert list((stage.home / "state" / "spool").glob("*.spool")) == []
        with sqlite3.connect(stage.home / "state" / "ledger.db") as found:
            desired = dict(found.execute("SELECT name, desired_state FROM nodes WHERE lifecycle = 'active'").fetchall())
            assert desired == {"atlas": "running", "borealis": "stopped", "cassini": "running"}
            spawned = found.execute(
                "SELECT detail FROM process_events JOIN nodes ON nodes.id = node_id "
                "WHERE kind = 'spawned' AND name = 'atlas' ORDER BY process_events.id"
            ).fetchall()
            # None duplicated, none lost: started, restarted, adopted.
            assert spawned == [("",), ("",), ("adopted",)]


@pytest.mark.slow
async def test_a_master_starts_without_its_database(empty_ledger: Path) -> None:
    async with Stage(pulse_s=0.5) as stage:
        disk = stage.home / "disk"
        disk.mkdir()
        shutil.copy(empty_ledger, disk / "ledger.db")
        config = stage.home / "config.py"
        elsewhere = 'DATABASE = {"URL": "sqlite:///disk/ledger.db", "STATEMENT_TIMEOUT_S": 0.05}\n'
        config.write_text(config.read_text("utf-8") + elsewhere, "utf-8")
        await stage.start_master()
        async with stage.listen() as tap:
            await stage.register("atlas")
            await tap.wait_for("ready", "atlas")
        await end(stage, signal.SIGHUP)
        # The disk is missing when the next master starts: there is no ledger, and none is created.
        disk.rename(stage.home / "gone")
        pid = await pid_of_adopted(stage, "atlas")
        assert "away" in (await stage.status()).master.ledger
        # A restart needs token, key and licence, and gets them from the cache.
        async with stage.listen() as tap:
            os.kill(pid, signal.SIGKILL)
            await tap.wait_for("ready", "atlas")
        (stage.home / "gone").rename(disk)
        await wait_until_back(stage)
        async with stage.listen() as tap:
            await stage.register("borealis")
            await tap.wait_for("ready", "borealis")
        await end(stage, signal.SIGHUP)
        with sqlite3.connect(disk / "ledger.db") as found:
            spawned = "SELECT count(*) FROM process_events WHERE kind = 'spawned' AND detail = ''"
            assert found.execute(spawned).fetchone() == (3,)
        # An empty folder in its place (an unmounted disk) is not taken for a new fleet.
        disk.rename(stage.home / "gone")
        disk.mkdir()
        with pytest.raises(FleetError) as refused:
            await stage.start_master()
        assert "the ledger holds no node, but 2 are remembered" in f"{refused.value} {stage.log_tail(30)}"


async def end(stage: Stage, number: signal.Signals) -> None:
    assert stage.master is not None
    stage.master.process.send_signal(number)
    await stage.master.process.wait()


async def pid_of_adopted(stage: Stage, name: str) -> int:
    await stage.start_master()
    pid = (await stage.node(name)).pid
    assert pid is not None
    return pid


async def ledger_of(stage: Stage) -> LedgerStatus:
    return await asyncio.to_thread(stage.client.call, "ledger_status", LedgerParams(), answer=LedgerStatus)


async def wait_until_back(stage: Stage) -> None:
    while True:
        status = await ledger_of(stage)
        if status.away_since is None:
            return
        await asyncio.sleep(0.05)
