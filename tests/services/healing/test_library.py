"""The library: files come, go, break and are mended while the master runs; a wrong one is refused alone."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from master.services.healing.library import MOST_FILES, SolutionLibrary
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Samples
from master.services.healing.solution_writing import dump_solution
from master.supervision.inotify import FolderWatch
from tests.services.healing.solutions import solution


def text_of(name: str, word: str = "") -> str:
    line = f"the {word or name} broke"
    return dump_solution(solution(line, id=name, samples=Samples(match=(line,))))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    own.mkdir()
    shipped.mkdir()
    return own, shipped


def known(library: SolutionLibrary, line: str) -> list[str]:
    return [match.solution.id for match in library.matcher.scan(SeenIn.STDERR, line.encode())]


def test_an_own_one_takes_the_place_of_a_shipped_one(folders: tuple[Path, Path]) -> None:
    own, shipped = folders
    (shipped / "disk.toml").write_text(text_of("disk"))
    (shipped / "net.toml").write_text(text_of("net"))
    (own / "mine.toml").write_text(text_of("disk", "floppy"))
    library = SolutionLibrary(own, shipped)
    library.load()
    assert {name: entry.is_shipped for name, entry in library.entries.items()} == {"disk": False, "net": True}
    assert known(library, "the floppy broke") == ["disk"]
    assert known(library, "the disk broke") == []
    assert library.refused == ()


def test_a_wrong_file_is_refused_alone_and_the_log_says_it_once(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    own, shipped = folders
    (own / "good.toml").write_text(text_of("good"))
    (own / "wrong.toml").write_text(text_of("wrong").replace("patterns", "pattern"))
    (own / ".hidden.toml").write_text("x")
    (own / "notes.txt").write_text("x")
    os.mkfifo(own / "pipe.toml")
    library = SolutionLibrary(own, shipped)
    with caplog.at_level(logging.WARNING, "master.services.healing.library"):
        library.load()
        library.load()
    assert list(library.entries) == ["good"]
    assert [str(refused) for refused in library.refused] == [
        f"{own}/pipe.toml: it is no regular file",
        f"{own}/wrong.toml:4: unknown key `pattern`; did you mean `patterns`?",
    ]
    assert len(caplog.records) == 2


def test_a_file_that_was_good_and_is_wrong_now_stays_in_force_as_it_was(folders: tuple[Path, Path]) -> None:
    own, shipped = folders
    (own / "disk.toml").write_text(text_of("disk"))
    library = SolutionLibrary(own, shipped)
    library.load()
    for wrong in ("x", text_of("disk", "cable").replace("the cable broke", "the (cable broke", 1)):
        (own / "disk.toml").write_text(wrong)
        library.load()
        assert known(library, "the disk broke") == ["disk"]
        (refused,) = library.refused
        assert refused.last_stays
        assert str(refused).endswith("; the solution that it was before stays in force")
    (own / "disk.toml").write_text(text_of("disk", "cable"))
    library.load()
    assert (known(library, "the cable broke"), library.refused) == (["disk"], ())
    (own / "disk.toml").unlink()
    library.load()
    assert (known(library, "the cable broke"), dict(library.entries)) == ([], {})


def test_a_second_file_with_an_id_is_refused_and_names_the_first(folders: tuple[Path, Path]) -> None:
    own, shipped = folders
    (own / "a.toml").write_text(text_of("disk"))
    (own / "b.toml").write_text(text_of("disk", "cable"))
    library = SolutionLibrary(own, shipped)
    library.load()
    assert [str(one) for one in library.refused] == [f"{own}/b.toml: a.toml has the id `disk` too"]
    assert known(library, "the cable broke\nthe disk broke") == ["disk"]


def test_an_unknown_action_is_refused(folders: tuple[Path, Path]) -> None:
    own, shipped = folders
    (own / "a.toml").write_text(text_of("disk"))
    library = SolutionLibrary(own, shipped, check_action=lambda one: f"there is no action {one.action_name!r}")
    library.load()
    assert [str(one) for one in library.refused] == [f"{own}/a.toml:6: there is no action 'restart'"]


def test_own_ones_are_timed_on_what_nodes_wrote_lately_and_only_when_they_changed(folders: tuple[Path, Path]) -> None:
    own, shipped = folders
    asked = list[int]()

    def recent() -> list[str]:
        asked.append(1)
        return ["a line"]

    (shipped / "net.toml").write_text(text_of("net"))
    (own / "disk.toml").write_text(text_of("disk"))
    library = SolutionLibrary(own, shipped, recent_lines=recent)
    library.load()
    library.load()
    assert len(asked) == 1


def test_more_than_five_hundred_files_are_not_read(folders: tuple[Path, Path]) -> None:
    own, shipped = folders
    for number in range(MOST_FILES + 1):
        (own / f"{number:04}.toml").write_text("")
    library = SolutionLibrary(own, shipped)
    library.load()
    assert str(library.refused[0]) == f"{own}: 501 files; the first 500 are read"
    assert len(library.refused) == 501


def test_folders_that_are_not_there_hold_no_solutions(tmp_path: Path) -> None:
    library = SolutionLibrary(tmp_path / "none", tmp_path / "none either")
    library.load()
    assert (dict(library.entries), library.refused) == ({}, ())


def test_a_folder_that_cannot_be_read_changes_nothing(folders: tuple[Path, Path]) -> None:
    own, shipped = folders
    (own / "disk.toml").write_text(text_of("disk"))
    library = SolutionLibrary(own, shipped)
    library.load()
    own.rename(own.with_name("away"))
    own.write_text("no folder")
    library.load()
    assert known(library, "the disk broke") == ["disk"]
    assert [str(one) for one in library.refused] == [
        f"{own}: the folder cannot be read: Not a directory; the solution that it was before stays in force"
    ]


@asynccontextmanager
async def running(library: SolutionLibrary) -> AsyncIterator[Callable[[], asyncio.Event]]:
    """Run a library with a watch over folders; yields what returns an event of the next load."""
    watch = FolderWatch(gather_s=0.01)
    waiting = list[asyncio.Event]()

    def changed() -> None:
        assert threading.current_thread() is threading.main_thread()
        for event in waiting:
            event.set()
        waiting.clear()

    def next_load() -> asyncio.Event:
        waiting.append(asyncio.Event())
        return waiting[-1]

    library.follow(changed)
    tasks = [asyncio.create_task(watch.run()), asyncio.create_task(library.run(watch))]
    try:
        await watch.watching.wait()
        async with asyncio.timeout(30):
            await library.watching.wait()
        yield next_load
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_changes_are_taken_up_while_it_runs(folders: tuple[Path, Path]) -> None:
    own, shipped = folders
    own.rmdir()
    library = SolutionLibrary(own, shipped)
    async with running(library) as next_load, asyncio.timeout(30):

        async def after(act: Callable[[], object], is_there: Callable[[], bool]) -> None:
            act()
            while not is_there():
                await next_load().wait()

        await after(lambda: (own / "disk.toml").write_text(text_of("disk")), lambda: "disk" in library.entries)
        assert known(library, "the disk broke") == ["disk"]
        await after(lambda: (own / "disk.toml").write_text("x"), lambda: bool(library.refused))
        assert known(library, "the disk broke") == ["disk"]
        await after((own / "disk.toml").unlink, lambda: not library.entries)
        assert known(library, "the disk broke") == []
