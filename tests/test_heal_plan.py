"""The benchmark ``heal`` strikes all contenders alike, and its operator's solutions are good ones."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

from benchmarks.heal import FAULTS, STRUCK, make_wheel, planned_faults
from master.services.healing.library import SolutionLibrary
from master.services.healing.sighting import SeenIn


def test_each_kind_and_each_bot_is_struck_as_often_as_any_other() -> None:
    faults = planned_faults(25, 600.0, 4.0, 1)
    assert faults == planned_faults(25, 600.0, 4.0, 1)
    assert len(faults) == 150
    kinds, victims = Counter(fault.kind for fault in faults), Counter(fault.victim for fault in faults)
    assert set(kinds) == set(FAULTS)
    assert max(kinds.values()) - min(kinds.values()) <= 1
    assert set(victims.values()) == {6}
    assert all(0 <= fault.at_s <= 600 for fault in faults)


def test_the_operators_solutions_are_taken(tmp_path: Path) -> None:
    library = SolutionLibrary(STRUCK / "solutions", tmp_path)
    library.load()
    assert library.refused == ()
    # As nodekit reports what the cog raises.
    line = b"event on_work: CogBroken: the state of cogs.work is broken"
    (match,) = library.matcher.scan(SeenIn.REPORT, line)
    assert (match.solution.id, match.captures) == ("broken_cog", {"cog": "work"})


def test_the_package_that_is_missing_is_a_wheel(tmp_path: Path) -> None:
    with zipfile.ZipFile(make_wheel(tmp_path / "wheels")) as wheel:
        assert "heal_extra.py" in wheel.namelist()
