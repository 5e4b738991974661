"""What nodes use is read rarely while they rest and nobody looks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from master.bus import EventBus
from master.events import NodeEvent
from master.supervision import supervisor as module
from master.supervision.clock import SystemClock
from master.supervision.logs import NodeLogs
from master.supervision.own_usage import OwnUsage
from master.supervision.process import NodeProcess
from master.supervision.run_records import RunRecords
from master.supervision.spawner import PlainSpawner, SpawnRequest
from master.supervision.supervisor import Supervisor
from tests.supervision.conftest import QUICK, Preparer, Rig

UP = "import signal; print('up', flush=True); signal.pause()"


class TameSpawner(PlainSpawner):
    """Its processes keep their logs to a rate, as those of the zygote do."""

    async def spawn(self, request: SpawnRequest) -> NodeProcess:
        process = await super().spawn(request)
        process.bounded_output = True
        return process


@pytest.mark.slow
async def test_a_node_that_rests_is_left_alone_and_one_near_its_limit_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The sweeps in which all are read are too far apart to come while this runs.
    monkeypatch.setattr(module, "SWEEP_UNWATCHED_S", 0.1)
    monkeypatch.setattr(module, "MAX_SAMPLE_INTERVAL_S", 1e9)
    logs = NodeLogs(tmp_path / "logs", max_bytes=20_000, files=2)
    bus, preparer = EventBus(), Preparer(logs)
    bus.on(NodeEvent, lambda event: rig.note(event))
    supervisor = Supervisor(
        spawner=TameSpawner(),
        settings=QUICK,
        logs=logs,
        records=RunRecords(tmp_path / "runs"),
        clock=SystemClock(),
        preparer=preparer,
        bus=bus,
    )
    rig = Rig(supervisor, tmp_path, logs, QUICK, preparer)
    rig.task = asyncio.create_task(supervisor.run())
    try:
        rests, near = rig.add("rests", UP), rig.add("near", UP)
        for node in (rests, near):
            await supervisor.start(node)
            await rig.wait_output(node, "up")
        pid = supervisor.pid_of(near)
        assert pid is not None
        # Not the supervisor's own reading: a sweep may have seen the process before it became the bot.
        rss_bytes = psutil.Process(pid).memory_info().rss
        supervisor.register(replace(supervisor._runner(near).spec, memory_limit_bytes=rss_bytes * 5 // 4))
        supervisor.register(replace(supervisor._runner(rests).spec, memory_limit_bytes=rss_bytes * 10))
        async with asyncio.timeout(10):
            while len(supervisor.history(near).fine.read()[0]) < 4:  # noqa: ASYNC110 - seconds are what is waited for
                await asyncio.sleep(0.05)
        assert len(supervisor.history(rests).fine.read()[0]) <= 2
        supervisor.watch_closely()
        async with asyncio.timeout(10):
            while len(supervisor.history(rests).fine.read()[0]) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await supervisor.stop_all()
        rig.task.cancel()
        await asyncio.gather(rig.task, return_exceptions=True)


def test_the_master_knows_what_it_uses_itself() -> None:
    usage = OwnUsage()
    before_s = usage.cpu_seconds()
    while usage.cpu_seconds() < before_s + 0.05:
        pass
    assert 0 < usage.cpu_percent() <= 100.5
    assert 5 << 20 < usage.rss_bytes() < 10 << 30
