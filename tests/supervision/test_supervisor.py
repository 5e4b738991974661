"""Supervision of real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from master.events import (
    NodeBackedOff,
    NodeDegraded,
    NodeExited,
    NodeKilled,
    NodeQuarantined,
    NodeReady,
    NodeRecovered,
    NodeSpawned,
    NodeStopped,
)
from master.supervision.errors import SpawnFailed, StateTimedOut
from master.supervision.probe import map_processes
from master.supervision.process import NodeProcess
from master.supervision.spawner import SpawnRequest
from master.supervision.specification import NodeSpec, Pulse
from master.supervision.states import NodeState
from tests.supervision.conftest import EXITS, IGNORES_SIGTERM, SLEEPS, MakeRig, Rig


async def test_a_node_is_ready_once_it_is_verified(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    assert rig.supervisor.view(node).state is NodeState.STARTING
    rig.verify(node)
    assert rig.supervisor.view(node).state is NodeState.READY
    assert [type(event) for event in rig.events] == [NodeSpawned, NodeReady]


async def test_a_bot_that_does_not_speak_the_protocol_is_ready_by_running(rig: Rig) -> None:
    node = rig.add("script", SLEEPS, readiness="process")
    await rig.supervisor.start(node)
    await rig.supervisor.wait_state(node, {NodeState.READY}, timeout_s=10)


async def test_a_killed_node_comes_back_at_once(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node)
    first = rig.pid(node)
    os.kill(first, signal.SIGKILL)
    exited = await rig.wait_event(node, NodeExited)
    assert (exited.signal, exited.detail) == (signal.SIGKILL, "killed by SIGKILL")
    again = await rig.wait_event(node, NodeSpawned, count=2)
    assert again.pid != first
    assert rig.supervisor.view(node).restarts == 1


async def test_a_node_whose_successor_takes_its_time_is_not_ready_meanwhile(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node)
    assert rig.supervisor.view(node).state is NodeState.READY
    prepare, may_go_on = rig.preparer.prepare, asyncio.Event()

    async def hold(spec: NodeSpec) -> SpawnRequest:
        await may_go_on.wait()
        return await prepare(spec)

    rig.preparer.prepare = hold  # type: ignore[method-assign]
    os.kill(rig.pid(node), signal.SIGKILL)
    await rig.wait_event(node, NodeExited)
    await asyncio.sleep(0)
    assert rig.supervisor.view(node).state is NodeState.STARTING
    may_go_on.set()
    await rig.wait_event(node, NodeSpawned, count=2)


async def test_a_crash_loop_backs_off_and_is_quarantined_with_its_last_line(rig: Rig) -> None:
    node = rig.add("loop", EXITS)
    await rig.supervisor.start(node)
    event = await rig.wait_event(node, NodeQuarantined)
    assert "ValueError: the last words" in event.detail
    kinds = [type(e) for e in rig.events if isinstance(e, NodeExited | NodeBackedOff)]
    assert kinds[:3] == [NodeExited, NodeExited, NodeBackedOff]  # the first restart is at once
    assert kinds.count(NodeExited) == rig.settings.quarantine_exits + 1
    view = rig.supervisor.view(node)
    assert view.state is NodeState.QUARANTINED
    assert view.next_start_in_s is not None
    assert view.next_start_in_s > 40


async def test_a_released_node_starts_at_once(rig: Rig) -> None:
    node = rig.add("loop", EXITS)
    await rig.supervisor.start(node)
    await rig.wait_event(node, NodeQuarantined)
    since = len(rig.events)
    rig.supervisor.release(node)
    await rig.wait_event(node, NodeSpawned, since=since)


async def test_a_node_that_never_becomes_ready_is_replaced(make_rig: MakeRig) -> None:
    rig = make_rig(ready_timeout_s=0.3)
    node = rig.add("mute", SLEEPS)
    await rig.supervisor.start(node)
    exited = await rig.wait_event(node, NodeExited)
    assert exited.detail.startswith("not ready within 0.3 s")
    await rig.wait_event(node, NodeSpawned, count=2)


async def test_a_node_that_ignores_sigterm_is_killed_after_the_grace_period(rig: Rig) -> None:
    node = rig.add("deaf", IGNORES_SIGTERM)
    await rig.supervisor.start(node)
    await rig.wait_output(node, "deaf")
    began = time.monotonic()
    await rig.supervisor.stop(node)
    assert time.monotonic() - began >= rig.settings.grace_s
    stopped = await rig.wait_event(node, NodeStopped)
    assert stopped.signal == signal.SIGKILL


async def test_children_of_a_node_die_with_it(rig: Rig) -> None:
    node = rig.add(
        "parent",
        "import os, signal\npid = os.fork()\nif pid: print(pid, flush=True)\nsignal.pause()",
    )
    await rig.supervisor.start(node)
    out, _ = rig.logs.paths(node)
    await rig.wait_output(node, "\n")
    grandchild = psutil.Process(int(out.read_text()))
    os.kill(rig.pid(node), signal.SIGKILL)
    await rig.wait_event(node, NodeExited)
    await asyncio.to_thread(psutil.wait_procs, [grandchild], 5)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


async def test_a_silent_node_is_degraded_and_then_replaced(make_rig: MakeRig) -> None:
    rig = make_rig(missed_pulses=2)
    node = rig.add("silent", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node, interval_s=0.2)
    first = rig.pid(node)
    degraded = await rig.wait_event(node, NodeDegraded)
    assert degraded.detail.startswith("no pulse for ")
    await rig.wait_event(node, NodeSpawned, count=2)
    assert rig.pid(node) != first


async def test_a_pulse_that_comes_back_makes_a_degraded_node_ready(make_rig: MakeRig) -> None:
    rig = make_rig(missed_pulses=5)
    node = rig.add("slow", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node, interval_s=0.1)
    await rig.wait_event(node, NodeDegraded)
    rig.supervisor.node_pulsed(node, Pulse(uptime_s=1, latency_ms=12.0, guilds=3, state="ready", interval_s=60.0))
    await rig.wait_event(node, NodeRecovered)
    view = rig.supervisor.view(node)
    assert (view.state, view.latency_ms, view.guilds) == (NodeState.READY, 12.0, 3)


async def test_a_stopped_node_stays_stopped(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    await rig.supervisor.stop(node)
    await rig.supervisor.stop(node)
    assert rig.supervisor.view(node).state is NodeState.STOPPED
    assert [type(event) for event in rig.events] == [NodeSpawned, NodeStopped]


async def test_an_exit_that_was_asked_for_is_no_news(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node)
    await rig.supervisor.restart(node)
    stopped = await rig.wait_event(node, NodeStopped)
    assert (stopped.detail, rig.supervisor.view(node).last_exit) == ("asked to restart: killed by SIGTERM", "")
    await rig.supervisor.stop(node)
    assert rig.supervisor.view(node).last_exit == ""


async def test_stopping_ends_a_backoff(make_rig: MakeRig) -> None:
    rig = make_rig(backoff_initial_s=30.0, backoff_cap_s=30.0)
    node = rig.add("loop", EXITS)
    await rig.supervisor.start(node)
    await rig.wait_event(node, NodeBackedOff)
    await asyncio.wait_for(rig.supervisor.stop(node), 5)
    assert rig.supervisor.view(node).state is NodeState.STOPPED


async def test_starting_ends_a_backoff(make_rig: MakeRig) -> None:
    rig = make_rig(backoff_initial_s=30.0, backoff_cap_s=30.0)
    node = rig.add("loop", EXITS)
    await rig.supervisor.start(node)
    await rig.wait_event(node, NodeBackedOff)
    since = len(rig.events)
    await asyncio.wait_for(rig.supervisor.start(node), 5)
    await rig.wait_event(node, NodeSpawned, since=since)


async def test_a_start_while_stopping_wins(rig: Rig) -> None:
    node = rig.add("deaf", IGNORES_SIGTERM)
    await rig.supervisor.start(node)
    first = rig.pid(node)
    stopping = asyncio.create_task(rig.supervisor.stop(node))
    await rig.supervisor.wait_state(node, {NodeState.STOPPING}, timeout_s=5)
    await asyncio.wait_for(rig.supervisor.start(node), 5)
    await asyncio.wait_for(stopping, 5)
    assert rig.pid(node) != first


async def test_a_killed_node_stays_down(rig: Rig) -> None:
    node = rig.add("atlas", IGNORES_SIGTERM)
    await rig.supervisor.start(node)
    await asyncio.wait_for(rig.supervisor.kill(node), 5)
    killed = await rig.wait_event(node, NodeKilled)
    assert killed.signal == signal.SIGKILL
    assert rig.supervisor.view(node).state is NodeState.STOPPED


@pytest.mark.slow
async def test_a_missing_folder_is_reported_and_the_node_recovers_when_it_is_back(rig: Rig) -> None:
    node = rig.add("gone", SLEEPS)
    (rig.folder / "gone").rename(rig.folder / "away")
    with pytest.raises(SpawnFailed, match="is gone"):
        await rig.supervisor.start(node)
    assert rig.supervisor.view(node).state is NodeState.MISSING
    assert "is gone" in rig.supervisor.view(node).detail
    (rig.folder / "away").rename(rig.folder / "gone")
    await rig.wait_event(node, NodeSpawned)


async def test_a_stop_that_a_start_overrules_at_once_is_over(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    stopping = asyncio.create_task(rig.supervisor.stop(node))
    await asyncio.sleep(0)  # it has asked, and the runner has not looked yet
    await rig.supervisor.start(node)
    async with asyncio.timeout(5):
        await stopping


async def test_a_node_that_is_forgotten_in_the_middle_of_its_start_leaves_no_process(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    starting = asyncio.create_task(rig.supervisor.start(node))
    await asyncio.sleep(0)
    await asyncio.wait_for(rig.supervisor.forget(node), 5)
    await asyncio.wait_for(starting, 5)
    assert rig.supervisor.snapshot() == []
    assert not any(event.kind == "spawned" for event in rig.events) or any(e.kind == "stopped" for e in rig.events)
    await asyncio.wait_for(rig.supervisor.forget(node), 5)  # of one that is not known, nothing is left to do


async def test_concurrent_restarts_of_a_node_are_one(rig: Rig) -> None:
    names = [rig.add(f"n{number}", SLEEPS) for number in range(10)]
    rig.auto_verify.update(names)
    await asyncio.gather(*(rig.supervisor.start(name) for name in names))
    before = {name: rig.pid(name) for name in names}
    await asyncio.wait_for(asyncio.gather(*(rig.supervisor.restart(name) for name in names * 20)), 30)
    assert all(rig.pid(name) != before[name] for name in names)
    assert all(rig.supervisor.view(name).restarts == 1 for name in names)


async def test_forty_nodes_stop_together(rig: Rig) -> None:
    names = [rig.add(f"n{number}", SLEEPS) for number in range(40)]
    rig.auto_verify.update(names)
    await asyncio.gather(*(rig.supervisor.start(name) for name in names))
    await asyncio.wait_for(rig.supervisor.stop_all(), 10)
    assert {rig.supervisor.view(name).state for name in names} == {NodeState.STOPPED}


async def test_nodes_outlive_their_supervisor_and_the_next_one_adopts_them(make_rig: MakeRig) -> None:
    first = make_rig()
    await asyncio.sleep(0)
    node = first.add("atlas", SLEEPS)
    await first.supervisor.start(node)
    await first.supervisor.restart(node)
    spawned = await first.wait_event(node, NodeSpawned, count=2)
    assert first.task is not None
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    assert spawned.pid is not None
    assert psutil.pid_exists(spawned.pid)

    second = make_rig()
    second.add("atlas", SLEEPS)
    assert not second.supervisor.adopt(node, spawned.pid, spawned.pid_started_at + 1)
    assert not second.supervisor.adopt(node, os.getpid(), spawned.pid_started_at)
    assert second.supervisor.adopt(node, spawned.pid, spawned.pid_started_at)
    assert second.supervisor.view(node).restarts == 1
    second.verify(node)
    assert second.supervisor.view(node).state is NodeState.READY
    os.kill(spawned.pid, signal.SIGKILL)
    os.waitpid(spawned.pid, 0)  # noqa: ASYNC222 - in this test both supervisors are one process, so the child is ours to reap
    again = await second.wait_event(node, NodeSpawned, count=2)
    assert again.pid != spawned.pid
    assert second.supervisor.view(node).restarts == 2


async def test_waiting_for_a_state_times_out(rig: Rig) -> None:
    node = rig.add("mute", SLEEPS)
    await rig.supervisor.start(node)
    with pytest.raises(StateTimedOut, match="it is starting"):
        await rig.supervisor.wait_state(node, {NodeState.READY}, timeout_s=0.05)


async def test_forty_starts_leak_no_descriptor(rig: Rig) -> None:
    node = rig.add("brief", "")
    await rig.supervisor.start(node)
    rig.supervisor.release(node)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(40):
        await rig.supervisor.start(node)
        rig.supervisor.release(node)
    await rig.supervisor.stop(node)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


async def test_a_missing_process_raises() -> None:
    with pytest.raises(ProcessLookupError):
        NodeProcess(2**22 - 1)


async def test_strays_are_found_and_our_own_are_not(rig: Rig) -> None:
    node = rig.add("ours", SLEEPS)
    await rig.supervisor.start(node)
    (rig.folder / "byhand").mkdir()
    stray = await asyncio.create_subprocess_exec("sleep", "60", cwd=rig.folder / "byhand")
    try:
        found = map_processes(rig.folder, {rig.pid(node)})
        assert [(s.pid, s.folder.name, s.command) for s in found] == [(stray.pid, "byhand", "sleep 60")]
    finally:
        stray.kill()
        await stray.wait()


async def test_the_environment_is_built_from_scratch(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_SECRET", "do not inherit")
    node = rig.add("curious", "import os, signal; print(sorted(os.environ), flush=True); signal.pause()")
    await rig.supervisor.start(node)
    out, _ = rig.logs.paths(node)
    await rig.wait_output(node, "\n")
    assert out.read_text().strip() in ("['FLEET_BOOT_FD', 'PATH']", "['FLEET_BOOT_FD', 'LC_CTYPE', 'PATH']")


async def test_the_log_of_a_flooding_node_is_bounded_while_it_runs(rig: Rig) -> None:
    quiet = rig.add("quiet", SLEEPS)
    node = rig.add("flood", "while True: print('x' * 1000)")
    await rig.supervisor.start(quiet)
    await rig.supervisor.start(node)
    await asyncio.wait_for(_until(lambda: rig.logs.dropped_bytes.get("flood", 0) > 0), 20)
    rig.verify(quiet)
    await rig.supervisor.stop(node)
    await asyncio.to_thread(rig.logs.rotate, ["flood"])
    out, _ = rig.logs.paths("flood")
    kept = sum(path.stat().st_size for path in out.parent.glob("flood.out.log*"))
    assert kept <= rig.settings.log_files * rig.settings.log_max_bytes
    assert rig.supervisor.view(quiet).state is NodeState.READY


async def _until(holds: Callable[[], bool]) -> None:
    """Wait for a counter, which has no event."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def test_a_flood_is_bounded_and_counted(rig: Rig, tmp_path: Path) -> None:
    out, _ = rig.logs.paths("flood")
    out.parent.mkdir(exist_ok=True)
    with out.open("ab") as stream:
        for round_number in range(5):
            stream.write(b"x" * 99 + b"\n" * 1 + b"y" * 200_000 + f"end {round_number}\n".encode())
            stream.flush()
            rig.logs.rotate(["flood"])
    files = sorted(path.name for path in out.parent.glob("flood.out.log*"))
    assert files == ["flood.out.log", "flood.out.log.1", "flood.out.log.2"]
    assert sum(path.stat().st_size for path in out.parent.iterdir()) < 4 * rig.settings.log_max_bytes
    assert "MB of output dropped" in out.read_text()
    assert rig.logs.dropped_bytes["flood"] > 800_000
    assert (out.parent / "flood.out.log.1").read_text().endswith("end 4\n")


