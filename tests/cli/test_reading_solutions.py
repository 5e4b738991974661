"""`fleet solutions` at any width: what matters is there, no line is too long, and nothing foreign acts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text

from master.cli.solutions import chosen_of
from master.services.core.solution_views import (
    MatchedLine,
    PatternCost,
    RefusedFileView,
    RunView,
    SolutionDetails,
    SolutionHistory,
    SolutionsView,
    SolutionTest,
    SolutionView,
    VersionView,
)
from master.terminal.solutions import details_lines, found_lines, history_lines, solutions_lines

FOREIGN = "\x1b[31m\r\n[bold]漢字 " * 20
NOW = time.time()


def a_solution(name: str = "missing_module", **changes: Any) -> SolutionView:
    fields: dict[str, Any] = {
        "id": name,
        "title": "A module is not installed",
        "mode": "on",
        "why": "comes with Fleetmaster",
        "risk": "ask",
        "action": "install_package",
        "origin": "shipped",
        **changes,
    }
    return SolutionView(**fields)


FOUND = SolutionsView(
    solutions=(
        a_solution("gateway_storm", mode="suspended", why="5 of 6 runs did not help", runs=6, cures=1, failures=5),
        a_solution("lost_database", mode="detecting", why="it is new; acts in 23h", origin="own", detected=3),
        a_solution(runs=14, cures=12, failures=2, last_run=NOW - 7_200),
        a_solution("x" * 64, title=FOREIGN),
        a_solution("quiet", mode="off", why=FOREIGN),
    ),
    refused=(RefusedFileView(path="/home/ada/fleet/solutions/mine.toml", line=4, reason="no action is called 'x'"),),
    enabled=False,
)
RUN = RunView(
    at=NOW, node="atlas", seen_in="stderr", line=FOREIGN, action="restart", outcome="helped", ready_ms=420, detail=""
)
VERSIONS = (
    VersionView(version=2, at=NOW, actor="file", why="its file was removed", content=""),
    VersionView(version=1, at=NOW - 90_000, actor="cli:ada", why=FOREIGN, content="id = 1"),
)
DETAILS = SolutionDetails(
    solution=FOUND.solutions[2],
    path="/home/ada/fleet/solutions/missing_module.toml",
    content=f'id = "missing_module"\ntitle = "{FOREIGN}"',
    versions=VERSIONS,
    last_runs=(RUN,),
)
TESTED = SolutionTest(
    id="lost_database",
    title=FOREIGN,
    nodes=25,
    files=50,
    read_bytes=12_345_678,
    unread_bytes=1_000_000,
    seconds=1.2,
    matched=37,
    matched_by_node={f"node-{number}": 37 - number for number in range(12)},
    lines=(MatchedLine(node="atlas", seen_in="stderr", at=None, line=FOREIGN),),
    patterns=(PatternCost(pattern=FOREIGN, matched=37, ms_per_mb=12.3),),
    would_run=2,
    held_back=1,
    others={"missing_module": 3},
    notes=(FOREIGN,),
)

RENDERED: dict[str, Callable[[int | None], Iterator[Text]]] = {
    "list": lambda width: solutions_lines(FOUND, width=width),
    "history": lambda width: history_lines(SolutionHistory(id="x", versions=VERSIONS, runs=(RUN,)), width=width),
    "test": lambda width: found_lines(TESTED, width=width),
}


@pytest.mark.parametrize("width", [None, 80, 200])
@pytest.mark.parametrize("what", RENDERED)
def test_nothing_foreign_acts_and_no_line_of_a_table_is_too_long(what: str, width: int | None) -> None:
    for line in RENDERED[what](width):
        assert all(character.isprintable() for character in line.plain), line.plain
        # A title is whole, however long.
        if width is not None and "漢" not in line.plain[:200]:
            assert cell_len(line.plain) <= width, line.plain


def test_the_list_at_80_columns() -> None:
    lines = [line.plain for line in solutions_lines(FOUND, width=80)]
    assert lines[0].split()[:2] == ["ID", "MODE"]
    by_id = {line.split()[0]: line for line in lines}
    assert "✗ suspended" in by_id["gateway_storm"]
    assert "17 %" in by_id["gateway_storm"]
    assert "86 %" in by_id["missing_module"]
    assert any("mine.toml:4" in line for line in lines)
    assert lines[-1] == "HEALING is switched off in config.py: none of them acts"
    wide = "\n".join(line.plain for line in solutions_lines(FOUND, width=200))
    assert "would have acted 3 times; it is new; acts in 23h" in wide
    assert re.search(r"2h\d\dm ago", wide)


def test_one_solution_is_shown_with_its_text_as_it_is() -> None:
    lines = [line.plain for line in details_lines(DETAILS, width=80)]
    assert "did        14 runs: 12 helped, 2 did not" in lines
    assert 'id = "missing_module"' in lines
    assert any(line.strip().startswith("2 ") and "(removed)" in line for line in lines)


def test_what_a_test_found_is_said_first() -> None:
    text = "\n".join(line.plain for line in found_lines(TESTED, width=120))
    assert "read 50 logs of 25 nodes, 12.3 MB, in 1.2 s" in text
    assert "1.0 MB of older logs were left out" in text
    assert "37 lines matched: \n    node-0 37, node-1 36" in text
    assert "and 4 more nodes" in text
    assert "it would have acted twice; once more, its limits would have held it back" in text
    assert "also known by missing_module (3)" in text
    nothing = SolutionTest(id="x", title="x", nodes=1, files=1, read_bytes=9, unread_bytes=0, seconds=0.0, matched=0)
    assert "nothing matched" in "\n".join(line.plain for line in found_lines(nothing, width=80))


def test_the_list_is_shortened_to_ones_own_and_to_what_was_used() -> None:
    for own, used, expected in (
        (False, False, [view.id for view in FOUND.solutions]),
        (True, False, ["lost_database"]),
        (False, True, ["gateway_storm", "lost_database", "missing_module"]),
    ):
        found = chosen_of(FOUND, own=own, used=used)
        assert [view.id for view in found.solutions] == expected
        assert found.refused == FOUND.refused
