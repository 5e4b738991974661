"""Faults of a box, each made for real; everything else must keep running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from master.events import NodeContinued, NodeExited, NodeQuarantined, NodeSpawned
from master.supervision.errors import SpawnFailed, StartDeferred
from master.supervision.process import ExitReport, NodeProcess, is_process
from master.supervision.spawner import Limits, PlainSpawner, SpawnRequest
from master.supervision.states import NodeState
from master.supervision.zygote_spawner import ZygoteSpawner, library_folders
from tests.supervision.conftest import SLEEPS, MakeRig, Rig
from tests.supervision.test_zygote import ENVIRONMENT, WAITS, request_for, zygote_of

READS_BOOT = """\
import os, signal, sys
boot = os.read(int(os.environ["FLEET_BOOT_FD"]), 100)
open("boot", "wb").write(boot or b"nothing")
sys.exit(0) if not boot else signal.pause()
"""


async def wait_for_boot(folder: Path) -> bytes:
    while not (folder / "boot").exists() or not (folder / "boot").read_bytes():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)
    return (folder / "boot").read_bytes()


async def test_a_process_without_a_record_never_gets_its_token(tmp_path: Path) -> None:
    """The master dies between fork and record: the unreleased process ends by itself, forked or plain."""
    for name, spawner in (("plain", PlainSpawner()), ("forked", ZygoteSpawner(ENVIRONMENT))):
        process = await spawner.spawn(request_for(tmp_path, READS_BOOT, name=name, boot=b"the token"))
        pid = process.pid
        process.detach()  # closes what the master's death would close
        assert await asyncio.wait_for(wait_for_boot(tmp_path / name), 15) == b"nothing"
        await asyncio.to_thread(_wait_gone, pid)
        await spawner.close()


def _wait_gone(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    except psutil.NoSuchProcess:
        return


async def test_a_start_fails_when_its_record_cannot_be_written(make_rig: MakeRig, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, where the folder should be")
    rig = make_rig()
    await asyncio.sleep(0)
    node = rig.add("atlas", READS_BOOT)
    with pytest.raises(SpawnFailed, match="could not be put on record"):
        await rig.supervisor.start(node)
    assert rig.supervisor.pid_of(node) is None
    assert not (tmp_path / "atlas" / "boot").exists()
    (tmp_path / "runs").unlink()
    await rig.supervisor.start(node)
    assert await wait_for_boot(tmp_path / "atlas") == b"{}"


async def test_a_zygote_killed_mid_fork_starts_nothing_twice(tmp_path: Path) -> None:
    spawner = ZygoteSpawner(ENVIRONMENT)
    first = await spawner.spawn(request_for(tmp_path, WAITS, name="first"))
    zygote = zygote_of(first)
    # A suspended zygote receives the request without handling it; then it is killed.
    zygote.suspend()
    starting = asyncio.create_task(spawner.spawn(request_for(tmp_path, READS_BOOT, name="second", boot=b"the token")))
    await asyncio.sleep(0.05)
    # On a busy machine the spawner may have seen that it is suspended, and have killed it itself.
    with contextlib.suppress(psutil.NoSuchProcess):
        zygote.kill()
    second = await asyncio.wait_for(starting, 20)
    second.release()
    assert await wait_for_boot(tmp_path / "second") == b"the token"
    alive = [p.pid for p in psutil.process_iter() if _cwd(p) == str(tmp_path / "second")]
    assert alive == [second.pid]
    for process in (first, second):
        process.kill_group()
        await asyncio.wait_for(process.exited, 10)
    await spawner.close()


def _cwd(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def test_an_installer_changes_a_checked_folder() -> None:
    # It adds and removes the .dist-info folders, which changes the time of the folder they are in.
    site_packages = Path(psutil.__file__).parents[1]
    assert site_packages in library_folders()
    assert list(site_packages.glob("discord*.dist-info"))


async def test_new_libraries_start_a_new_zygote_and_keep_the_nodes(tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    spawner = ZygoteSpawner(ENVIRONMENT, libraries=lambda: [library], check_interval_s=0.0)
    old = await spawner.spawn(request_for(tmp_path, WAITS, name="old"))
    same = await spawner.spawn(request_for(tmp_path, WAITS, name="same"))
    old_zygote = zygote_of(old)
    assert zygote_of(same).pid == old_zygote.pid
    os.utime(library, ns=(1, 1))
    new = await spawner.spawn(request_for(tmp_path, WAITS, name="new"))
    assert zygote_of(new).pid != old_zygote.pid
    assert old_zygote.is_running()
    for process in (old, same):
        os.kill(process.pid, signal.SIGKILL)
        assert (await asyncio.wait_for(process.exited, 10)).signal == signal.SIGKILL
    await asyncio.to_thread(psutil.wait_procs, [old_zygote], 10)
    assert not old_zygote.is_running() or old_zygote.status() == psutil.STATUS_ZOMBIE
    new.kill_group()
    await new.exited
    await spawner.close()


async def test_another_process_with_a_nodes_old_pid_is_not_adopted(rig: Rig, tmp_path: Path) -> None:
    node = rig.add("atlas", SLEEPS)
    stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", cwd=tmp_path / "atlas", stdin=-1)
    try:
        real = psutil.Process(stranger.pid)
        since_boot = real.create_time() - psutil.boot_time()
        assert not is_process(stranger.pid, since_boot - 60, tmp_path / "atlas")
        assert not rig.supervisor.adopt(node, stranger.pid, since_boot - 60)
        assert not rig.supervisor.adopt(node, os.getpid(), since_boot)
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_process_that_is_gone_cannot_be_watched() -> None:
    ended = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", ""])
    await asyncio.to_thread(ended.wait)
    with pytest.raises(ProcessLookupError):
        NodeProcess(ended.pid)


async def test_the_exit_of_a_process_that_ended_before_it_was_watched_is_reported(tmp_path: Path) -> None:
    ended = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", "raise SystemExit(3)"])
    pidfd = os.pidfd_open(ended.pid)
    await asyncio.to_thread(ended.wait)
    report: asyncio.Future[ExitReport] = asyncio.get_running_loop().create_future()
    process = NodeProcess(ended.pid, report, pidfd=pidfd)
    report.set_result(ExitReport(exit_code=3))
    assert (await asyncio.wait_for(process.exited, 5)).exit_code == 3
    process.send_signal(signal.SIGTERM)
    assert process.usage() is None


SHORT_OF_DESCRIPTORS = """
import asyncio, os, resource, sys
from pathlib import Path
from master.supervision.errors import SpawnFailed
from master.supervision.spawner import PlainSpawner, SpawnRequest

