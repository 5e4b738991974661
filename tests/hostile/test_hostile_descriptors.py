"""A real master that has few descriptors, or none left, while somebody opens connections and leaves them idle.

``FLEET_FUZZ=1000`` makes a thousand bursts. The operator's commands are answered all through it, no node is replaced,
and the log says it in a line or two.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from handshake.sockets import short_path
from master.demonstration.stage import Master, Stage
from tests.hostile.effort import rounds

FEW = 64
BURSTS = 2
IDLE = 60
LOG_LINES_A_MINUTE = 12
"""Two sockets, what is said of each, and the nodes' own."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Yield a master that may have 64 descriptors, hard limit, with two nodes that know its socket alone."""
    async with Stage(pulse_s=0.5, transport="local") as made:
        log_path = made.home / "master.log"
        with log_path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", f'ulimit -n {FEW}; exec "$@"', "sh", sys.executable, "-m", "master"),
                *("--home", str(made.home)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        made.master = Master(process, log_path)
        await asyncio.wait_for(made._wait_until_answering(), 60)
        for name in ("atlas", "borealis"):
            await made.register(name)
        yield made


def master_of(stage: Stage) -> Master:
    assert stage.master is not None
    return stage.master


@contextmanager
def idle_connections(stage: Stage) -> Iterator[int]:
    """Hold as many connections to both sockets as are taken; half of them send half a line."""
    held: list[socket.socket] = []
    for name in ("control.sock", "nodes.sock"):
        for number in range(IDLE):
            connection = socket.socket(socket.AF_UNIX)
            connection.setblocking(False)
            held.append(connection)
            with short_path(stage.home / "state" / name) as path, contextlib.suppress(OSError):
                connection.connect(path)
                if number % 2:
                    connection.send(b'{"method":"sta')
    try:
        yield len(held)
    finally:
        for connection in held:
            connection.close()


async def all_ready(stage: Stage) -> None:
    async with asyncio.timeout(60):
        while {node.state for node in (await stage.status()).nodes} != {"ready"}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_master_with_64_descriptors_and_idle_connections(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    await all_ready(stage)
    pids = {node.name: node.pid for node in (await stage.status()).nodes}
    connections, slowest, began = 0, 0.0, time.monotonic()
    lines_before = master_of(stage).log_path.read_text().count("\n")
    for _ in range(rounds(BURSTS)):
        with idle_connections(stage) as count:
            connections += count
            for _ in range(5):
                asked = time.monotonic()
                nodes = (await stage.status()).nodes
                slowest = max(slowest, time.monotonic() - asked)
                assert {node.name: node.pid for node in nodes} == pids
                assert {node.state for node in nodes} == {"ready"}
                await asyncio.sleep(0.2)
    took = time.monotonic() - began
    text = master_of(stage).log_path.read_text()
    lines = text.count("\n") - lines_before
    assert "Traceback" not in text
    assert lines <= LOG_LINES_A_MINUTE * (1 + took // 60)
    (result,) = await stage.act("restart", ["atlas"])
    assert result.ok
    await all_ready(stage)
    with capsys.disabled():
        print(
            f"\n{FEW} descriptors: {connections:,} idle connections in {took:.0f} s, slowest status "
            f"{slowest * 1000:.0f} ms, no node replaced, {lines} lines in the log"
        )


async def test_a_master_with_no_descriptor_left_answers_the_operator(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    await all_ready(stage)
    process, before = master_of(stage).process, master_of(stage).log_path.read_text().count("\n")
    for _ in range(rounds(BURSTS)):
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir(f"/proc/{process.pid}/fd")))
        # What is open stays open, the reserve too; nothing else can be opened.
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (highest + 1, hard))
        with idle_connections(stage):
            await asyncio.sleep(0.5)
        assert (await stage.status()).master.pid == process.pid
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        await all_ready(stage)
    text = master_of(stage).log_path.read_text()
    assert process.returncode is None
    with capsys.disabled():
        print(f"\nno descriptors: {rounds(BURSTS)} times, {text.count(chr(10)) - before} lines in the log")
    assert text.count("\n") - before <= 40 * rounds(BURSTS)
