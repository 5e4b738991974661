"""WATCH: a saved file restarts its node, also out of a crash loop, and what a node writes itself does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.events import ActionAudited, NodeBackedOff, NodeFileChanged, NodeSpawned
from master.ledger.rows import audit
from master.main import _restart_as
from master.services.fleet import watching as module
from master.services.fleet.watching import watched_of
from master.services.onboarding.saga import RegisterRequest
from tests.services.conftest import OPERATOR, House
from tests.services.fleet.test_ready_signs import Story

GOOD = "import signal; signal.pause()\n"
BROKEN = "this is no Python\n"


@pytest.fixture
async def story(house: House) -> AsyncIterator[Story]:
    story = Story(house)
    for kind in (NodeFileChanged, NodeBackedOff, ActionAudited):
        house.services.bus.on(kind, story.note)
    running = asyncio.create_task(house.services.watching.run(_restart_as("watch", house.operations)))
    yield story
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def begin(story: Story, folder: Path, *watch: str, script: str = GOOD) -> None:
    (folder / "cogs").mkdir(parents=True)
    (folder / "main.py").write_text(script)
    request = RegisterRequest(
        name="web", token=None, folder=str(folder), entry="main.py", options={"WATCH": list(watch)}
    )
    await story.house.register(OPERATOR, request)
    await story.wait(NodeSpawned)
    await asyncio.wait_for(story.house.services.watching.armed.wait(), 20)


async def test_a_saved_file_restarts_its_node_and_says_which(story: Story, tmp_path: Path) -> None:
    folder = tmp_path / "web"
    await begin(story, folder, "cogs", "main.py")
    (folder / "notes.txt").write_text("not watched")
    (folder / "cogs" / "debug.log").write_text("ignored")
    # As editors save: another file in its place.
    (folder / "cogs" / "music.py.new").write_text("x = 1\n")
    (folder / "cogs" / "music.py.new").rename(folder / "cogs" / "music.py")
    changed = await story.wait(NodeFileChanged)
    assert changed.detail == "cogs/music.py"  # type: ignore[attr-defined]
    await story.wait(NodeSpawned, count=2)
    await story.wait(ActionAudited, count=2)
    rows = [row for row in await story.house.services.ledger.read(audit.search) if row.action == "restart"]
    assert rows[0].actor == "system:watch"


async def test_a_crash_loop_ends_when_the_file_is_saved_again(story: Story, tmp_path: Path) -> None:
    folder = tmp_path / "web"
    await begin(story, folder, ".", script=BROKEN)
    await story.wait(NodeBackedOff, count=2)
    (folder / "main.py").write_text("import signal, sys; print('mended', flush=True); signal.pause()\n")
    await story.wait(NodeFileChanged)
    out, _ = story.house.services.supervisor._logs.paths("web")
    while "mended" not in out.read_text():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.02)


async def test_a_new_folder_is_watched_too(story: Story, tmp_path: Path) -> None:
    folder = tmp_path / "web"
    await begin(story, folder, ".")
    (folder / "views").mkdir()
    await story.wait(NodeFileChanged)
    await asyncio.sleep(0)
    await asyncio.wait_for(story.house.services.watching.armed.wait(), 20)
    (folder / "views" / "menu.py").write_text("x = 1\n")
    second = await story.wait(NodeFileChanged, count=2)
    assert second.detail == "views/menu.py"  # type: ignore[attr-defined]


async def test_what_a_node_writes_itself_ends_as_a_word_and_not_in_a_loop(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RESTARTS", 3)
    monkeypatch.setattr(module, "DEBOUNCE_MS", 50)
    writes = "import signal, time; open('data.json', 'w').write(str(time.time())); signal.pause()\n"
    await begin(story, tmp_path / "web", ".", script=writes)
    (tmp_path / "web" / "main.py").write_text(writes + "\n")
    count, detail = 1, ""
    while "whenever" not in detail:
        told = await story.wait(NodeFileChanged, count=count)
        count, detail = count + 1, told.detail  # type: ignore[attr-defined]
    assert detail == "data.json changes whenever it starts, and does not restart it: add '!data.json' to WATCH"
    assert count <= 7


def test_what_restarts_a_node(tmp_path: Path) -> None:
    watched = watched_of(tmp_path, [".", "!data", "!state.json"])
    names = ["bot.py", "cogs/a.py", "node_modules/x/index.js", ".git/HEAD", "__pycache__/a.pyc", "bot.log", "x.db-wal"]
    names += ["data/users.json", "state.json", "main.py~", "database.sqlite3", ".releases/1/edited/bot.py"]
    assert [name for name in names if watched.name_of(tmp_path / name)] == ["bot.py", "cogs/a.py"]
    assert watched.name_of(tmp_path.parent / "other.py") == ""
