"""Each shipped solution knows what the real libraries print, knows nothing else, and captures what its action needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from master.services.healing.library import SHIPPED, SolutionLibrary
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Risk, Solution
from master.services.healing.solution_reading import RefusedFile, check_text
from master.services.repair.actions.registry import check_action
from tests.solutions.raised import CASES
from tests.solutions.raising import Case, Place, Unavailable

WORSE_THAN_A_RESTART = {"quarantine", "install_package", "disable_cog", "recreate_channels"}
"""refresh_token is none: it acts on what Discord says of the vault's token, whatever a line says."""
FROM_A_LOG = {SeenIn.STDERR, SeenIn.STDOUT, SeenIn.EXIT}
"""Where whoever can have a bot print a line may write."""


def _load() -> SolutionLibrary:
    library = SolutionLibrary(SHIPPED / "none")
    library.load()
    return library


LIBRARY = _load()
SOLUTIONS = {name: entry.solution for name, entry in LIBRARY.entries.items()}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as leaving:
        yield Place(tmp_path, leaving)


def test_all_files_are_solutions() -> None:
    assert LIBRARY.refused == ()
    assert len(SOLUTIONS) >= 24
    assert {path.stem for path in SHIPPED.glob("*.toml")} == set(SOLUTIONS), "a file is named as its solution"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_is_printed_is_known(case: Case, place: Place) -> None:
    try:
        shown = await case.happen(place)
    except Unavailable as reason:
        pytest.skip(str(reason))
    solution, looked = SOLUTIONS[case.solution], 0
    for one in shown:
        matches = LIBRARY.matcher.scan(one.seen_in, one.text.encode())
        found = {match.solution.id for match in matches}
        expected = {case.solution} if one.seen_in in solution.applies_to else set()
        assert expected <= found <= expected | case.also, (one, found)
        for match in matches:
            if match.solution.id == case.solution:
                looked += 1
                assert case.captures.items() <= dict(match.captures).items(), match
    assert looked


def test_each_solution_has_an_error_that_was_made_to_happen() -> None:
    assert set(SOLUTIONS) - {case.solution for case in CASES} == set()


def test_each_holds_to_its_samples_and_is_quick() -> None:
    """A master that starts has no time to time the shipped ones: they are held here to what an operator's are."""
    for name, entry in LIBRARY.entries.items():
        checked = check_text(entry.content, name, check_action=check_action)
        assert not isinstance(checked, RefusedFile), str(checked)


def test_a_line_in_a_log_causes_nothing_worse_than_a_restart() -> None:
    for solution in SOLUTIONS.values():
        if solution.risk is Risk.AUTO and FROM_A_LOG & set(solution.applies_to):
            assert solution.action_name not in WORSE_THAN_A_RESTART, solution.id
            assert all(pattern.startswith("^") for pattern in solution.patterns), f"{solution.id} is not anchored"


def test_solutions_say_what_a_person_has_to_do() -> None:
    for solution in SOLUTIONS.values():
        assert len(solution.advice) >= 40, solution.id
        assert (solution.risk is Risk.MANUAL) == (solution.action_name == "notify"), solution.id


ORDINARY = """\
[2026-11-22 17:00:01] [INFO    ] discord.client: logging in using static token
[2026-11-22 17:00:02] [INFO    ] discord.gateway: Shard ID None has connected to Gateway (Session ID: 6f1).
[2026-11-22 17:00:02] [INFO    ] discord.gateway: Shard ID None has successfully RESUMED session 6f1.
[2026-11-22 17:00:02] [WARNING ] discord.client: PyNaCl is not installed, voice will NOT be supported
2026-11-22 17:00:03 INFO    node: logged in as Atlas#1234 (1103), in 7 guilds
2026-11-22 17:00:04 INFO    nodekit.resumption: resumed after 0.4 s
Traceback (most recent call last):
  File "/srv/bots/atlas/bot.py", line 12, in on_message
ValueError: invalid literal for int() with base 10: 'x'
KeyError: 'prefix'
AttributeError: 'NoneType' object has no attribute 'send'
discord.errors.HTTPException: 400 Bad Request (error code: 50006): Cannot send an empty message
discord.ext.commands.errors.CommandNotFound: Command "play" is not found
GET /api/v10/users/@me 200 in 4004 ms
saved 4014 rows in 4010 ms
"""


@pytest.mark.parametrize("seen_in", list(SeenIn))
def test_ordinary_lines_are_nobodys(seen_in: SeenIn) -> None:
    assert LIBRARY.matcher.scan(seen_in, ORDINARY.encode()) == []


def _automatic() -> Iterator[tuple[Solution, str]]:
    for solution in SOLUTIONS.values():
        if solution.risk is Risk.AUTO:
            yield from ((solution, line) for line in solution.samples.match)


@pytest.mark.parametrize("said_as", ["<mallory> {}", "mallory: {}", "Mallory said: {}", "[#general] mallory: {}"])
def test_nothing_is_done_by_itself_because_somebody_wrote_it_in_a_chat(said_as: str) -> None:
    """A bot that prints who wrote what: the line is not the library's own."""
    for solution, line in _automatic():
        for seen_in in solution.applies_to:
            printed = said_as.format(line).encode()
            done = [one.solution.id for one in LIBRARY.matcher.scan(seen_in, printed) if one.solution.risk is Risk.AUTO]
            assert done == [], (solution.id, printed)