async def main(folder):
    spawner, (soft, hard) = PlainSpawner(), resource.getrlimit(resource.RLIMIT_NOFILE)
    request = SpawnRequest(
        node_id="a", name="a", folder=folder, command=(sys.executable, "-c", ""), environment={},
        stdout_path=folder / "out", stderr_path=folder / "err", boot=b"{}",
    )
    await (await spawner.spawn(request)).exited  # imports what it needs
    before = os.listdir("/proc/self/fd")
    failures = set()
    for spare in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + spare, hard))
        try:
            process = await spawner.spawn(request)
        except SpawnFailed as error:
            failures.add(error.message)
        else:
            process.kill_group()
            await process.exited
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    process = await spawner.spawn(request)
    process.kill_group()
    await process.exited
    # A killed process that was not reaped would still be a child.
    leftover = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    print(sorted(failures), len(os.listdir("/proc/self/fd")) - len(before), leftover.strip() or "none")

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_running_out_of_descriptors_anywhere_is_a_spawn_error(tmp_path: Path) -> None:
    # In a process of its own: pytest's workers need descriptors too.
    short = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SHORT_OF_DESCRIPTORS, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(short.communicate(), 30)
    assert output.decode().strip() == "['a could not be started: Too many open files'] 0 none"


async def test_a_zygote_without_descriptors_reports_it_and_keeps_serving(tmp_path: Path) -> None:
    spawner = ZygoteSpawner(ENVIRONMENT)
    first = await spawner.spawn(request_for(tmp_path, WAITS, name="first"))
    zygote = zygote_of(first)
    _, hard = resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (3, hard))
    with pytest.raises(SpawnFailed, match="could not fork"):
        await spawner.spawn(request_for(tmp_path, WAITS, name="second"))
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (1024, hard))
    third = await spawner.spawn(request_for(tmp_path, WAITS, name="third"))
    assert zygote_of(third).pid == zygote.pid
    for process in (first, third):
        process.kill_group()
        await asyncio.wait_for(process.exited, 10)
    await spawner.close()


