"""The state of the box: a clock that is set and a full disk are each told once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from master.bus import EventBus
from master.events import AlertRaised, ClockStepped, DiskFilled, DiskFreed
from master.ledger.database import Ledger
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.upkeep.box import BoxWatch
from master.supervision.clock import StepDetector, SystemClock
from master.wording import step_text
from tests.conftest import TurnableClock


@pytest.mark.parametrize("step_s", [-20 * 365 * 86_400.0, -3600.0, -3.0, 3.0, 3600.0, 20 * 365 * 86_400.0])
async def test_a_step_of_the_clock_is_told_once(ledger: Ledger, tmp_path: Path, step_s: float) -> None:
    bus, clock = EventBus(), SystemClock()
    Alerts(bus, NodeDirectory(bus, clock), clock)
    wall, since_boot = TurnableClock(), TurnableClock(100.0)
    watch = BoxWatch(tmp_path, ledger, bus, clock, StepDetector(wall, since_boot))
    with bus.subscribe(ClockStepped, AlertRaised) as told:
        for seconds in (9.0, 86_400.0):
            wall.turn(seconds + 0.5)  # slewed, as a time service does
            since_boot.turn(seconds)
            watch.look()
        assert len(told) == 0
        wall.turn(step_s)
        watch.look()
        watch.look()
        assert len(told) == 2
        events = [await told.get(), await told.get()]
    (step,) = (event for event in events if isinstance(event, ClockStepped))
    (alert,) = (event for event in events if isinstance(event, AlertRaised))
    assert step.by_s == pytest.approx(step_s, abs=0.2)
    assert alert.title == f"The clock was set {step_text(step_s)}"


def test_how_a_step_is_said() -> None:
    assert step_text(-3.2) == "back by 3 s"
    assert step_text(90_000) == "forward by 90000 s"
    assert step_text(-20 * 365 * 86_400) == "back by 7300 days"


async def test_a_disk_without_room_is_a_state_of_the_box(ledger: Ledger, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "fleet-test", str(small)]
    if subprocess.run(command, capture_output=True, check=False).returncode:  # noqa: S603, ASYNC221
        pytest.skip("no file system can be mounted here")
    try:
        bus = EventBus()
        watch = BoxWatch(small, ledger, bus, SystemClock())
        with bus.subscribe(DiskFilled, DiskFreed) as told:
            watch.look()
            assert (watch.states, len(told)) == ((), 0)
            (small / "ballast").write_bytes(bytes(2**21 - 2**16))
            watch.look()
            watch.look()
            assert (watch.states, len(told)) == (("disk full",), 1)
            (small / "ballast").unlink()
            watch.look()
            assert (watch.states, len(told)) == ((), 2)
    finally:
        subprocess.run(["umount", str(small)], check=True)  # noqa: S603, S607, ASYNC221
