"""`fleet logs` as it is typed: since, grep, lines, follow, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.hostile.conversations import typed

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    folder = tmp_path / "state" / "logs"
    folder.mkdir(parents=True)
    now = datetime.now().astimezone()

    def at(minutes: int) -> str:
        return (now - timedelta(minutes=minutes)).strftime("%Y-%m-%d %H:%M:%S")

    (folder / "atlas.out.log.1").write_text(f"{at(300)} rotated\n")
    (folder / "atlas.out.log").write_text(f"{at(60)} hello\n{at(5)} play a.b\n{at(1)} play axb\n")
    (folder / "atlas.err.log").write_text(f"{at(30)} ERROR oops\nTraceback\n{at(3)} \x1b[31mWARNING\x1b[0m slow\n")
    (folder / "borealis.out.log").write_text(f"{at(45)} other\n")
    (folder / "borealis.err.log").write_text("")
    return tmp_path


def shown(*arguments: str) -> list[str]:
    told = typed(["logs", *arguments])
    assert told.code == 0, told
    return [" ".join(line.split("│ ", 1)[1].split(" ")[2:]) or line for line in told.out.splitlines()]


def test_both_streams_of_several_nodes_are_in_the_order_of_time_with_what_was_rotated(home: Path) -> None:
    told = typed(["logs"]).out.splitlines()
    assert [line.split(" ")[0] for line in told] == [*["atlas"] * 2, "borealis", *["atlas"] * 5]
    assert [line.split(" ")[-1] for line in told[:4]] == ["rotated", "hello", "other", "oops"]
    assert told[4] == "atlas    │ Traceback"
    assert told[-1].endswith("play axb")
    assert len({line.index("│") for line in told}) == 1


def test_lines_since_and_grep_choose(home: Path) -> None:
    assert shown("atlas", "-n", "1") == ["play axb"]
    assert shown("atlas", "--since", "4m") == ["WARNING slow", "play axb"]
    assert shown("atlas", "--since", "2026-01-01T00:00", "-n", "2", "--stdout") == ["play a.b", "play axb"]
    assert shown("atlas", "--grep", "a.b") == ["play a.b"]
    assert shown("atlas", "--grep", "a.b", "--regex") == ["play a.b", "play axb"]
    assert shown("atlas", "-g", "warning slow", "-i") == ["WARNING slow"]
    assert shown("atlas", "-g", "rotated", "-n", "1") == ["rotated"]
    assert shown("atlas", "--since", "10h", "--stderr")[-1] == "WARNING slow"


def test_a_log_without_lines_says_so_beside_its_output(home: Path) -> None:
    told = typed(["logs", "borealis", "--stderr"])
    assert (told.code, told.out, told.err) == (0, "", "no line is like that\n")
    (home / "state" / "logs" / "borealis.out.log").write_text("")
    told = typed(["logs", "borealis"])
    assert (told.code, told.out, told.err) == (0, "", "nothing was printed yet\n")


@pytest.mark.parametrize("arguments", [["--since", "yesterday"], ["--since", "99:99"], ["--grep", "(", "--regex"]])
def test_what_cannot_be_understood_says_what_can(home: Path, arguments: list[str]) -> None:
    told = typed(["logs", *arguments])
    assert (told.code, told.out) == (2, "")
    assert "no time: type 90s" in " ".join(told.err.replace("│", " ").split()) or "is no pattern" in told.err


def test_json_has_time_stream_and_text(home: Path) -> None:
    (found,) = json.loads(typed(["logs", "atlas", "--json", "-n", "3"]).out)
    assert found["node"] == "atlas"
    assert [line["stream"] for line in found["lines"]] == ["stdout", "stderr", "stdout"]
    assert "\x1b[31m" in found["lines"][1]["text"]
    assert abs(time.time() - 60 - found["lines"][2]["at"]) < 30


def test_a_log_whose_lines_have_no_time_is_shown_and_that_is_said(home: Path) -> None:
    (home / "state" / "logs" / "atlas.out.log").write_text("plain\n")
    (home / "state" / "logs" / "atlas.out.log.1").unlink()
    told = typed(["logs", "atlas", "--since", "10m", "--stdout"])
    assert told.out == "atlas │ plain\n"
    assert "begin with no time" in told.err


def test_follow_goes_on_in_order_after_a_rotation_and_ends_with_its_reader(home: Path) -> None:
    folder = home / "state" / "logs"
    running = subprocess.Popen(
        [sys.executable, "-m", "master.cli", "logs", "-f", "atlas", "-n", "1", "--json"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "FLEET_HOME": str(home)},
    )  # fmt: skip
    assert running.stdout is not None
    try:
        assert json.loads(running.stdout.readline())["text"].endswith("play axb")
        now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        with open(folder / "atlas.err.log", "a") as err, open(folder / "atlas.out.log", "a") as out:
            err.write(f"{now}.000002 second\nwith more\n{now} an")
            out.write(f"{now}.000001 first\n")
        read = [json.loads(running.stdout.readline()) for _ in range(3)]
        assert sorted(line["text"].split(" ")[-1] for line in read) == ["first", "more", "second"]
        os.truncate(folder / "atlas.out.log", 0)
        with open(folder / "atlas.out.log", "a") as out:
            out.write(f"{now} new\n")
        assert json.loads(running.stdout.readline())["text"].endswith("new")
        running.stdout.close()
        with open(folder / "atlas.out.log", "a") as out:
            out.write("nobody reads it\n")
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
