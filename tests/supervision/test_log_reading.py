"""The logs of nodes, read from their ends: in the order of time, with what rotation left."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from master.supervision.log_reading import LogFile, LogLine, lines_back, read_back, stamp_of
from master.supervision.logs import NodeLogs
from nodekit.output import LineStream, OutputLimit, StreamOrder
from tests.conftest import TurnableClock
from tests.hostile.effort import rounds


def files(folder: Path) -> list[LogFile]:
    return [LogFile(folder / "atlas.out.log", "stdout"), LogFile(folder / "atlas.err.log", "stderr")]


def texts(found: list[LogLine]) -> list[str]:
    return [line.text for line in reversed(found)]


def test_what_a_node_wrote_comes_back_in_the_order_in_which_it_did(tmp_path: Path, clock: TurnableClock) -> None:
    chance, count = random.Random(12), 0  # noqa: S311 - repeatable
    for round_number in range(rounds(20)):
        folder = tmp_path / str(round_number)
        folder.mkdir()
        limit, order = OutputLimit(0, clock), StreamOrder()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptors = [os.open(file.path, flags, 0o600) for file in files(folder)]
        streams = [LineStream(descriptor, limit, clock, order) for descriptor in descriptors]
        logs = NodeLogs(folder, max_bytes=20_000, files=10)
        written = []
        for number in range(chance.randint(1, 400)):
            block = "\n".join(f"line {number}.{part}" for part in range(chance.choice((1, 1, 1, 5))))
            print(block, file=chance.choice(streams))
            written += block.split("\n")
            if chance.random() < 0.3:
                clock.turn(chance.choice((0.001, 0.3, 1.0, 60.0)))
            if chance.random() < 0.02:
                logs.rotate(["atlas"])
        for descriptor in descriptors:
            os.close(descriptor)
        found = list(read_back(files(folder)))
        assert ["line " + text.partition("line ")[2] for text in texts(found)] == written
        assert all(line.at is not None for line in found)
        count += len(written)
    print(f"{count} lines of two streams read back in their order")


def test_lines_without_a_time_stay_behind_the_one_they_follow(tmp_path: Path) -> None:
    out, err = files(tmp_path)
    out.path.write_text("2026-11-22 10:00:01 printed\n2026-11-22 10:00:05 printed later\n")
    err.path.write_text("torn\n2026-11-22 10:00:03,250 ERROR x\nTraceback\n  File\nValueError\n")
    assert [text[:30] for text in texts(list(read_back([out, err])))] == [
        "2026-11-22 10:00:01 printed",
        "torn",
        "2026-11-22 10:00:03,250 ERROR ",
        "Traceback",
        "  File",
        "ValueError",
        "2026-11-22 10:00:05 printed la",
    ]


def test_a_program_that_writes_no_times_is_read_in_the_order_of_its_files(tmp_path: Path) -> None:
    out, err = files(tmp_path)
    out.path.write_text("".join(f"line {number}\n" for number in range(5000)))
    err.path.write_text("")
    found = list(read_back([out, err]))
    assert texts(found) == [f"line {number}" for number in range(5000)]
    assert {line.at for line in found} == {None}


@pytest.mark.parametrize(
    ("line", "second", "fraction"),
    [
        ("2026-11-22T10:00:00Z x", 1795341600.0, None),
        ("[2026-11-22 12:00:00.5+02:00] x", 1795341600.0, 0.5),
        ("2026-11-22 10:00:00+0000 x", 1795341600.0, None),
        ("2026-13-22 10:00:00 x", None, None),
        ("no time", None, None),
        ("", None, None),
    ],
)
def test_times_are_read_as_they_are_written(line: str, second: float | None, fraction: float | None) -> None:
    found = stamp_of(line)
    assert (found and found.second, found and found.fraction) == (second, fraction)


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_lines_of_every_length_are_whole(tmp_path: Path, length: int, end: str) -> None:
    path = tmp_path / "atlas.out.log"
    path.write_text(f"first\n\n{'x' * length}|\nlast{end}")
    assert list(lines_back(path)) == ["last", "x" * length + "|", "", "first"]


def test_a_pipe_or_a_link_in_place_of_a_log_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "atlas.out.log")
    (tmp_path / "atlas.err.log").symlink_to("/etc/passwd")
    for file in files(tmp_path):
        with pytest.raises(OSError, match=r"not a regular file|symbolic links"):
            list(read_back([file]))
