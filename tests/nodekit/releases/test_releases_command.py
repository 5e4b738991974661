"""``python -m nodekit.releases``: JSON on standard output, words on standard error, and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nodekit.releases.__main__ import main
from tests.nodekit.releases.bot_folders import EVERYTHING, bundle_of, digest, everything, make_bot, tree_of


@pytest.fixture
def folder(memory: Path) -> Path:
    return make_bot(memory / "atlas", {"index.js": b"require('./lib')\n", "lib.js": b"module.exports = 1\n"})


@pytest.fixture
def bot(memory: Path) -> Path:
    return make_bot(memory / "borealis")


class Command:
    """Runs the command in this process; a process of its own is tried once."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        assert main([str(argument) for argument in arguments]) == code
        self.said = self._capsys.readouterr()
        (line,) = self.said.out.splitlines()
        return dict(json.loads(line))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def bundle(memory: Path, **more: object) -> list[str]:
    content = bundle_of(everything(**more), EVERYTHING)
    path = memory / "ranks.fleetpatch"
    path.write_bytes(content)
    return ["--bundle", str(path), "--sha256", digest(content), "--patch-id", "01PATCH"]


def test_a_program_is_patched_and_taken_back(command: Command, bot: Path, memory: Path) -> None:
    before = tree_of(bot)
    assert command("stage", bot, *bundle(memory)) == {"release": 1}
    switched = command("switch", bot, "--release", 1)
    assert (switched["current"], switched["releases"][1]["state"]) == (1, "trial")
    assert command("settle", bot)["outcome"] == "began"
    assert command("good", bot)["releases"][1]["state"] == "good"
    (bot / "cogs/ranks.py").write_bytes(b"EDITED\n")
    assert command("back", bot) == {"current": 0, "left": 1, "edited": ["cogs/ranks.py"]}
    assert tree_of(bot) == before
    assert command("restore", bot, "--release", 1)["current"] == 1
    assert [release["patch_id"] for release in command("list", bot)["releases"]] == ["", "01PATCH"]
    assert command.said.err == ""


def test_a_program_without_a_start_of_ours_begins_its_trial_with_the_next_one(
    command: Command, bot: Path, memory: Path
) -> None:
    command("stage", bot, *bundle(memory, reload=("ranks",)))
    command("switch", bot, "--release", 1, "--at-start")
    assert command("settle", bot)["outcome"] == "began"
    settled = command("settle", bot)
    assert (settled["outcome"], settled["left"], settled["left_patch_id"]) == ("rolled_back", 1, "01PATCH")


def test_what_does_not_fit_is_refused_by_name(command: Command, folder: Path, memory: Path) -> None:
    refused = command("stage", folder, *bundle(memory), code=4)
    assert refused["error"] == "base_differs"
    assert refused["paths"] == ["cogs/old.py", "lib/texts/words.py", "cogs/ranks.py", "run.sh"]
    assert command.said.err == (
        f"{folder}: cogs/old.py is not there; lib/texts/words.py is not there; cogs/ranks.py is not there; and 1 more\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("switch", "--release", "7"), 3, "no_such_release"),
        (("restore", "--release", "7"), 3, "no_such_release"),
        (("back",), 4, "release_not_now"),
        (("stage", "--bundle", "/nowhere", "--sha256", "00", "--patch-id", "P"), 1, "release_failed"),
        (("stage", "--bundle", "index.js", "--sha256", "00", "--patch-id", "P"), 1, "release_failed"),
    ],
)
def test_errors_have_codes(
    command: Command, bot: Path, memory: Path, arguments: tuple[str, ...], code: int, error: str
) -> None:
    command("stage", bot, *bundle(memory))
    name, *more = arguments
    assert command(name, bot, *more, code=code)["error"] == error
    assert command.said.err.startswith(f"{bot}: ")


def test_a_folder_that_was_never_patched_is_listed_and_settled(command: Command, folder: Path) -> None:
    assert command("settle", folder)["outcome"] == "nothing"
    assert command("list", folder)["current"] == 0
    assert not (folder / ".releases").exists()


def test_another_bundle_than_the_accepted_one_is_refused(command: Command, bot: Path, memory: Path) -> None:
    arguments = bundle(memory)
    with (memory / "ranks.fleetpatch").open("ab") as stream:
        stream.write(b"x")
    assert "not the bundle that was accepted" in command("stage", bot, *arguments, code=1)["message"]


def test_it_runs_as_a_process_that_imports_no_discord(bot: Path, memory: Path) -> None:
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-X", "importtime", "-m", "nodekit.releases", "stage", str(bot), *bundle(memory)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ended.stdout) == {"release": 1}
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "msgspec" in imported
    assert imported.isdisjoint({"discord", "aiohttp", "asyncio", "cryptography"})
    usage = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "nodekit.releases", "switch", str(bot)], capture_output=True, text=True, check=False
    )
    assert usage.returncode == 2
