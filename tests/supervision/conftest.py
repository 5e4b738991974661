"""A supervisor over real processes: small scripts with one behaviour each."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from master.bus import EventBus
from master.configuration.settings import SupervisionSettings
from master.errors import FleetError
from master.events import NodeEvent, NodeSpawned
from master.supervision.clock import SystemClock
from master.supervision.connectivity import Connectivity
from master.supervision.logs import NodeLogs
from master.supervision.run_records import RunRecords
from master.supervision.spawner import Limits, PlainSpawner, SpawnRequest
from master.supervision.specification import NodeSpec, Pulse
from master.supervision.supervisor import Supervisor

E = TypeVar("E", bound=NodeEvent)

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
    """The system clock, whose wall time can be moved."""

    wall_ahead_s: float = 0.0
    breaks_once: bool = False
    """The next look at it meets a mistake: stands for any in the supervisor's own code."""

    def monotonic(self) -> float:
        if self.breaks_once:
            self.breaks_once = False
            raise ZeroDivisionError("as it must")
        return super().monotonic()

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.wall_ahead_s)


@dataclass
class Preparer:
    """Prepares the tiny scripts' starts."""

    logs: NodeLogs
    limits: dict[str, Limits] = field(default_factory=dict)
    refuses: FleetError | None = None
    """Why nothing can be started now."""
    successors: list[tuple[str, bool]] = field(default_factory=list)

    async def prepare(self, spec: NodeSpec) -> SpawnRequest:
        if self.refuses is not None:
            raise self.refuses
        stdout_path, stderr_path = self.logs.paths(spec.name)
        return SpawnRequest(
            node_id=spec.node_id,
            name=spec.name,
            folder=Path(spec.folder),
            command=(sys.executable, "-I", "-S", "bot.py"),
            environment={"PATH": "/usr/bin:/bin"},
            boot=b"{}",
            stdout_path=stdout_path,
            stderr_path=stderr_path,
            limits=self.limits.get(spec.node_id, Limits()),
        )

    def expect_successor(self, spec: NodeSpec, expected: bool) -> None:
        self.successors.append((spec.name, expected))


@dataclass
class Rig:
    """A supervisor, its events, and a way to wait for them."""

    supervisor: Supervisor
    folder: Path
    logs: NodeLogs
    settings: SupervisionSettings
    preparer: Preparer
    events: list[NodeEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    clock: JumpingClock = field(default_factory=JumpingClock)
    auto_verify: set[str] = field(default_factory=set)
    """Nodes that are verified as soon as they run."""

    def note(self, event: NodeEvent) -> None:
        self.events.append(event)
        if isinstance(event, NodeSpawned) and event.node_id in self.auto_verify:
            asyncio.get_running_loop().call_soon(self.verify, event.node_id)
        self.changed.set()
        self.changed = asyncio.Event()

    def add(
        self, name: str, script: str, *, readiness: str = "handshake", limits: Limits | None = None, **spec: Any
    ) -> str:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "bot.py").write_text(script)
        self.preparer.limits[name] = limits or Limits()
        found = NodeSpec(
            node_id=name,
            name=name,
            folder=str(folder),
            readiness=readiness,  # type: ignore[arg-type]
            **{"priority": 100, **spec},
        )
        self.supervisor.register(found)
        return name

    def verify(self, name: str, *, interval_s: float = 60.0, cogs_failed: tuple[str, ...] = ()) -> None:
        self.supervisor.node_verified(name, version="1", interval_s=interval_s, cogs_failed=cogs_failed)

    def pulse(self, name: str, *cogs_failed: str, interval_s: float = 60.0) -> None:
        state = "degraded" if cogs_failed else "ready"
        pulse = Pulse(
            uptime_s=1.0, latency_ms=12.0, guilds=3, state=state, interval_s=interval_s, cogs_failed=cogs_failed
        )
        self.supervisor.node_pulsed(name, pulse)

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
        self, name: str, kind: type[E], *, since: int = 0, count: int = 1, timeout_s: float = 15.0
    ) -> E:
        async def wait() -> E:
            while True:
                found = [e for e in self.events[since:] if e.node_id == name and isinstance(e, kind)]
                if len(found) >= count:
                    return found[count - 1]
                await self.changed.wait()

        return await asyncio.wait_for(wait(), timeout_s)


MakeRig = Callable[..., Rig]


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[MakeRig]:
    made: list[Rig] = []

    def make(*, bus: EventBus | None = None, connectivity: Connectivity | None = None, **changes: object) -> Rig:
        settings = msgspec.structs.replace(QUICK, **changes)
        logs = NodeLogs(tmp_path / "logs", max_bytes=settings.log_max_bytes, files=settings.log_files)
        rig: Rig

        def note(event: NodeEvent) -> None:
            rig.note(event)

        clock, preparer = JumpingClock(), Preparer(logs)
        bus = bus or EventBus()
        bus.on(NodeEvent, note)
        supervisor = Supervisor(
            spawner=PlainSpawner(),
            preparer=preparer,
            settings=settings,
            logs=logs,
            records=RunRecords(tmp_path / "runs"),
            clock=clock,
            bus=bus,
            connectivity=connectivity,
        )
        rig = Rig(supervisor, tmp_path, logs, settings, preparer, clock=clock)
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