@pytest.mark.slow
async def test_details_are_read_again_on_request(rig: Rig) -> None:
    path = rig.folder / "grow"
    node = rig.add(
        "atlas",
        f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.01)\n"
        "held = [open(os.devnull) for _ in range(40)]\nimport signal; signal.pause()",
    )
    await rig.supervisor.start(node)
    rig.supervisor.watch_closely()
    async with asyncio.timeout(20):
        while (few := rig.supervisor.view(node).open_files) is None:  # noqa: ASYNC110 - a reading has no event
            await asyncio.sleep(0.02)
        path.touch()
        # While it starts, its open files change by themselves.
        while (rig.supervisor.view(node).open_files or 0) < 40:
            rig.supervisor.request_details()
            await asyncio.sleep(0.1)
    assert few < 40


async def test_an_earlier_deadline_moves_under_a_node_that_waits_for_it(make_rig: MakeRig) -> None:
    rig = make_rig(ready_timeout_s=3600.0)
    node = rig.add("silent", SLEEPS)
    await rig.supervisor.start(node)
    rig.supervisor.update_settings(msgspec.structs.replace(rig.settings, ready_timeout_s=0.1))
    assert (await rig.wait_event(node, NodeExited)).detail.startswith("not ready within 0.1 s")


async def test_exits_are_counted_by_the_new_figures(make_rig: MakeRig) -> None:
    rig = make_rig(quarantine_exits=1000, backoff_initial_s=0.01, backoff_cap_s=0.01)
    node = rig.add("crashing", EXITS)
    await rig.supervisor.start(node)
    await rig.wait_event(node, NodeExited, count=3)
    rig.supervisor.update_settings(msgspec.structs.replace(rig.settings, quarantine_exits=1))
    await rig.wait_event(node, NodeQuarantined)


async def test_fewer_log_files_are_kept_from_the_next_rotation_on(rig: Rig) -> None:
    out, _ = rig.logs.paths("chatty")
    out.parent.mkdir(exist_ok=True)
    rig.logs.resize(max_bytes=1_000, files=5)
    for _ in range(5):
        out.write_bytes(b"x" * 1_001)
        rig.logs.rotate(["chatty"])
    assert len(list(out.parent.glob("chatty.out.log.*"))) == 4
    rig.logs.resize(max_bytes=1_000, files=2)
    out.write_bytes(b"y" * 1_001)
    rig.logs.rotate(["chatty"])
    assert [path.name for path in out.parent.glob("chatty.out.log.*")] == ["chatty.out.log.1"]
