"""The store of a node: whole at any moment, also when its process is killed or the disk is full."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from nodekit import Store, open_store
from nodekit.store import StoreDamaged
from tests.hostile.effort import rounds

WRITER = """
import asyncio
from nodekit import open_store

async def main():
    store = open_store("counter.json")
    store.setdefault("filling", "x" * 200_000)
    while True:
        store["count"] = store.get("count", 0) + 1
        await store.save()
        print(store["count"], flush=True)

asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what is the folder of this process's program for the test."""
    monkeypatch.setattr("nodekit.store.program_folder", lambda: tmp_path)
    return tmp_path


async def test_what_was_saved_is_in_the_file_and_one_file_is_one_store(folder: Path) -> None:
    store = open_store("votes.json")
    store["guild"] = {"red": 3}
    await store.save()
    assert json.loads((folder / "data" / "votes.json").read_text("utf-8")) == {"guild": {"red": 3}}
    assert (folder / "data" / "votes.json").stat().st_mode & 0o777 == 0o600
    assert open_store("votes.json") is store


async def test_many_saves_at_once_share_a_writing_and_the_last_change_stays(folder: Path) -> None:
    store = Store(folder / "many.json", {})

    async def count(name: str) -> None:
        for _ in range(20):
            store[name] = store.get(name, 0) + 1
            await store.save()

    await asyncio.gather(*(count(f"user{number}") for number in range(20)))
    written = json.loads((folder / "many.json").read_text("utf-8"))
    assert written == dict.fromkeys((f"user{number}" for number in range(20)), 20)
    assert [path.name for path in folder.iterdir()] == ["many.json"]


async def test_a_cancelled_save_cannot_overtake_a_later_one(folder: Path) -> None:
    store = Store(folder / "late.json", {})
    for number in range(50):
        store["number"] = -number
        first = asyncio.ensure_future(store.save())
        await asyncio.sleep(0)
        first.cancel()
        store["number"] = number
        await store.save()
        assert json.loads((folder / "late.json").read_text("utf-8")) == {"number": number}


async def test_a_value_that_json_does_not_know_changes_nothing(folder: Path) -> None:
    store = Store(folder / "typed.json", {"kept": 1})
    await store.save()
    store["wrong"] = object()
    with pytest.raises(TypeError):
        await store.save()
    assert json.loads((folder / "typed.json").read_text("utf-8")) == {"kept": 1}


def test_a_damaged_file_is_named_and_left_alone(folder: Path) -> None:
    path = folder / "data" / "damaged.json"
    path.parent.mkdir()
    for content in (b"", b"[1]", b'{"a": ', b"\xff\xfe{}", b"\0" * 64):
        path.write_bytes(content)
        with pytest.raises(StoreDamaged, match=r"damaged\.json cannot be read") as caught:
            open_store("damaged.json")
        assert caught.value.path == path
        assert path.read_bytes() == content


def test_a_process_killed_at_any_moment_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    (tmp_path / "writer.py").write_text(WRITER)
    kills, last = rounds(3), 0
    rng = random.Random(1)  # noqa: S311 - moments of kills
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "writer.py"], cwd=tmp_path, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(rng.randint(1, 40)):
                last = int(process.stdout.readline())
            process.kill()
            last = max([last, *(int(line) for line in process.stdout if line.endswith(b"\n"))])
        found = json.loads((tmp_path / "data" / "counter.json").read_text("utf-8"))
        # The one that was under way may be there too.
        assert found["count"] in (last, last + 1)
        assert len(found["filling"]) == 200_000
    print(f"store: {kills} kills, {last} saves, none lost")


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "full.py").write_text(
        "import asyncio, resource\n"
        "from nodekit import open_store\n"
        "async def main():\n"
        "    store = open_store('full.json')\n"
        "    store['small'] = 1\n"
        "    await store.save()\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "    store['large'] = 'x' * 10_000\n"
        "    try:\n"
        "        await store.save()\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
        "    del store['large']\n"
        "    store['small'] = 2\n"
        "    await store.save()\n"
        "asyncio.run(main())\n"
    )
    told = subprocess.run([sys.executable, "full.py"], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert told.stdout == "File too large\n"
    assert json.loads((tmp_path / "data" / "full.json").read_text("utf-8")) == {"small": 2}