async def test_a_stopped_node_is_continued_forked_or_plain(rig: Rig, tmp_path: Path) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node)
    os.kill(rig.pid(node), signal.SIGSTOP)
    await rig.wait_event(node, NodeContinued)
    assert rig.supervisor.view(node).restarts == 0
    spawner = ZygoteSpawner(ENVIRONMENT)
    process = await spawner.spawn(request_for(tmp_path, WAITS, name="forked"))
    stopped = asyncio.Event()
    process.on_stopped = stopped.set
    os.kill(process.pid, signal.SIGSTOP)
    await asyncio.wait_for(stopped.wait(), 5)
    process.kill_group()
    await process.exited
    await spawner.close()


@pytest.mark.slow
async def test_a_node_that_is_stopped_again_and_again_is_replaced(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node)
    first = rig.pid(node)
    for count in range(1, 6):
        os.kill(first, signal.SIGSTOP)
        await rig.wait_event(node, NodeContinued, count=count)
    os.kill(first, signal.SIGSTOP)
    exited = await rig.wait_event(node, NodeExited)
    assert exited.detail.startswith("stopped by a signal again and again")
    await rig.wait_event(node, NodeSpawned, count=2)


async def test_a_log_folder_that_cannot_be_written_costs_only_the_log(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file, where the folder should be")
    node = rig.add("atlas", "import signal\nprint('lost', flush=True)\nsignal.pause()")
    await rig.supervisor.start(node)
    rig.verify(node)
    assert rig.supervisor.view(node).state is NodeState.READY
    assert rig.logs.tail(node) == []
    rig.logs.rotate([node])


@pytest.mark.slow
async def test_a_memory_limit_that_is_too_small_ends_in_quarantine(make_rig: MakeRig) -> None:
    rig = make_rig(quarantine_exits=2)
    await asyncio.sleep(0)
    node = rig.add("fat", SLEEPS, memory_limit_bytes=1_000_000)
    rig.auto_verify.add(node)
    await rig.supervisor.start(node)
    exited = await rig.wait_event(node, NodeExited)
    assert exited.detail.startswith("over its memory limit (")
    await rig.wait_event(node, NodeQuarantined, timeout_s=30)
    assert "over its memory limit" in rig.supervisor.view(node).detail


async def test_a_hard_memory_limit_is_enforced_and_reported(rig: Rig) -> None:
    script = "hoard = []\nwhile True: hoard.append(bytearray(1_000_000))"
    node = rig.add("hoarder", script, limits=Limits(data_bytes=150_000_000), memory_hard_limit_bytes=150_000_000)
    await rig.supervisor.start(node)
    exited = await rig.wait_event(node, NodeExited)
    assert exited.detail == "out of memory: it needs more than its hard limit of 143 MB: exited with code 1"


async def test_limits_are_enforced_on_a_forked_node(tmp_path: Path) -> None:
    spawner = ZygoteSpawner(ENVIRONMENT)
    script = (
        "import os, resource\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_DATA)[0], os.nice(0))"
    )
    request = request_for(tmp_path, script)
    limits = Limits(open_files=123, data_bytes=10**9, niceness=5)
    process = await spawner.spawn(
        SpawnRequest(**{name: getattr(request, name) for name in request.__slots__ if name != "limits"}, limits=limits)
    )
    await asyncio.wait_for(process.exited, 10)
    assert (tmp_path / "logs" / "atlas.out.log").read_text().split()[-3:] == ["123", str(10**9), "5"]
    await spawner.close()


async def test_a_clock_that_jumps_changes_nothing(make_rig: MakeRig) -> None:
    """Every deadline is monotonic; only the timestamps of events follow the wall clock."""
    rig = make_rig(missed_pulses=2)
    await asyncio.sleep(0)
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node, interval_s=30.0)
    for jump_s in (86_400.0, -2 * 86_400.0):
        rig.clock.wall_ahead_s += jump_s
        rig.supervisor.view(node)
        rig.supervisor.release(node)
        assert rig.supervisor.view(node).state is NodeState.READY
    os.kill(rig.pid(node), signal.SIGKILL)
    exited = await rig.wait_event(node, NodeExited)
    assert exited.at < rig.events[0].at
    assert exited.uptime_s is not None
    assert 0 <= exited.uptime_s < 60
    await rig.wait_event(node, NodeSpawned, count=2)


