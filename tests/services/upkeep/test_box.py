"""The state of the box: a clock that is set and a full disk are each told once."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from handshake.redaction import Secret
from master.bus import EventBus
from master.configuration.settings import DatabaseSettings
from master.events import AlertRaised, ClockStepped, DiskFilled, DiskFreed, LedgerReturned
from master.ledger.database import Ledger
from master.ledger.rows.audit import AuditChain
from master.ledger.writer import probe
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.upkeep.box import BoxWatch
from master.supervision.clock import StepDetector, SystemClock
from master.wording import step_text
from tests.conftest import TurnableClock
from tests.ledger.writer.test_spool import action


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


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with 2 MB of room."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "fleet-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:  # noqa: S603
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


async def test_a_disk_without_room_is_a_state_of_the_box(ledger: Ledger, small: Path) -> None:
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


async def test_a_ledger_on_a_disk_that_has_room_again_is_there_at_once(
    small: Path, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PROBE_DELAYS_S", (3600.0,))
    shutil.copy(empty_ledger, small / "ledger.db")
    settings = DatabaseSettings(url=Secret(f"sqlite:///{small / 'ledger.db'}"))
    bus, ballast = EventBus(), small / "ballast"
    ledger = await Ledger.open(settings, chain=AuditChain(b"k" * 32), spool_dir=small / "spool", bus=bus)
    watch = BoxWatch(small, ledger, bus, SystemClock())
    watching = asyncio.create_task(watch.run())
    try:
        with bus.subscribe(DiskFilled, DiskFreed, LedgerReturned) as told:
            fill(ballast)
            for number in range(500):
                if not await ledger.write_durable(action(number)):
                    break
            assert isinstance(await told.get(), DiskFilled)
            assert ledger.away is not None
            ballast.unlink()
            # By its own probe it would be there in an hour.
            kinds = {type(await asyncio.wait_for(told.get(), 20)) for _ in range(2)}
            assert kinds == {LedgerReturned, DiskFreed}
        assert ledger.statistics.held == 0
        assert watch.states == ()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await ledger.close()


def fill(ballast: Path) -> None:
    """Write until the disk takes not even a byte more."""
    size = 1 << 16
    with ballast.open("ab", buffering=0) as stream:
        while size:
            try:
                stream.write(bytes(size))
            except OSError:
                size //= 2
