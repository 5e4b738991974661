"""The manager of solutions: each text that was is kept, and can be taken back; what is wrong changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import Connection

from master.ledger.identifiers import new_ulid
from master.ledger.rows import audit
from master.ledger.schema.tables import error_groups, solution_runs
from master.operations import solutions
from master.operations.parameters import (
    NoParams,
    SolutionChangeParams,
    SolutionDraftParams,
    SolutionEnableParams,
    SolutionParams,
    SolutionSaveParams,
    SolutionTestParams,
    SolutionVersionParams,
)
from master.services.core.solution_views import ReadingProgress, SolutionTest, SolutionView
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Risk, Solution, SolutionMode
from master.services.onboarding.saga import CloneRequest
from master.services.repair.actions.registry import ACTIONS
from master.services.repair.errors import NoSuchErrorGroup, NoSuchSolution, SolutionRefused
from master.services.repair.solution_text import read_solution
from tests.services.conftest import OPERATOR, House

TEXT = """\
id = "lost_database"
title = "The database is away"
applies_to = ["stderr"]
patterns = ['''^sqlite3\\.OperationalError: unable to open (?P<what>[a-z ]{1,40})$''']
cooldown_s = 60
most_an_hour = 2
risk = "ask"

[action]
name = "restart"

[samples]
match = ["sqlite3.OperationalError: unable to open database file"]
no_match = ["sqlite3.OperationalError: database is locked"]
"""


@pytest.fixture
async def manned(house: House) -> AsyncIterator[House]:
    """Return a house whose solutions are loaded, and looked after."""
    services = house.services
    await asyncio.to_thread(services.library.load)
    work = asyncio.create_task(services.solutions.run())
    await asyncio.wait_for(services.solutions.settled.wait(), 20)
    yield house
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


def own_folder(house: House) -> Path:
    return house.services.settings.solutions_dir


async def save(house: House, text: str = TEXT, why: str = "") -> str:
    done = await house.operations.run(solutions.save, OPERATOR, SolutionSaveParams(text=text, why=why))
    return f"{done.id} {done.version} {done.mode}"


async def test_a_text_becomes_a_solution_that_detects_and_its_versions_are_kept(manned: House) -> None:
    assert await save(manned, why="it happens each night") == "lost_database 1 detecting"
    path = own_folder(manned) / "lost_database.toml"
    assert path.read_text() == TEXT
    assert path.stat().st_mode & 0o077 == 0
    assert await save(manned, TEXT.replace("cooldown_s = 60", "cooldown_s = 90")) == "lost_database 2 detecting"
    assert await save(manned, path.read_text()) == "lost_database 0 detecting"

    wanted = SolutionVersionParams(id="lost_database", version=1)
    back = await manned.operations.run(solutions.take_back, OPERATOR, wanted)
    assert (back.version, path.read_text()) == (3, TEXT)
    found = await manned.operations.run(solutions.show, OPERATOR, SolutionParams(id="lost_database"))
    assert [(one.version, one.actor, one.why) for one in found.versions] == [
        (3, "cli:root", "version 1 again"),
        (2, "cli:root", ""),
        (1, "cli:root", "it happens each night"),
    ]
    rows = await manned.services.ledger.read(lambda c: audit.search(c))
    assert ("solution_save", "lost_database version 1: it happens each night") in [(r.action, r.detail) for r in rows]


async def test_a_text_that_is_none_changes_nothing(manned: House) -> None:
    await save(manned)
    for broken, reason in (
        ("id = ", "line 1"),
        (TEXT.replace('name = "restart"', 'name = "rm_rf"'), "rm_rf"),
        (TEXT.replace("database is locked", "unable to open it"), "sample"),
        (TEXT.replace("(?P<what>", "(?P<what"), "pattern"),
        (TEXT.replace('risk = "ask"', 'risk = "often"'), "risk"),
    ):
        with pytest.raises(SolutionRefused) as refused:
            await save(manned, broken)
        assert reason in str(refused.value)
    assert (own_folder(manned) / "lost_database.toml").read_text() == TEXT
    history = await manned.operations.run(solutions.history, OPERATOR, SolutionParams(id="lost_database"))
    assert len(history.versions) == 1


async def test_enabling_disabling_and_why(manned: House) -> None:
    await save(manned)
    off = SolutionChangeParams(id="lost_database", why="it restarts too much")
    done = await manned.operations.run(solutions.disable, OPERATOR, off)
    assert (done.mode, done.why) == ("off", "it restarts too much")
    await save(manned, TEXT.replace("cooldown_s = 60", "cooldown_s = 90"))
    (view,) = [one for one in (await listed(manned)) if one.id == "lost_database"]
    assert (view.mode, view.origin) == ("off", "own")
    done = await manned.operations.run(solutions.enable, OPERATOR, SolutionEnableParams(id="lost_database"))
    assert done.mode == "detecting"
    done = await manned.operations.run(solutions.enable, OPERATOR, SolutionEnableParams(id="lost_database", now=True))
    assert done.mode == "on"
    with pytest.raises(NoSuchSolution):
        await manned.operations.run(solutions.enable, OPERATOR, SolutionEnableParams(id="nothing"))
    with pytest.raises(NoSuchSolution) as raised:
        await manned.operations.run(solutions.show, OPERATOR, SolutionParams(id="lost_databas"))
    assert raised.value.hint == "did you mean lost_database?"
    with pytest.raises(SolutionRefused):
        await manned.operations.run(solutions.test, OPERATOR, SolutionTestParams(text=""))


async def listed(house: House) -> list[SolutionView]:
    return list((await house.operations.run(solutions.listing, OPERATOR, NoParams())).solutions)


async def test_what_is_edited_by_hand_is_a_version_too(manned: House) -> None:
    await save(manned)
    path, library = own_folder(manned) / "lost_database.toml", manned.services.library
    path.write_text(TEXT.replace("cooldown_s = 60", "cooldown_s = 90"))
    await asyncio.to_thread(library.load)
    assert await newest(manned, 2) == (2, "file", "edited in its file")
    path.unlink()
    await asyncio.to_thread(library.load)
    assert await newest(manned, 3) == (3, "file", "its file was removed")


async def newest(house: House, version: int) -> tuple[int, str, str]:
    """Wait for a version: the manager writes it in its own time."""
    async with asyncio.timeout(20):
        while True:
            found = await house.operations.run(solutions.history, OPERATOR, SolutionParams(id="lost_database"))
            if found.versions[0].version >= version:
                return version, found.versions[0].actor, found.versions[0].why
            await asyncio.sleep(0.02)


async def test_saving_mends_a_file_that_was_broken_by_hand(manned: House) -> None:
    await save(manned)
    path = own_folder(manned) / "lost_database.toml"
    path.write_text("id = ")
    await manned.services.library.reload()
    # The text that is in force, which the next master would not find.
    assert await save(manned) == "lost_database 1 detecting"
    assert path.read_text() == TEXT


async def test_what_an_editor_wrote_a_moment_ago_is_not_lost_by_saving_or_removing(manned: House) -> None:
    await save(manned)
    path = own_folder(manned) / "lost_database.toml"
    # Nobody watches the folder here: the library does not know of it yet.
    path.write_text(TEXT.replace("cooldown_s = 60", "cooldown_s = 75"))
    assert await save(manned, TEXT.replace("cooldown_s = 60", "cooldown_s = 90")) == "lost_database 3 detecting"
    path.write_text(TEXT.replace("cooldown_s = 60", "cooldown_s = 80"))
    await manned.operations.run(solutions.remove, OPERATOR, SolutionChangeParams(id="lost_database"))
    found = await manned.operations.run(solutions.history, OPERATOR, SolutionParams(id="lost_database"))
    written = [re.findall(r"cooldown_s = ([0-9]+)", one.content) for one in found.versions]
    assert written == [[], ["80"], ["90"], ["75"], ["60"]]


async def test_removing_leaves_what_was(manned: House) -> None:
    await save(manned)
    done = await manned.operations.run(solutions.remove, OPERATOR, SolutionChangeParams(id="lost_database"))
    assert (done.mode, done.version) == ("removed", 2)
    assert not (own_folder(manned) / "lost_database.toml").exists()
    with pytest.raises(NoSuchSolution):
        await manned.operations.run(solutions.show, OPERATOR, SolutionParams(id="lost_database"))
    wanted = SolutionVersionParams(id="lost_database", version=1)
    assert (await manned.operations.run(solutions.take_back, OPERATOR, wanted)).version == 3
    with pytest.raises(NoSuchSolution, match="removed by"):
        await manned.operations.run(solutions.take_back, OPERATOR, SolutionVersionParams(id="lost_database", version=2))


async def test_an_operators_copy_takes_the_place_of_a_shipped_one_until_it_is_removed(
    manned: House, tmp_path: Path
) -> None:
    shipped = next((one for one in await listed(manned) if one.origin == "shipped"), None)
    if shipped is None:
        pytest.skip("no solution is shipped")
    entry = manned.services.library.entries[shipped.id]
    with pytest.raises(SolutionRefused, match="comes with"):
        await manned.operations.run(solutions.remove, OPERATOR, SolutionChangeParams(id=shipped.id))
    assert await save(manned, f"# ours\n{entry.content}") == f"{shipped.id} 1 detecting"
    assert Path(entry.path).read_text() == entry.content
    assert [one.origin for one in await listed(manned) if one.id == shipped.id] == ["replaced"]
    done = await manned.operations.run(solutions.remove, OPERATOR, SolutionChangeParams(id=shipped.id))
    assert (done.mode, done.notes) == ("on", ("the one that comes with Fleetmaster is back",))


async def test_a_list_tells_who_cures_and_shows_troubled_ones_first(manned: House) -> None:
    await save(manned)
    await save(manned, TEXT.replace("lost_database", "another"))
    clone = await manned.clone(OPERATOR, CloneRequest(name="atlas", token=manned.token("atlas"), start=False))
    services = manned.services
    node = services.directory.find(clone.name)
    for outcome in ("helped", "did_not_help", "did_not_help", "detected"):
        row = {
            "id": new_ulid(services.clock),
            "at": services.clock.now(),
            "node_id": node.id,
            "solution_id": "lost_database",
            "content_hash": "0" * 16,
            "fingerprint": "",
            "seen_in": "stderr",
            "line": "x",
            "action": "restart",
            "outcome": outcome,
            "detail": "",
            "actor": "system:master",
        }
        statement = solution_runs.insert().values(**row)
        await services.ledger.write(partial(Connection.execute, statement=statement))
    own = [one for one in await listed(manned) if one.origin == "own"]
    assert [one.id for one in own] == ["lost_database", "another"]
    first = own[0]
    assert (first.runs, first.cures, first.failures, first.detected) == (3, 1, 2, 1)
    assert first.cure_rate == pytest.approx(1 / 3)
    shown = await manned.operations.run(solutions.show, OPERATOR, SolutionParams(id="lost_database"))
    assert [run.node for run in shown.last_runs] == ["atlas"] * 4


# Tests of a solution


async def test_a_test_finds_lines_of_rotated_logs_and_says_what_would_have_been_done(manned: House) -> None:
    await save(manned)
    await save(manned, TEXT.replace("lost_database", "another"))
    await manned.clone(OPERATOR, CloneRequest(name="atlas", token=manned.token("atlas"), start=False))
    logs = manned.services.settings.logs_dir
    logs.mkdir(exist_ok=True)
    hit = "sqlite3.OperationalError: unable to open database file"
    # Four times within one hour: of the second minute one is within the cooldown, and the hour has room for two.
    (logs / "atlas.err.log.1").write_text(
        "".join(f"2026-11-22 10:{minute}:{second:02} {hit}\n" for minute, second in (("00", 0), ("05", 0), ("05", 9)))
        + "harmless\n" * 5_000
    )
    (logs / "atlas.err.log").write_text(f"2026-11-22 10:20:00 {hit}\n{hit} of another kind: 7\n")
    told = list[ReadingProgress]()

    async def tell(progress: ReadingProgress) -> None:
        told.append(progress)

    wanted = SolutionTestParams(id="lost_database")
    found: SolutionTest = await manned.operations.run(solutions.test, OPERATOR, wanted, tell=tell)
    assert (found.files, found.matched, found.matched_by_node) == (2, 4, {"atlas": 4})
    assert (found.would_run, found.held_back) == (2, 1)
    assert found.others["another"] == 4
    assert [line.at for line in found.lines] == sorted([line.at or 0 for line in found.lines], reverse=True)
    assert found.lines[0].captures == {"what": "database file"}
    assert found.unread_bytes == 0
    assert [pattern.matched for pattern in found.patterns] == [4]
    assert found.patterns[0].ms_per_mb > 0


async def test_a_text_is_tested_before_it_is_saved(manned: House) -> None:
    found = await manned.operations.run(solutions.test, OPERATOR, SolutionTestParams(text=TEXT))
    assert (found.id, found.matched) == ("lost_database", 0)
    assert not own_folder(manned).exists()
    with pytest.raises(SolutionRefused):
        await manned.operations.run(solutions.test, OPERATOR, SolutionTestParams(text="id = 1"))


async def test_a_test_that_is_cut_off_ends_its_reading(manned: House) -> None:
    await manned.clone(OPERATOR, CloneRequest(name="atlas", token=manned.token("atlas"), start=False))
    logs = manned.services.settings.logs_dir
    logs.mkdir(exist_ok=True)
    (logs / "atlas.err.log").write_bytes(b"sqlite3.OperationalError: unable to open database file\n" * 400_000)
    began = asyncio.Event()

    async def tell(progress: ReadingProgress) -> None:
        if progress.matched:
            began.set()

    test = asyncio.create_task(
        manned.operations.run(solutions.test, OPERATOR, SolutionTestParams(text=TEXT), tell=tell)
    )
    await asyncio.wait_for(began.wait(), 30)
    test.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(test, 5)


# Drafts


async def group(house: House, fingerprint: str, kind: str, title: str, sample: str) -> None:
    row = {
        "fingerprint": fingerprint,
        "kind": kind,
        "title": title,
        "state": "new",
        "first_at": house.services.clock.now(),
        "last_at": house.services.clock.now(),
        "count": 3,
        "sample": sample,
        "changed_by": "",
    }
    await house.services.ledger.write(lambda c: c.execute(error_groups.insert().values(**row)))


@pytest.mark.parametrize(
    ("kind", "sample", "solution_id", "pattern"),
    [
        (
            "exception",
            "event on_message: Forbidden: 403 Forbidden (error code: 50013)\nTraceback (most recent call last):\n"
            '  File "bot.py", line 3, in x\n    raise\n'
            "discord.errors.Forbidden: 403 Forbidden (error code: 50013): Missing Permissions",
            "forbidden_50013",
            r"^discord\.errors\.Forbidden: 403 Forbidden \(error code: 50013\): Missing Permissions$",
        ),
        (
            "exit",
            "exit code 1\nTraceback (most recent call last):\n  x\nModuleNotFoundError: No module named 'aiosqlite'",
            "module_not_found_error",
            r"^ModuleNotFoundError: No module named '(?P<quoted>[^']{1,200})'$",
        ),
        (
            "exit",
            "killed by the kernel: signal SIGKILL",
            "killed_by_the_kernel",
            r"^killed by the kernel: signal SIGKILL$",
        ),
        (
            "line",
            "fine\n2026-11-22 10:00:00 cannot reach 10.0.0.7 of guild 123456789012345678 in /srv/data/x.db after 3.5 s",
            "cannot_reach_of_guild",
            r"^cannot reach [0-9.]{7,15} of guild [0-9]+ in (?P<path>/[^ ]{1,300}) after [0-9.]+ s$",
        ),
        ("line", "'''\"\\ \x1b[1m ünï 漢字 '''", "unknown_error", None),
    ],
)
async def test_a_draft_is_a_solution_that_knows_the_error_and_no_other(
    manned: House, kind: str, sample: str, solution_id: str, pattern: str | None
) -> None:
    await group(manned, "f" * 16, kind, "It went wrong", sample)
    await group(manned, "e" * 16, "line", "Another", "another line that is no error of this kind")
    found = await manned.operations.run(solutions.draft, OPERATOR, SolutionDraftParams(fingerprint="ffff"))
    assert found.id == solution_id
    # It is read back by what reads all solutions: a draft that cannot be saved as it is would be none.
    assert await save(manned, found.content) == f"{solution_id} 1 detecting"
    solution = manned.services.library.entries[solution_id].solution
    if pattern is not None:
        assert solution.patterns == (pattern,)
    assert solution.samples.no_match == ("another line that is no error of this kind",)
    again = await manned.operations.run(solutions.draft, OPERATOR, SolutionDraftParams(fingerprint="f" * 16))
    assert again.id == f"{solution_id}_2"
    assert f" {solution_id}" in again.notes[0]


async def test_no_draft_for_an_error_that_nobody_saw(manned: House) -> None:
    await group(manned, "f" * 16, "line", "x", "x went wrong")
    await group(manned, "f" * 15 + "e", "line", "x", "y went wrong")
    for fingerprint in ("0" * 16, "fff", "ffff"):
        with pytest.raises(NoSuchErrorGroup):
            await manned.operations.run(solutions.draft, OPERATOR, SolutionDraftParams(fingerprint=fingerprint))


def test_the_page_about_solutions_teaches_what_there_is() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "solutions.md").read_text("utf-8")
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert read_solution(example[1]).id == "music_server_away"
    named = set(re.findall(r"`\[?(\w+)\]?`", page))
    assert set(ACTIONS) <= named
    assert {field.name for field in structs.fields(Solution)} <= named
    assert {kind.value for kind in (*SeenIn, *SolutionMode, *Risk)} <= named
