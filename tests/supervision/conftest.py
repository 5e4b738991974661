"""A supervisor over real processes: tiny scripts that behave in one way each."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from master.configuration.settings import SupervisionSettings
from master.supervision.clock import SystemClock
from master.supervision.logs import NodeLogs
from master.supervision.run_records import RunRecords
from master.supervision.spawner import Limits, PlainSpawner, SpawnRequest
from master.supervision.specification import NodeSpec
from master.supervision.states import ProcessEvent, ProcessEventKind
from master.supervision.supervisor import Supervisor

QUICK = SupervisionSettings(
    pulse_interval_s=0.2,
    ready_timeout_s=5.0,
    grace_s=0.4,
    backoff_initial_s=0.05,
    backoff_cap_s=0.2,
    healthy_after_s=60.0,
    quarantine_exits=4,
    quarantine_window_s=60.0,
    quarantine_retry_s=60.0,
    concurrent_starts=8,
    log_max_bytes=20_000,
)

SLEEPS = "import signal; signal.pause()"
IGNORES_SIGTERM = (
    "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\nwhile True: signal.pause()"
)
EXITS = "import sys; sys.stderr.write('Traceback\\nValueError: the last words\\n'); sys.exit(3)"


@dataclass
class JumpingClock(SystemClock):
    """The real clock, whose wall somebody turns."""

    wall_ahead_s: float = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.wall_ahead_s)


@dataclass
class Rig:
    """A supervisor, its events, and a way to wait for them."""

    supervisor: Supervisor
    folder: Path
    logs: NodeLogs
    settings: SupervisionSettings
    events: list[ProcessEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    breaks_once: bool = False
    """The next event meets a listener that has a mistake in it."""
    clock: JumpingClock = field(default_factory=JumpingClock)
    specs: dict[str, NodeSpec] = field(default_factory=dict)
    quick: set[str] = field(default_factory=set)
    """Nodes whose word that they are ready comes as soon as they run."""

    def note(self, event: ProcessEvent) -> None:
        if self.breaks_once:
            self.breaks_once = False
            raise ZeroDivisionError("as it must")
        self.events.append(event)
        if event.kind is ProcessEventKind.SPAWNED and event.node_id in self.quick:
            asyncio.get_running_loop().call_soon(self.verify, event.node_id)
        self.changed.set()
        self.changed = asyncio.Event()

    def add(
        self, name: str, script: str, *, readiness: str = "handshake", limits: Limits | None = None, **spec: Any
    ) -> str:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "bot.py").write_text(script)
        stdout_path, stderr_path = self.logs.paths(name)

        async def build() -> SpawnRequest:
            return SpawnRequest(
                node_id=name,
                name=name,
                folder=folder,
                command=(sys.executable, "-I", "-S", "bot.py"),
                environment={"PATH": "/usr/bin:/bin"},
                boot=b"{}",
                stdout_path=stdout_path,
                stderr_path=stderr_path,
                limits=limits or Limits(),
            )

        self.specs[name] = NodeSpec(
            node_id=name,
            name=name,
            folder=folder,
            readiness=readiness,  # type: ignore[arg-type]
            build=build,
            **{"priority": 100, **spec},
        )
        self.supervisor.register(self.specs[name])
        return name

    def spec(self, name: str) -> NodeSpec:
        return self.specs[name]

    def changed_spec(self, spec: NodeSpec, **changes: Any) -> NodeSpec:
        return replace(spec, **changes)

    def verify(self, name: str, *, interval_s: float = 60.0) -> None:
        self.supervisor.node_verified(name, version="1", interval_s=interval_s)

    def pid(self, name: str) -> int:
        pid = self.supervisor.pid_of(name)
        assert pid is not None
        return pid

    async def wait_output(self, name: str, text: str) -> None:
        """Wait until a node has printed ``text``; a file has no event to wait for."""
        out, _ = self.logs.paths(name)
        while not out.exists() or text not in out.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def wait_event(
        self, name: str, kind: ProcessEventKind, *, since: int = 0, count: int = 1, timeout_s: float = 15.0
    ) -> ProcessEvent:
        async def wait() -> ProcessEvent:
            while True:
                found = [e for e in self.events[since:] if e.node_id == name and e.kind is kind]
                if len(found) >= count:
                    return found[count - 1]
                await self.changed.wait()

        return await asyncio.wait_for(wait(), timeout_s)


MakeRig = Callable[..., Rig]


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[MakeRig]:
    made: list[Rig] = []

    def make(**changes: object) -> Rig:
        settings = msgspec.structs.replace(QUICK, **changes)
        logs = NodeLogs(tmp_path / "logs", max_bytes=settings.log_max_bytes, files=settings.log_files)
        rig: Rig

        def note(event: ProcessEvent) -> None:
            rig.note(event)

        clock = JumpingClock()
        supervisor = Supervisor(
            spawner=PlainSpawner(),
            settings=settings,
            logs=logs,
            records=RunRecords(tmp_path / "runs"),
            clock=clock,
            on_event=note,
        )
        rig = Rig(supervisor, tmp_path, logs, settings, clock=clock)
        rig.task = asyncio.create_task(supervisor.run())
        made.append(rig)
        return rig

    yield make
    for rig in made:
        if rig.task is not None and not rig.task.done():
            await rig.supervisor.stop_all()
            rig.task.cancel()
            await asyncio.gather(rig.task, return_exceptions=True)


@pytest.fixture
async def rig(make_rig: MakeRig) -> Rig:
    made = make_rig()
    await asyncio.sleep(0)  # let the supervisor's task begin
    return made
