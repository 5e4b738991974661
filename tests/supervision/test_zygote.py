"""The zygote, with real forks and real exits."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from master.supervision.process import NodeProcess
from master.supervision.spawner import SpawnRequest
from master.supervision.zygote_spawner import ANSWER_TIMEOUT_S, ZygoteSpawner

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
async def spawner() -> AsyncIterator[ZygoteSpawner]:
    made = ZygoteSpawner(ENVIRONMENT)
    await made.warm()
    yield made
    await made.close()


def request_for(folder: Path, script: str, *, name: str = "atlas", boot: bytes | None = b"{}") -> SpawnRequest:
    home = folder / name
    home.mkdir(exist_ok=True)
    (home / "bot.py").write_text(script)
    return SpawnRequest(
        node_id=name,
        name=name,
        folder=home,
        command=(sys.executable, "bot.py"),
        environment={"PATH": "/usr/bin:/bin", "GREETING": "hello"},
        boot=boot,
        stdout_path=folder / "logs" / f"{name}.out.log",
        stderr_path=folder / "logs" / f"{name}.err.log",
    )


def zygote_of(process: NodeProcess) -> psutil.Process:
    parent = psutil.Process(process.pid).parent()
    assert parent is not None
    return parent


WAITS = "import signal; signal.pause()"

REPORTS = """\
import json, os, random, signal, sys
from pathlib import Path
print(json.dumps({
    "environment": dict(os.environ), "argv": sys.argv, "cwd": os.getcwd(), "name": __name__,
    "path": sys.path[0], "session": os.getsid(0) == os.getpid(), "group": os.getpgid(0) == os.getpid(),
    "boot": os.read(int(os.environ["FLEET_BOOT_FD"]), 100).decode(), "random": random.random(),
    "preloaded": "discord" in sys.modules, "descriptors": sorted(os.listdir("/proc/self/fd")),
    "child": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
}))
"""


async def run_and_report(spawner: ZygoteSpawner, folder: Path, name: str) -> dict[str, object]:
    process = await spawner.spawn(request_for(folder, REPORTS, name=name, boot=b'{"token": "secret"}'))
    process.release()
    report = await asyncio.wait_for(process.exited, 10)
    assert report.exit_code == 0
    line = (folder / "logs" / f"{name}.out.log").read_text()
    return dict(json.loads(line[line.index("{") :]))


async def test_a_forked_node_is_a_process_of_its_own(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    facts = await run_and_report(spawner, tmp_path, "atlas")
    environment = dict(facts["environment"])  # type: ignore[call-overload]
    assert environment.pop("FLEET_BOOT_FD").isdecimal()
    assert environment == {"PATH": "/usr/bin:/bin", "GREETING": "hello"}
    assert (facts["argv"], facts["name"]) == (["bot.py"], "__main__")
    assert facts["cwd"] == facts["path"] == str(tmp_path / "atlas")
    assert facts["session"]
    assert facts["group"]
    assert facts["child"]
    assert facts["preloaded"]
    assert facts["boot"] == '{"token": "secret"}'
    # Standard streams, boot document, and the listing itself: nothing of the zygote or of another node.
    assert len(list(facts["descriptors"])) == 5  # type: ignore[call-overload]


async def test_two_nodes_do_not_share_their_randomness(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    assert (await run_and_report(spawner, tmp_path, "a"))["random"] != (await run_and_report(spawner, tmp_path, "b"))[
        "random"
    ]


async def test_the_zygote_holds_no_secret_and_has_one_thread(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    process = await spawner.spawn(request_for(tmp_path, WAITS, boot=b'{"token": "the-secret-token"}'))
    zygote = zygote_of(process)
    assert zygote.num_threads() == 1
    memory = await asyncio.to_thread(_memory_of, zygote.pid)
    assert b"the-secret-token" not in memory
    process.kill_group()
    await process.exited


def _memory_of(pid: int) -> bytes:
    """Read all writable memory of a process."""
    found = bytearray()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if "w" not in rights:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            try:
                found += memory.read(end - start)
            except OSError:
                continue
    return bytes(found)


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        ("import sys; sys.exit(3)", 3, None),
        ("raise SystemExit", 0, None),
        ("raise SystemExit('words')", 1, None),
        ("1 / 0", 1, None),
        ("def broken(:", 1, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", None, signal.SIGSEGV),
        ("import os; os.abort()", None, signal.SIGABRT),
    ],
)
async def test_the_exit_of_a_node_is_reported(
    spawner: ZygoteSpawner, tmp_path: Path, script: str, code: int | None, number: int | None
) -> None:
    process = await spawner.spawn(request_for(tmp_path, script))
    report = await asyncio.wait_for(process.exited, 10)
    assert (report.exit_code, report.signal) == (code, number)


async def test_the_traceback_of_a_crash_is_in_its_log(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    process = await spawner.spawn(request_for(tmp_path, "import nothing_of_that_name"))
    await asyncio.wait_for(process.exited, 10)
    assert "ModuleNotFoundError" in (tmp_path / "logs" / "atlas.err.log").read_text()


async def test_children_of_a_node_die_with_it(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    script = "import os, signal, time\npid = os.fork()\nif pid: print(pid, flush=True)\nsignal.pause()"
    process = await spawner.spawn(request_for(tmp_path, script))
    out = tmp_path / "logs" / "atlas.out.log"
    while not out.read_text().strip():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)
    grandchild = psutil.Process(int(out.read_text().split()[-1]))
    os.kill(process.pid, signal.SIGKILL)
    assert (await asyncio.wait_for(process.exited, 10)).signal == signal.SIGKILL
    await asyncio.to_thread(psutil.wait_procs, [grandchild], 5)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


async def test_nodes_outlive_a_dead_zygote_and_a_new_one_starts(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    first = await spawner.spawn(request_for(tmp_path, WAITS, name="a"))
    zygote = zygote_of(first)
    zygote.kill()
    await asyncio.to_thread(zygote.wait, 5)
    second = await spawner.spawn(request_for(tmp_path, WAITS, name="b"))
    assert psutil.pid_exists(first.pid)
    third = await spawner.spawn(request_for(tmp_path, WAITS, name="c"))
    assert zygote_of(third).pid != zygote.pid
    for process in (first, second, third):
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.wait_for(process.exited, 10)


async def test_the_zygote_ends_with_its_master_and_nodes_keep_running(tmp_path: Path) -> None:
    spawner = ZygoteSpawner(ENVIRONMENT)
    process = await spawner.spawn(request_for(tmp_path, WAITS))
    zygote = zygote_of(process)
    await spawner.close()
    await asyncio.to_thread(zygote.wait, 5)
    assert psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.wait_for(process.exited, 10)


def title_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode().strip()


async def test_process_titles_are_set(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    process = await spawner.spawn(request_for(tmp_path, WAITS, name="borealis"))
    while title_of(process.pid) != "fleet: borealis":  # noqa: ASYNC110 - a title has no event
        await asyncio.sleep(0.01)
    assert title_of(zygote_of(process).pid) == "fleet: zygote"
    process.kill_group()
    await process.exited


async def test_a_bot_with_another_interpreter_is_a_plain_process(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    plain = request_for(tmp_path, WAITS)
    plain = SpawnRequest(
        node_id="x",
        name="x",
        folder=plain.folder,
        command=(sys.executable, "-I", "-S", "bot.py"),
        environment={},
        stdout_path=plain.stdout_path,
        stderr_path=plain.stderr_path,
    )
    process = await spawner.spawn(plain)
    assert zygote_of(process).pid == os.getpid()
    process.kill_group()
    await process.exited


async def wait_for_spare(zygote: psutil.Process) -> None:
    """Wait until the zygote is idle: its only child is the spare."""
    while [title_of(child.pid) for child in zygote.children()] != ["fleet: spare"]:  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.01)


async def test_a_hundred_starts_leak_no_descriptor(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    first = await spawner.spawn(request_for(tmp_path, WAITS))
    zygote = zygote_of(first)
    first.kill_group()
    await first.exited
    await asyncio.wait_for(wait_for_spare(zygote), 10)
    ours, its = len(os.listdir("/proc/self/fd")), zygote.num_fds()
    for _ in range(100):
        process = await spawner.spawn(request_for(tmp_path, WAITS))
        process.kill_group()
        await asyncio.wait_for(process.exited, 10)
    await asyncio.wait_for(wait_for_spare(zygote), 10)
    assert len(os.listdir("/proc/self/fd")) == ours
    assert zygote.num_fds() == its


async def test_a_stopped_zygote_is_replaced_and_starts_go_on(spawner: ZygoteSpawner, tmp_path: Path) -> None:
    first = await spawner.spawn(request_for(tmp_path, WAITS, name="a"))
    zygote = zygote_of(first)
    zygote.suspend()
    async with asyncio.timeout(20):
        while zygote.status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110 - a signal has no event
            await asyncio.sleep(0.01)
        second = await spawner.spawn(request_for(tmp_path, WAITS, name="b"))
        await asyncio.to_thread(psutil.wait_procs, [zygote], 10)
        assert not zygote.is_running() or zygote.status() == psutil.STATUS_ZOMBIE
        # The next one is forked again, by another zygote, and nobody is told of trouble any more.
        while spawner.trouble:  # noqa: ASYNC110 - it ends when the new zygote is warm
            await asyncio.sleep(0.01)
    third = await spawner.spawn(request_for(tmp_path, WAITS, name="c"))
    assert zygote_of(third).pid not in (zygote.pid, os.getpid())
    for process in (first, second, third):
        assert psutil.pid_exists(process.pid)
        process.kill_group()
        await asyncio.wait_for(process.exited, 10)


async def test_a_zygote_that_answers_nothing_is_given_up_within_its_deadline(
    spawner: ZygoteSpawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await spawner.spawn(request_for(tmp_path, WAITS, name="a"))
    zygote = zygote_of(first)
    # As one that hangs without being stopped: the look at its state says that it runs.
    monkeypatch.setattr("master.supervision.zygote_spawner._Connection.is_stopped", False)
    zygote.suspend()
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(20):
        second = await spawner.spawn(request_for(tmp_path, WAITS, name="b"))
    assert asyncio.get_running_loop().time() - began >= ANSWER_TIMEOUT_S
    assert zygote_of(second).pid == os.getpid()
    assert "zygote did not answer" in spawner.trouble or not spawner.trouble
    assert not zygote.is_running() or zygote.status() == psutil.STATUS_ZOMBIE
    for process in (first, second):
        process.kill_group()
        await asyncio.wait_for(process.exited, 10)
