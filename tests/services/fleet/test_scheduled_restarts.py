"""CRON_RESTART: at its time, in the box's zone, once; not for what is stopped, nor for what was missed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from master.bus import EventBus
from master.events import NodeRestartDue
from master.ledger.rows.records import DesiredState, Lifecycle, Node
from master.services.core.directory import NodeDirectory
from master.services.core.errors import NoSuchNode
from master.services.fleet.scheduled_restarts import ScheduledRestarts, local_zone, next_time
from tests.conftest import TurnableClock


@dataclass
class Desk:
    """Schedules over a clock that is turned, and what came of them."""

    clock: TurnableClock
    schedules: dict[str, str] = field(default_factory=dict)
    restarted: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bus = EventBus()
        self.directory = NodeDirectory(self.bus, self.clock)
        self.bus.on(NodeRestartDue, lambda event: self.told.append(event.detail))
        self.service = ScheduledRestarts(
            directory=self.directory,
            schedule_of=lambda node: self.schedules.get(node.name),
            bus=self.bus,
            clock=self.clock,
        )

    def add(self, name: str, schedule: str, desired: DesiredState = DesiredState.RUNNING) -> None:
        now = self.clock.now()
        self.schedules[name] = schedule
        self.directory.put(
            Node(
                id=name,
                name=name,
                folder=name,
                entry="",
                bot_user_id=0,
                desired_state=desired,
                lifecycle=Lifecycle.ACTIVE,
                created_at=now,
                updated_at=now,
            )
        )

    async def restart(self, name: str) -> None:
        self.restarted.append(name)
        if name == "broken":
            raise NoSuchNode("gone")

    async def look(self, after_s: float = 0.0) -> float | None:
        self.clock.turn(after_s)
        return await self.service.step(self.restart)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("TZ", "UTC")
    return Desk(TurnableClock(datetime(2026, 11, 22, 4, 59, 30, tzinfo=UTC).timestamp()))


async def test_each_is_restarted_at_its_time_and_once(desk: Desk) -> None:
    desk.add("web", "0 5 * * *")
    desk.add("hourly", "*/30 * * * *")
    desk.add("never", "")
    desk.add("broken", "0 5 * * *")
    assert await desk.look() == 30.0
    assert desk.restarted == []
    await desk.look(30)
    assert sorted(desk.restarted) == ["broken", "hourly", "web"]
    await desk.look(60)
    assert len(desk.restarted) == 3
    await desk.look(29 * 60)
    assert desk.restarted[3:] == ["hourly"]


async def test_nothing_is_waited_for_without_a_schedule(desk: Desk) -> None:
    desk.add("web", "")
    assert await desk.look() is None


async def test_a_stopped_node_is_left_out_with_a_word(desk: Desk) -> None:
    desk.add("web", "0 5 * * *", DesiredState.STOPPED)
    await desk.look()
    await desk.look(30)
    assert (desk.restarted, desk.told) == ([], ["left out: it is stopped"])


async def test_what_was_missed_is_not_made_up(desk: Desk) -> None:
    desk.add("web", "0 5 * * *")
    await desk.look()
    await desk.look(3_600)
    assert desk.restarted == []
    assert "while the box slept" in desk.told[0]
    await desk.look(86_400 - 3_600 + 30)
    assert desk.restarted == ["web"]


async def test_a_changed_schedule_holds_from_now_on(desk: Desk) -> None:
    desk.add("web", "0 5 * * *")
    await desk.look()
    desk.schedules["web"] = "15 5 * * *"
    await desk.look(30)
    assert desk.restarted == []
    await desk.look(15 * 60)
    assert desk.restarted == ["web"]


async def test_it_wakes_up_for_a_new_node(desk: Desk) -> None:
    desk.clock.turn(29.8)
    running = asyncio.create_task(desk.service.run(desk.restart))
    await asyncio.sleep(0)
    desk.add("web", "0 5 * * *")
    while not desk.service._due:  # noqa: ASYNC110 - what is waited for is its own waiting
        await asyncio.sleep(0)
    desk.clock.turn(1)
    node = desk.directory.find("web")
    desk.directory.put(replace(node, tags=("x",)))
    while not desk.restarted:  # noqa: ASYNC110
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert desk.restarted == ["web"]


@pytest.mark.parametrize(
    ("now", "met"),
    [
        # The hour from 2 to 3 does not exist: at its end, instead of not at all.
        (datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
        # It exists twice: the first time.
        (datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        # And not again an hour later.
        (datetime(2026, 10, 25, 0, 31, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC)),
    ],
)
def test_changes_of_the_clock(monkeypatch: pytest.MonkeyPatch, now: datetime, met: datetime) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert next_time("30 2 * * *", now) == met


def test_the_zone_is_the_boxs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "No/Such/Zone")
    assert local_zone().utcoffset(datetime.now()) is not None  # noqa: DTZ005 - only its offset
    monkeypatch.delenv("TZ")
    offset = local_zone().utcoffset(datetime.now())  # noqa: DTZ005
    assert offset is not None
    assert Path("/etc/localtime").exists() is False or offset == datetime.now().astimezone().utcoffset()


def test_a_fleet_that_uses_none_of_this_loads_nothing_for_it() -> None:
    loads = (
        "import sys, master.main; print([m for m in ('zoneinfo', 'cronsim', 're2', 'watchfiles') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)  # noqa: S603 - a constant
    assert found.stdout.strip() == "[]"
