"""A node's output: timestamps, complete lines, floods bounded and counted."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from nodekit.output import LineStream, OutputLimit, StreamOrder
from tests.conftest import TurnableClock


class Sink:
    """A stream over a real file."""

    def __init__(self, folder: Path, clock: TurnableClock, *, bytes_s: int = 0) -> None:
        self.path = folder / "out.log"
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.limit = OutputLimit(bytes_s, clock)
        self.stream = LineStream(self.descriptor, self.limit, clock)

    def lines(self) -> list[str]:
        return self.path.read_text("utf-8").splitlines()


def test_each_line_gets_a_timestamp_unless_it_has_one(tmp_path: Path, clock: TurnableClock) -> None:
    sink = Sink(tmp_path, clock)
    print("hello\nthere", file=sink.stream)
    print("2026-11-21 10:00:00 INFO of a logger", file=sink.stream)
    first, second, third = sink.lines()
    assert first.endswith(" hello")
    assert second.endswith(" there")
    assert first[:10] == second[:10] == "2027-01-15"
    assert third == "2026-11-21 10:00:00 INFO of a logger"


def test_an_incomplete_line_is_buffered_until_its_end_or_finish(tmp_path: Path, clock: TurnableClock) -> None:
    sink = Sink(tmp_path, clock)
    sink.stream.write("half a ")
    assert sink.lines() == []
    sink.stream.write("line\nand the rest")
    assert [line.split(" ", 2)[-1] for line in sink.lines()] == ["half a line"]
    sink.stream.finish()
    assert sink.lines()[-1].endswith("and the rest")


def test_bytes_and_surrogates_are_written(tmp_path: Path, clock: TurnableClock) -> None:
    sink = Sink(tmp_path, clock)
    sink.stream.buffer.write("Grüße\n".encode())
    sink.stream.write("\udcff\n")
    assert sink.lines()[0].endswith("Grüße")
    assert sink.lines()[1].endswith("\\udcff")


def test_a_flood_is_dropped_and_counted(tmp_path: Path, clock: TurnableClock) -> None:
    sink = Sink(tmp_path, clock, bytes_s=1_000)
    for _ in range(1_000):
        print("x" * 99, file=sink.stream)
    assert sink.path.stat().st_size <= 8_000
    written = len(sink.lines())
    clock.turn(60)
    print("calm again", file=sink.stream)
    summary, calm = sink.lines()[-2:]
    assert f"{1_000 - written} lines" in summary
    assert calm.endswith("calm again")


def test_a_character_in_two_writes_is_one(tmp_path: Path, clock: TurnableClock) -> None:
    sink = Sink(tmp_path, clock)
    first, second = "ü\n".encode()[:1], "ü\n".encode()[1:]
    sink.stream.buffer.write(first)
    sink.stream.buffer.write(second)
    assert sink.lines()[0].endswith(" ü")


def test_dropped_lines_are_reported_by_finish(tmp_path: Path, clock: TurnableClock) -> None:
    sink = Sink(tmp_path, clock, bytes_s=100)
    for _ in range(100):
        print("x" * 99, file=sink.stream)
    written = len(sink.lines())
    sink.stream.finish()
    assert f"{100 - written} lines" in sink.lines()[-1]


def test_a_full_disk_loses_only_the_line(clock: TurnableClock) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        stream = LineStream(descriptor, OutputLimit(0, clock), clock)
        print("lost", file=stream)
        stream.finish()
    finally:
        os.close(descriptor)


def test_it_has_the_interface_of_a_text_stream(tmp_path: Path, clock: TurnableClock) -> None:
    stream = Sink(tmp_path, clock).stream
    assert (stream.encoding, stream.isatty(), stream.writable()) == ("utf-8", False, True)
    assert isinstance(stream.fileno(), int)
    assert hasattr(sys.stderr, "buffer") == hasattr(stream, "buffer")


def both(folder: Path, clock: TurnableClock) -> tuple[LineStream, LineStream]:
    """Return the two streams of a process, over files."""
    limit, order = OutputLimit(0, clock), StreamOrder()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    out, err = (os.open(folder / f"atlas.{name}.log", flags, 0o600) for name in ("out", "err"))
    return LineStream(out, limit, clock, order), LineStream(err, limit, clock, order)


def test_the_first_line_of_a_turn_within_a_second_says_when_and_no_other(tmp_path: Path, clock: TurnableClock) -> None:
    out, err = both(tmp_path, clock)
    print("1\n2", file=out)
    print("3\n4", file=err)
    print("5", file=err)
    print("6", file=out)
    clock.turn(1)
    print("7", file=err)
    printed = (tmp_path / "atlas.out.log").read_text().splitlines()
    complained = (tmp_path / "atlas.err.log").read_text().splitlines()
    assert [len(line) for line in printed] == [21, 21, 28]
    assert [len(line) for line in complained] == [28, 21, 21, 21]
    assert complained[0][:26] < printed[2][:26] < complained[3][:26]


def test_a_loggers_own_second_gets_the_microseconds_unless_it_has_some_or_is_another(
    tmp_path: Path, clock: TurnableClock
) -> None:
    out, err = both(tmp_path, clock)
    own = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(clock()))
    for line in (f"[{own}] [INFO] x", f"{own},123 INFO y", "2026-11-21 10:00:00 UTC z"):
        print("print", file=out)
        print(line, file=err)
    first, second, third = (tmp_path / "atlas.err.log").read_text().splitlines()
    assert first.startswith(f"[{own}.")
    assert first.endswith("] [INFO] x")
    assert len(first) == len(f"[{own}.000000] [INFO] x")
    assert (second, third) == (f"{own},123 INFO y", "2026-11-21 10:00:00 UTC z")
