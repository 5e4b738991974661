"""The disk of the state folder is filled and freed at random while a real fleet runs on it, and masters come and go."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from master.operations.parameters import AuditParams, NoParams
from master.services.core.ledger_cache import load_cached_ledger
from master.services.core.views import AuditView, NodeStatus, Soundness
from tests.hostile.effort import rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SIZE = "8m"
NAMES = ("atlas", "borealis")


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small file system over a folder, with what is in the folder."""
    saved = folder.with_name("saved")
    shutil.copytree(folder, saved)
    mounted = subprocess.run(  # noqa: S603
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "fleet-test", str(folder)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        shutil.copytree(saved, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


class Disk:
    """The small file system of a stage."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        size = 1 << 16
        try:
            while size:
                try:
                    os.write(descriptor, b"x" * size)
                except OSError:
                    size //= 2
        finally:
            os.close(descriptor)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
async def small_stage(empty_ledger: Path) -> AsyncIterator[Stage]:
    async with Stage(pulse_s=1.0, ledger=empty_ledger) as stage:
        with small_disk(stage.home / "state"):
            await stage.start_master()
            yield stage
            # It ends while its state folder is still mounted.
            if stage.master is not None and stage.master.process.returncode is None:
                stage.master.process.send_signal(signal.SIGTERM)
                await stage.master.process.wait()


async def ready(stage: Stage, tap: EventTap) -> dict[str, int]:
    for name in NAMES:
        await stage.register(name)
        await tap.wait_for("ready", name)
    return {name: (await stage.node(name)).pid or 0 for name in NAMES}


async def until_remembered(stage: Stage) -> None:
    """Wait until the licences are remembered: SQLite cannot open a ledger anew where there is no room at all."""
    async with asyncio.timeout(30):
        while True:
            found = await load_cached_ledger(stage.home / "state" / "memory.bin")
            if found is not None and len(found.licences) == len(NAMES):
                return
            await asyncio.sleep(0.1)


async def until_ready(stage: Stage, name: str) -> NodeStatus:
    async with asyncio.timeout(60):
        while (node := await stage.node(name)).state != "ready":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return node


async def until_recorded(stage: Stage) -> None:
    async with asyncio.timeout(90):
        while (status := await stage.status()).master.box or status.master.ledger != "sqlite":  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def audited(stage: Stage, action: str) -> list[AuditView]:
    params = AuditParams(limit=500, node="", action=action)
    return await asyncio.to_thread(stage.client.call, "audit", params, answer=list[AuditView])


async def sound(stage: Stage) -> Soundness:
    return await asyncio.to_thread(stage.client.call, "ledger_verify", NoParams(), answer=Soundness)


async def test_a_new_master_on_a_full_disk_takes_its_nodes_back_and_can_stop_them(small_stage: Stage) -> None:
    stage, disk = small_stage, Disk(small_stage.home / "state")
    async with stage.listen() as tap:
        pids = await ready(stage, tap)
        await until_remembered(stage)
        disk.fill()
        # Whatever is written down next finds out, and it is told once.
        (result,) = await stage.act("release", ["atlas"])
        assert (result.ok, "not on record yet" in result.detail) == (True, True)
        await tap.wait_for("disk_full", "")
        await stage.log.wait_for_message(lambda m: "The disk is full" in str(m.embeds))
        # It ends as an upgrade ends it: what it holds for its nodes is on record.
        assert stage.master is not None
        stage.master.process.send_signal(signal.SIGHUP)
        assert await stage.master.process.wait() == 0, stage.log_tail(40)
    disk.fill()
    await stage.start_master()
    async with stage.listen() as tap:
        for name, pid in pids.items():
            node = await until_ready(stage, name)
            assert (node.pid, node.flag_reason) == (pid, "")
        # A node that dies comes back: its record and its session are in place already.
        os.kill(pids["borealis"], signal.SIGKILL)
        await tap.wait_for("ready", "borealis")
        (result,) = await stage.act("stop", ["atlas"])
        assert (result.ok, result.state) == (True, "stopped")
        assert result.detail.startswith("done, but not on record yet")
        (result,) = await stage.act("kill", ["borealis"])
        assert result.ok
        status = await stage.status()
        assert status.master.box == ("disk full",)
        since = len(tap.events)
        disk.free()
        await tap.wait_for("disk_freed", "", since=since, timeout_s=60)
        await until_recorded(stage)
        assert [(row.outcome, row.detail) for row in await audited(stage, "stop")] == [("done", "atlas")]
        assert [(row.outcome, row.detail) for row in await audited(stage, "kill")] == [("done", "borealis")]
        assert (await sound(stage)).ok
        assert {(await stage.node(name)).desired for name in NAMES} == {"stopped"}
    alerts = [str(message.embeds) for message in stage.log.messages if "disk" in str(message.embeds).lower()]
    # Once by each master.
    assert sum("The disk is full" in alert for alert in alerts) == 2, alerts
    assert "Traceback" not in stage.log_tail(10_000)


async def test_a_disk_that_is_filled_and_freed_at_random_costs_no_node_and_no_record(small_stage: Stage) -> None:
    stage, disk, rng = small_stage, Disk(small_stage.home / "state"), random.Random(9)  # noqa: S311
    counts = {"filled": 0, "freed": 0, "restart": 0, "stop": 0, "start": 0, "kill": 0}
    async with stage.listen() as tap:
        await ready(stage, tap)
        for _ in range(rounds(20)):
            match rng.choice(["disk", "disk", "restart", "stop", "start", "kill"]):
                case "disk" if rng.random() < 0.5:
                    disk.fill()
                    counts["filled"] += 1
                case "disk":
                    disk.free()
                    counts["freed"] += 1
                case verb:
                    (result,) = await stage.act(verb, [rng.choice(NAMES)])
                    assert result.ok, result
                    counts[verb] += 1
        disk.free()
        await until_recorded(stage)
        for verb in ("restart", "stop", "start", "kill"):
            assert len(await audited(stage, verb)) == counts[verb], (verb, counts)
        for result in await stage.act("start", list(NAMES)):
            assert result.ok
        for name in NAMES:
            await until_ready(stage, name)
        assert (await sound(stage)).ok
        print(f"disk: {counts}, every action on record once")
    assert "Traceback" not in stage.log_tail(10_000)
