"""Whether a solution acts: new ones only detect, an operator's decision lasts, also without the ledger."""

from __future__ import annotations

import asyncio
from pathlib import Path

from master.bus import EventBus
from master.configuration.settings import DatabaseSettings
from master.events import SolutionChanged
from master.ledger.database import Ledger
from master.ledger.rows import solutions
from master.services.healing.library import Entry, SolutionLibrary
from master.services.healing.solution import SolutionMode
from master.services.repair.modes import Modes
from tests.conftest import TurnableClock
from tests.ledger.writer.test_spool import locked

TEXT = """\
id = "{id}"
title = "A module is not installed"
applies_to = ["stderr"]
patterns = ["^ModuleNotFoundError: "]
action = {{ name = "restart" }}
samples = {{ match = ["ModuleNotFoundError: x"] }}
"""


def entries(folder: Path, *, shipped: tuple[str, ...] = (), own: tuple[str, ...] = (), more: str = "") -> list[Entry]:
    """Load solutions with these ids from two folders, as a library does."""
    for place, ids in (("shipped", shipped), ("own", own)):
        (folder / place).mkdir(exist_ok=True)
        for path in (folder / place).glob("*.toml"):
            path.unlink()
        for one in ids:
            (folder / place / f"{one}.toml").write_text(TEXT.format(id=one) + more)
    library = SolutionLibrary(folder / "own", folder / "shipped")
    library.load()
    assert library.refused == ()
    return list(library.entries.values())


class Desk:
    """Modes on a ledger that can be opened anew."""

    def __init__(self, ledger: Ledger, clock: TurnableClock) -> None:
        self.bus = EventBus()
        self.told: list[SolutionChanged] = []
        self.bus.on(SolutionChanged, self.told.append)
        self.modes = Modes(ledger, self.bus, clock, lambda: 3600.0)


async def test_until_the_ledger_is_read_nothing_acts(ledger: Ledger, clock: TurnableClock, tmp_path: Path) -> None:
    desk = Desk(ledger, clock)
    desk.modes.meet(entries(tmp_path, shipped=("a_shipped",)))
    assert desk.modes.mode_of("a_shipped") is SolutionMode.DETECTING
    await desk.modes.load()
    assert desk.modes.mode_of("a_shipped") is SolutionMode.ON


async def test_an_own_one_detects_first_and_then_acts(ledger: Ledger, clock: TurnableClock, tmp_path: Path) -> None:
    desk = Desk(ledger, clock)
    desk.modes.meet(entries(tmp_path, own=("mine",)))
    await desk.modes.load()
    assert desk.modes.mode_of("mine") is SolutionMode.DETECTING
    assert desk.modes.why_of("mine") == "it is new; acts in 1h00m"
    clock.turn(3601)
    assert desk.modes.mode_of("mine") is SolutionMode.ON
    desk.modes.meet(entries(tmp_path, own=("mine",), more="priority = 3\n"))
    assert desk.modes.mode_of("mine") is SolutionMode.DETECTING
    assert [one.solution for one in desk.told] == ["mine", "mine"]


async def test_what_is_switched_off_stays_off(ledger: Ledger, clock: TurnableClock, tmp_path: Path) -> None:
    desk = Desk(ledger, clock)
    desk.modes.meet(entries(tmp_path, shipped=("a_shipped", "another"), own=("mine",)))
    await desk.modes.load()
    await desk.modes.set("a_shipped", SolutionMode.OFF, "it restarts too much", "cli:ada")
    await desk.modes.set("another", SolutionMode.SUSPENDED, "5 runs did not help", "system:master")
    await desk.modes.set("mine", SolutionMode.OFF, "not now", "cli:ada")
    changed = entries(tmp_path, shipped=("a_shipped", "another"), own=("mine",), more="priority = 3\n")

    anew = Desk(ledger, clock)
    anew.modes.meet(changed)
    await anew.modes.load()
    assert anew.modes.mode_of("a_shipped") is SolutionMode.OFF
    assert anew.modes.mode_of("mine") is SolutionMode.OFF
    assert anew.modes.why_of("mine") == "not now"
    # What was found of the old text does not hold for the new one.
    assert anew.modes.mode_of("another") is SolutionMode.ON


async def test_a_decision_without_the_ledger_is_spooled(
    sqlite_settings: DatabaseSettings, clock: TurnableClock, tmp_path: Path
) -> None:
    impatient = DatabaseSettings(url=sqlite_settings.url, statement_timeout_s=0.02)
    ledger = await Ledger.open(impatient, spool_dir=tmp_path / "spool")
    desk = Desk(ledger, clock)
    desk.modes.meet(entries(tmp_path, shipped=("a_shipped",)))
    await desk.modes.load()
    with locked(sqlite_settings):
        await desk.modes.set("a_shipped", SolutionMode.OFF, "not now", "cli:ada")
        assert ledger.away is not None
        assert desk.modes.mode_of("a_shipped") is SolutionMode.OFF
        # A master that begins while its ledger is away finds what was decided in the spool.
        anew = Desk(ledger, clock)
        await anew.modes.load()
        state = anew.modes.state_of("a_shipped")
    assert state is not None
    assert (state.mode, state.why, state.changed_by) == ("off", "not now", "cli:ada")
    await asyncio.wait_for(ledger.wait_available(), 20)
    assert [one.mode for one in await ledger.read(solutions.list_all)] == ["off"]
    await ledger.close()
