"""Output cut into errors: what Python prints is one, however it is chained, and wherever a reading ends."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from master.services.healing.error_blocks import Block, ErrorBlocks
from master.services.healing.matching import Matcher
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Samples, Solution
from master.services.healing.templates import looks_like_error

_CHAINED = """
def fail():
    try:
        {}["key"]
    except KeyError as error:
        raise ValueError("no such setting") from error
fail()
"""
_DURING = """
def fail():
    try:
        1 / 0
    except ZeroDivisionError:
        raise OSError(28, "No space left on device")
fail()
"""
_GROUP = """
raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])
"""
_LOGGED = """
import logging
logging.basicConfig(format="%(asctime)s [%(levelname)s] %(name)s: %(message)s", level=logging.INFO)
logging.info("before")
try:
    int("x")
except ValueError:
    logging.exception("Ignoring exception in on_message")
logging.info("after")
"""


def solution(pattern: str) -> Solution:
    return Solution(
        id="known",
        title="Known",
        applies_to=(SeenIn.STDERR,),
        patterns=(pattern,),
        action={"name": "notify"},
        samples=Samples(match=("x",)),
    )


def printed_by(program: str) -> bytes:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)  # noqa: S603
    return done.stderr


def cut(output: bytes, *, pattern: str = "never to be seen", sizes: list[int] | None = None) -> list[Block]:
    """Return the errors in an output that is read in pieces of so many lines."""
    matcher, blocks, found = Matcher([solution(pattern)]), ErrorBlocks(), list[Block]()
    lines = output.splitlines(keepends=True)
    for size in sizes or [len(lines)]:
        chunk, lines = b"".join(lines[:size]), lines[size:]
        found += blocks.feed(chunk, matcher.scan(SeenIn.STDERR, chunk))
    found += blocks.feed(b"".join(lines), matcher.scan(SeenIn.STDERR, b"".join(lines))) if lines else []
    return [*found, *blocks.flush()]


@pytest.mark.parametrize(
    ("program", "exception", "last"),
    [
        ("int('x')", "ValueError", "ValueError: invalid literal for int() with base 10: 'x'"),
        (_CHAINED, "ValueError", "ValueError: no such setting"),
        (_DURING, "OSError", "OSError: [Errno 28] No space left on device"),
        (_LOGGED, "ValueError", "ValueError: invalid literal for int() with base 10: 'x'"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_what_python_prints_is_one_error_wherever_a_reading_ends(program: str, exception: str, last: str) -> None:
    output = printed_by(program)
    (whole,) = cut(output)
    assert (whole.exception, whole.lines[-1]) == (exception, last)
    rng = random.Random(13)  # noqa: S311
    for _ in range(20):
        sizes = [rng.randint(1, 4) for _ in range(12)]
        assert [block.text for block in cut(output, sizes=sizes)] == [whole.text]


def test_a_group_of_exceptions_is_one_error() -> None:
    (block,) = cut(printed_by(_GROUP) + b"next line\n")
    assert block.exception == "ExceptionGroup"
    assert any("TypeError: two" in line for line in block.lines)
    assert "next line" not in block.text


def test_the_line_that_logs_an_exception_belongs_to_its_traceback() -> None:
    (block,) = cut(printed_by(_LOGGED), pattern="^.*Ignoring exception in on_message$")
    assert [match.solution.id for match in block.matches] == ["known"]
    before = [line.partition("] root: ")[2] for line in block.before]
    assert before == ["before", "Ignoring exception in on_message"]


@pytest.mark.parametrize(
    "line", ["fatal: connect ECONNREFUSED 10.0.0.7:5432", "error: no such table", "PANIC disk gone"]
)
def test_lines_of_programs_in_other_languages_are_errors_too(line: str) -> None:
    (block,) = cut(f"all well\n{line}\nall well again\n".encode())
    assert block.text == line
    assert looks_like_error(line)


def test_a_line_that_a_solution_knows_is_an_error_though_it_looks_like_none() -> None:
    output = b"2026-11-22 17:00:00.123 all well\n2026-11-22 17:00:00.456 gateway is slow today\r\nand so on\n"
    (block,) = cut(output, pattern="^gateway is slow")
    assert block.lines == ["gateway is slow today"]
    assert block.before == ("all well",)


def test_lines_before_come_from_what_was_passed_by() -> None:
    matcher, blocks = Matcher(), ErrorBlocks()
    for number in range(50):
        assert list(blocks.feed(b"line %d\n" % number, [])) == []
    (block,) = [*blocks.feed(b"RuntimeError: boom\n", matcher.scan(SeenIn.STDERR, b"")), *blocks.flush()]
    assert block.before == tuple(f"line {number}" for number in range(40, 50))


def test_errors_of_other_languages_keep_their_stack() -> None:
    output = b"TypeError: x is not a function\n    at main (bot.js:1:2)\n    at node:internal\nready\n"
    (block,) = cut(output)
    assert block.lines == ["TypeError: x is not a function", "    at main (bot.js:1:2)", "    at node:internal"]


def test_two_tracebacks_in_a_row_are_two_errors() -> None:
    output = printed_by("int('x')")
    assert len(cut(output + output)) == 2


def test_an_endless_traceback_stays_bounded() -> None:
    output = (
        b"Traceback (most recent call last):\n" + b'  File "x.py", line 1, in f\n' * 100_000 + b"RecursionError: deep\n"
    )
    (block,) = cut(output)
    assert block.lines[-1] == "RecursionError: deep"
    assert len(block.lines) < 200
    assert "lines left out" in block.text


def test_a_line_that_is_cut_is_known_too() -> None:
    (block,) = cut(b"gateway is slow " + b"x." * 5_000 + b"\n", pattern="^gateway is slow")
    assert len(block.matches) == 1


def test_tokens_are_hidden_in_what_leaves() -> None:
    token = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"
    (block,) = cut(f"token {token}\nRuntimeError: refused {token}\n".encode())
    assert token not in block.text
    assert token not in "".join(block.lines_before)
