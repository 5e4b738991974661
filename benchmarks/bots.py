"""The bot that every contender runs, up to the point before login, and our supervisor for it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import Program
from master.bus import EventBus
from master.configuration.settings import SupervisionSettings
from master.events import NodeSpawned
from master.supervision.clock import SystemClock
from master.supervision.logs import NodeLogs
from master.supervision.run_records import RunRecords
from master.supervision.spawner import Spawner, SpawnRequest
from master.supervision.specification import NodeSpec
from master.supervision.supervisor import Supervisor

IDLE_BOT = """\
import os, signal, time
import discord
from discord.ext import commands
bot = commands.Bot("!", intents=discord.Intents.default())
with open({record!r}, "a") as record:
    record.write(f"{name} {{os.getpid()}} {{time.monotonic()}}\\n")
signal.pause()
"""
DYING_BOT = """\
with open({record!r}, "a") as record:
    record.write("{name} 0 0\\n")
raise SystemExit(1)
"""
WAIT_S = 120.0


class Record:
    """A file to which each start of a bot appends name, pid and ready time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "record"
        self.path.touch()

    def lines(self) -> list[tuple[str, int, float]]:
        """Return all lines so far."""
        found = [line.split() for line in self.path.read_text().splitlines()]
        return [(name, int(pid), float(at)) for name, pid, at in (parts for parts in found if len(parts) == 3)]

    def wait(self, count: int) -> list[tuple[str, int, float]]:
        """Wait for that many lines."""
        deadline = time.monotonic() + WAIT_S
        while len(found := self.lines()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(found)} of {count} starts became ready")
            time.sleep(0.0005)
        return found


def make_programs(folder: Path, count: int, source: str = IDLE_BOT) -> tuple[list[Program], Record]:
    """Create folders with that bot."""
    record = Record(folder)
    programs = []
    for number in range(count):
        program = Program(f"bot-{number}", folder / f"bot-{number}")
        program.folder.mkdir()
        (program.folder / "bot.py").write_text(source.format(record=str(record.path), name=program.name))
        programs.append(program)
    return programs, record


@dataclass(frozen=True, slots=True)
class _Preparer:
    """Prepares the program's starts as a master's launcher would: with a boot document."""

    logs: NodeLogs

    async def prepare(self, spec: NodeSpec) -> SpawnRequest:
        stdout_path, stderr_path = self.logs.paths(spec.name)
        return SpawnRequest(
            node_id=spec.node_id,
            name=spec.name,
            folder=Path(spec.folder),
            command=(sys.executable, "bot.py"),
            environment={"PATH": os.environ["PATH"]},
            boot=b"{}",
            stdout_path=stdout_path,
            stderr_path=stderr_path,
        )

    def expect_successor(self, spec: NodeSpec, expected: bool) -> None:
        """Do nothing: it is not on Discord."""


@asynccontextmanager
async def our_supervisor(folder: Path, programs: list[Program], spawner: Spawner) -> AsyncIterator[Supervisor]:
    """Run our supervisor over ``programs``, none of them started.

    The bot does not speak the protocol, so it is marked as verified as soon as it runs.
    """
    logs = NodeLogs(folder / "logs", max_bytes=10**6, files=2)

    def on_spawned(event: NodeSpawned) -> None:
        say = supervisor.node_verified
        asyncio.get_running_loop().call_soon(lambda: say(event.node_id, version="", interval_s=3600.0))

    bus = EventBus()
    bus.on(NodeSpawned, on_spawned)
    supervisor = Supervisor(
        spawner=spawner,
        preparer=_Preparer(logs),
        settings=SupervisionSettings(),
        logs=logs,
        records=RunRecords(folder / "runs"),
        clock=SystemClock(),
        bus=bus,
    )
    for program in programs:
        supervisor.register(_spec(program))
    running = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        await supervisor.stop_all()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await spawner.close()


def _spec(program: Program) -> NodeSpec:
    return NodeSpec(
        node_id=program.name, name=program.name, folder=str(program.folder), readiness="handshake", priority=1
    )
