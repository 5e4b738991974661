"""A house with solutions of the operator's own, and programs that are ready at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from master.configuration.settings import HealingSettings, Settings
from master.events import AlertRaised, Event, NodeReady, NodeSpawned, RepairStep, SolutionChanged
from master.ledger.rows.records import SolutionRun
from master.services.healing.monitor import Finding
from master.services.healing.sighting import SeenIn, Sighting
from master.services.onboarding.saga import RegisterRequest
from master.supervision.states import NodeState
from sandbox import Sandbox
from tests.services.conftest import OPERATOR, House, open_house

PROGRAM = "import signal\nprint('up', flush=True)\nsignal.pause()\n"
SOLUTION = """\
id = "{id}"
title = "Its cache is stale"
advice = "Look at {{node}}."
risk = "{risk}"
applies_to = ["stderr", "exit"]
patterns = ['''{pattern}''']
priority = {priority}
cooldown_s = {cooldown_s}
most_an_hour = {most_an_hour}
most_attempts = {most_attempts}
stays_away_s = {stays_away_s}
action = {{name = "{action}"}}
[samples]
match = ["{pattern}"]
"""
_USUAL = {
    "risk": "auto",
    "pattern": "stale cache",
    "priority": 0,
    "cooldown_s": 0,
    "most_an_hour": 50,
    "most_attempts": 3,
    "stays_away_s": 5,
    "action": "restart",
}


def write_solution(settings: Settings, solution_id: str, **different: Any) -> None:
    """Write a solution of the operator's own."""
    settings.solutions_dir.mkdir(exist_ok=True)
    text = SOLUTION.format(**{**_USUAL, **different}, id=solution_id)
    (settings.solutions_dir / f"{solution_id}.toml").write_text(text)


@dataclass
class Ward:
    """A house whose master repairs, and what happened in it."""

    house: House
    events: list[Event] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for kind in (NodeSpawned, NodeReady, RepairStep, SolutionChanged, AlertRaised):
            self.house.services.bus.on(kind, self._note)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = asyncio.Event()

    async def wait(self, found: Callable[[Event], bool], *, count: int = 1, timeout_s: float = 20.0) -> Event:
        """Wait for the event of that number that is meant, from the beginning on."""
        async with asyncio.timeout(timeout_s):
            while len(fitting := [event for event in self.events if found(event)]) < count:
                await self.changed.wait()
        return fitting[count - 1]

    async def step(self, outcome: str, *, count: int = 1, solution: str = "", timeout_s: float = 20.0) -> RepairStep:
        """Wait for a step of a repair."""

        def found(event: Event) -> bool:
            return isinstance(event, RepairStep) and event.outcome == outcome and solution in ("", event.solution)

        event = await self.wait(found, count=count, timeout_s=timeout_s)
        assert isinstance(event, RepairStep)
        return event

    async def add(self, name: str = "web", program: str = PROGRAM) -> str:
        """Register a program, and wait until it is ready; returns its id."""
        folder = self.house.base / name
        folder.mkdir(parents=True)
        (folder / "main.py").write_text(program)
        options = {"COMMAND": f"{sys.executable} -u main.py", "READY_WHEN": "log:up"}
        await self.house.register(OPERATOR, RegisterRequest(name=name, token=None, folder=name, options=options))
        node = self.house.services.directory.find(name)
        await self.wait(lambda event: isinstance(event, NodeReady) and event.node_id == node.id)
        return node.id

    def show(
        self,
        node_id: str,
        text: str = "stale cache",
        seen_in: SeenIn = SeenIn.STDERR,
        *,
        in_s: float = 0.0,
        **more: Any,
    ) -> None:
        """Have the engine take an error as the error monitor finds it, once it is sure that it is another one."""
        at = self.house.services.clock.now() + timedelta(seconds=in_s)
        sighting = Sighting(**{"node_id": node_id, "at": at, "seen_in": seen_in, "text": text, **more})
        matches = self.house.services.library.matcher.scan(seen_in, text.encode())
        self.house.services.repair.take(Finding(sighting=sighting, matches=tuple(matches)))

    async def acts(self, node_id: str, *, count: int = 1) -> None:
        """Wait until an action was carried out for that often, and the node is ready again."""
        await self.step("watching", count=count)
        await self.house.services.supervisor.wait_state(node_id, [NodeState.READY], timeout_s=20)

    async def reload(self) -> None:
        """Load solutions that were written meanwhile, and wait until they have their modes."""
        services = self.house.services
        await asyncio.to_thread(services.library.load)
        while any(services.modes.state_of(one) is None for one in services.library.entries):  # noqa: ASYNC110 - as below
            await asyncio.sleep(0.01)

    async def decided(self, node_id: str) -> None:
        """Wait until all that was seen on a node was decided."""
        repair = self.house.services.repair
        async with asyncio.timeout(20):
            while node_id in repair._busy or repair._waiting.get(node_id):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)

    def forgive_all(self) -> None:
        """Allow the solution another chance on each node, as a cure does, without the wait for one."""
        for node in self.house.services.directory:
            self.house.services.repair.runs.forgive(node_id=node.id)

    def spawns(self) -> int:
        return sum(isinstance(event, NodeSpawned) for event in self.events)

    def outcomes(self) -> list[str]:
        """Return what came of each run, oldest first."""
        return [run.outcome for run in self.runs()]

    def runs(self) -> list[SolutionRun]:
        return [known.run for known in self.house.services.repair.runs.latest()][::-1]

    def alerts(self) -> list[AlertRaised]:
        return [event for event in self.events if isinstance(event, AlertRaised)]


@asynccontextmanager
async def open_ward(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Ward]:
    async with open_house(settings, sandbox, spool_dir=settings.spool_dir) as house:
        ward = Ward(house)
        await asyncio.to_thread(house.services.library.load)
        services = house.services
        works = (services.error_monitor.run, services.solutions.run, services.repair.run)
        tasks = [asyncio.create_task(work()) for work in works]
        try:
            yield ward
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def ward_settings(house_settings: Settings, tmp_path: Path) -> Settings:
    """Return settings under which a new solution acts at once."""
    return replace(house_settings, healing=HealingSettings(detect_only_s=0))


@pytest.fixture
async def ward(ward_settings: Settings, sandbox: Sandbox) -> AsyncIterator[Ward]:
    """Yield a house with one solution, which restarts a node whose cache is stale."""
    write_solution(ward_settings, "stale_cache")
    async with open_ward(ward_settings, sandbox) as opened:
        yield opened
