"""Somebody cleans up the state folder of a running master: sockets and ledger come back, and no node is replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from master.demonstration.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def appear(*paths: Path) -> None:
    """Wait for files, which have no event."""
    async with asyncio.timeout(30):
        while not all(path.exists() for path in paths):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_what_is_removed_comes_back_and_nodes_run_on(empty_ledger: Path) -> None:
    async with Stage(pulse_s=0.5, transport="local", ledger=empty_ledger) as stage:
        await stage.start_master()
        await stage.register("atlas")
        async with stage.listen() as tap:
            if (await stage.node("atlas")).state != "ready":
                await tap.wait_for("ready", "atlas")
            pid = (await stage.node("atlas")).pid
            state = stage.home / "state"
            sockets, ledger = (state / "control.sock", state / "nodes.sock"), state / "ledger.db"
            for path in (*sockets, ledger, state / "ledger.db-wal", state / "ledger.db-shm"):
                path.unlink(missing_ok=True)
            await tap.wait_for("ledger_rewritten", "")
            await appear(*sockets, ledger)
            # A node that starts now needs them all.
            await stage.register("borealis")
            await tap.wait_for("ready", "borealis")
            assert (await stage.node("atlas")).pid == pid
            assert not [event for event in tap.events if event.kind in ("replaced", "degraded", "exited")]
            titles = {event.detail for event in tap.events if event.kind == "alert"}
        assert titles >= {
            "control.sock was removed, and made again",
            "nodes.sock was removed, and made again",
            "The ledger's file was deleted, and written again",
        }
        master = stage.master
        assert master is not None
        master.process.terminate()
        assert await asyncio.wait_for(master.process.wait(), 30) == 0
        await stage.start_master()
        assert {node.name for node in (await stage.status()).nodes} == {"atlas", "borealis"}