async def test_a_deferred_start_is_quarantine_with_its_reason(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    rig.preparer.refuses = StartDeferred("the budget is spent", retry_in_s=3600.0)
    with pytest.raises(StartDeferred):
        await rig.supervisor.start(node)
    view = rig.supervisor.view(node)
    assert (view.state, view.detail) == (NodeState.QUARANTINED, "the budget is spent")
    assert view.next_start_in_s == pytest.approx(3600, abs=30)
    rig.preparer.refuses = None
    rig.supervisor.release(node)
    await rig.wait_event(node, NodeSpawned)


async def test_nodes_start_after_their_dependencies(rig: Rig) -> None:
    base = rig.add("base", SLEEPS)
    user = rig.add("user", SLEEPS, after=("base", "unknown"))
    alone = rig.add("alone", SLEEPS, after=("never",))
    rig.add("never", SLEEPS)
    # Requested first, and started last.
    await asyncio.gather(*(rig.supervisor.start(node) for node in (user, base, alone)))
    assert rig.supervisor.view(user).pid is None
    assert rig.supervisor.view(user).detail == "waits for base"
    # A stopped node is not waited for.
    assert rig.supervisor.view(alone).pid is not None
    rig.verify(base)
    await rig.wait_event(user, NodeSpawned)
    # One that crashes on its own is not made to wait for another that restarts.
    rig.verify(user)
    os.kill(rig.pid(base), signal.SIGKILL)
    os.kill(rig.pid(user), signal.SIGKILL)
    await rig.wait_event(user, NodeSpawned, count=2)


async def test_a_node_whose_dependency_fails_starts_eventually(make_rig: MakeRig) -> None:
    rig = make_rig(quarantine_exits=2)
    await asyncio.sleep(0)
    base = rig.add("base", "raise SystemExit(1)")
    user = rig.add("user", SLEEPS, after=("base",))
    await asyncio.gather(rig.supervisor.start(base), rig.supervisor.start(user))
    await rig.wait_event(base, NodeQuarantined)
    await rig.wait_event(user, NodeSpawned)


async def test_the_most_important_start_first(make_rig: MakeRig) -> None:
    rig = make_rig(concurrent_starts=1)
    await asyncio.sleep(0)
    names = [rig.add(f"p{priority}", SLEEPS, priority=priority) for priority in (50, 10, 40, 20, 30)]
    rig.auto_verify.update(names)
    await asyncio.gather(*(rig.supervisor.start(name) for name in names))
    spawned = [event.node_id for event in rig.events if isinstance(event, NodeSpawned)]
    # The first was in before the others came.
    assert spawned[1:] == ["p10", "p20", "p30", "p40"]


async def test_a_queued_start_can_be_cancelled(make_rig: MakeRig) -> None:
    rig = make_rig(concurrent_starts=1)
    await asyncio.sleep(0)
    first, second = rig.add("first", SLEEPS), rig.add("second", SLEEPS)
    await rig.supervisor.start(first)
    waiting = asyncio.create_task(rig.supervisor.start(second))
    await asyncio.sleep(0)
    await asyncio.wait_for(rig.supervisor.stop(second), 5)
    await asyncio.wait_for(waiting, 5)
    assert rig.supervisor.view(second).state is NodeState.STOPPED
    rig.verify(first)
    await rig.supervisor.start(second)


async def test_a_node_stopped_by_the_operator_is_told_that_nobody_follows(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    await rig.supervisor.restart(node)
    await rig.supervisor.stop(node)
    assert rig.preparer.successors == [("atlas", True), ("atlas", False)]


async def test_a_bug_in_a_listener_starts_no_second_process(rig: Rig) -> None:
    """A listener that raises ends a node's supervision: that is restarted, the process is not."""
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node, interval_s=0.05)
    pid, rig.clock.breaks_once = rig.pid(node), True
    adopted = await rig.wait_event(node, NodeSpawned, count=2)
    assert (adopted.pid, adopted.detail) == (pid, "adopted")
    assert rig.pid(node) == pid
