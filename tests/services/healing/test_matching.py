"""The matcher: it finds what a loop over all patterns finds, and looks at few lines to find it."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from master.security.tokens import hide_tokens
from master.services.healing.literals import required_literals
from master.services.healing.matching import MAX_LINE_BYTES, MOST_LINES_A_SCAN, Match, Matcher
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Solution
from tests.hostile.effort import rounds
from tests.services.healing.solutions import solution

_STAMP = re.compile(r"^\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S* ")
TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GAbCdE.abcdefghijklmnopqrstuvwxyz0123456789AB"


def naive(solutions: list[Solution], chunk: bytes) -> list[Match]:
    """Return what each pattern finds in each line, one after the other."""
    found = list[Match]()
    for raw in chunk.split(b"\n"):
        cut = raw[:MAX_LINE_BYTES]
        line = hide_tokens(cut.removesuffix(b"\r").decode("utf-8", "replace"))
        line = _STAMP.sub("", line[:-160] if len(cut) == MAX_LINE_BYTES else line)
        for one in solutions:
            hits = [hit for hit in (re2.search(pattern, line) for pattern in one.patterns) if hit]
            if hits and not any(re2.search(pattern, line) for pattern in one.ignore):
                captures = {name: text for name, text in hits[0].groupdict().items() if text is not None}
                found.append(Match(one, line, captures))
    return found


# The characters are few, so that patterns and lines meet; with those that case folding and decoding treat apart.
_LETTERS = "abkKsS1 .-\u00fc\u00dc\u017f\u212a\ufffd"
_literal = st.text(_LETTERS, min_size=1, max_size=5).map(re2.escape)
_simple = (
    _literal
    | _literal
    | st.sampled_from([".", r"\d", r"\w", "[ab]", "[^a]", "[a-k]", "[]a]", "[[:alpha:]]", r"[\w.]", r"\x61", r"\x{6b}"])
    | st.sampled_from([r"\b", "^", "$", r"\pL", r"\p{Greek}", "(?i)", r"\Qa.b\E", "[K]", r"[\x61]", "a{", r"\A", r"\z"])
)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = st.sampled_from(["({})", "(?:{})", "(?i:{})", "(?-i:{})", "(?P<x>{})", "(?i){}", "(?s:{})"])
    repeated = st.sampled_from(["(?:{})*", "(?:{})+", "(?:{})?", "(?:{}){{2}}", "(?:{}){{0,2}}", "(?:{}){{1,}}?"])
    return (
        st.lists(inner, min_size=1, max_size=4).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map("|".join)
        | st.builds(lambda form, text: form.replace("{}", text).replace("{{", "{").replace("}}", "}"), group, inner)
        | st.builds(lambda form, text: form.replace("{}", text).replace("{{", "{").replace("}}", "}"), repeated, inner)
    )


def _compiles(pattern: str) -> bool:
    options = re2.Options()
    options.log_errors = False
    try:
        return 3 <= len(pattern) <= 300 and bool(re2.compile(pattern, options))
    except re2.error:
        return False


_patterns = st.recursive(_simple, _compound, max_leaves=6).filter(_compiles)
_line = st.builds(
    lambda stamp, parts, end: stamp + b"".join(parts) + end,
    st.sampled_from([b"", b"", b"2026-11-22 10:00:00.123 ", b"[2026-11-22T10:00:00Z] ", b"2026-11-22 1:00 "]),
    st.lists(
        st.text(_LETTERS, max_size=8).map(str.encode)
        | st.sampled_from(
            [b"\x00", b"\xff", b"\xc3", b"\xe2\x84", b"\r", b"a" * 5_000, TOKEN.encode(), b"2026-11-22 "]
        ),
        max_size=5,
    ),
    st.sampled_from([b"", b"", b"\r"]),
)


@given(
    st.lists(st.tuples(st.lists(_patterns, min_size=1, max_size=3), st.lists(_patterns, max_size=1)), max_size=4),
    st.lists(_line, max_size=8),
)
@settings(max_examples=rounds(100), deadline=None)
def test_it_finds_what_a_loop_over_all_patterns_finds(
    patterns: list[tuple[list[str], list[str]]], lines: list[bytes]
) -> None:
    solutions = [
        solution(*tried, ignore=tuple(ignore), id=f"s{number}") for number, (tried, ignore) in enumerate(patterns)
    ]
    chunk = b"\n".join(lines)
    assert Matcher(solutions).scan(SeenIn.STDERR, chunk) == naive(solutions, chunk)


@given(_patterns, st.lists(_line, max_size=4))
@settings(max_examples=rounds(100), deadline=None)
def test_every_line_that_a_pattern_matches_contains_one_of_its_literals(pattern: str, lines: list[bytes]) -> None:
    literals = required_literals(pattern)
    for line in lines:
        if re2.search(pattern, line.decode("utf-8", "replace")):
            assert all(any(literal in line.lower() for literal in one_of) for one_of in literals)


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        (r"^ModuleNotFoundError: No module named '(?P<m>[\w.]{1,80})'$", [{"modulenotfounderror: no module named '"}]),
        (r"(?i)connection (reset|aborted)", [{"connection reset", "connection aborted", "\u017f"}]),
        (r"\b(4004|4014)\b", [{"4004", "4014"}]),
        (r"^Forbidden.*\(error code: (?P<code>[0-9]{5})\): no", [{"(error code: "}, {"forbidden"}, {"): no"}]),
        (r"(?:retrying )?in \d+ seconds", [{" seconds"}, {"in ", "retrying in "}]),
        (r"(?:disk (?:is )?full|[Ee]rrno 28) on", [{"disk is full on", "disk full on", "errno 28 on"}]),
        (r"\Aexit code 1\z", [{"exit code 1"}]),
        (r"foo.*x|bar\.py", [{"foo", "bar.py"}]),
        (r".*", []),
        (r"ab|foo", []),
        (r"\d+ \w+", []),
    ],
)
def test_literals_of_patterns_as_people_write_them(pattern: str, literals: list[set[str]]) -> None:
    assert [{one.decode() for one in found} for found in required_literals(pattern)] == literals


@pytest.mark.parametrize("line", ["task", "TASK", "ta\u017fk", "tas\u212a", "TA\u017f\u212a"])
def test_case_is_folded_as_re2_does(line: str) -> None:
    assert re2.search("(?i)task", line)
    assert len(Matcher([solution("(?i)task")]).scan(SeenIn.STDERR, line.encode())) == 1


def test_ten_solutions_that_know_one_line_are_all_returned_in_their_order() -> None:
    known = [solution("Forbidden", r"error code: (?P<code>\d+)", id=f"s{number}") for number in range(10)]
    found = Matcher(known).scan(SeenIn.STDERR, b"ok\nForbidden (error code: 50013): Missing Permissions\n")
    assert [match.solution.id for match in found] == [one.id for one in known]


def test_it_looks_where_a_solution_applies_and_nowhere_else() -> None:
    matcher = Matcher([solution("gateway closed with 4004", applies_to=(SeenIn.GATEWAY_CLOSE,))])
    assert matcher.applies_to(SeenIn.GATEWAY_CLOSE)
    assert not matcher.applies_to(SeenIn.STDERR)
    assert matcher.scan(SeenIn.STDERR, b"gateway closed with 4004") == []
    assert len(matcher.scan(SeenIn.GATEWAY_CLOSE, b"gateway closed with 4004")) == 1


def test_a_flood_of_one_error_is_bounded_and_hides_no_other() -> None:
    matcher = Matcher([solution("disk full", id="disk"), solution("out of memory", id="memory")])
    found = matcher.scan(SeenIn.STDERR, b"disk full\n" * 50_000 + b"out of memory\n")
    assert [match.solution.id for match in found] == ["disk"] * MOST_LINES_A_SCAN + ["memory"]


def test_a_line_of_ten_megabytes_is_looked_at_in_its_beginning_and_hides_no_other() -> None:
    matcher = Matcher([solution("disk full")])
    flood = b"disk full " * 1_000_000
    found = matcher.scan(SeenIn.STDERR, b"first\n" + flood + b"\ndisk full\n" + b"x" * 5_000_000 + b"disk full")
    assert [match.line[:9] for match in found] == ["disk full", "disk full"]
    assert len(found[0].line) < MAX_LINE_BYTES


def test_a_token_is_hidden_in_the_line_and_in_what_is_captured_also_where_the_line_is_cut() -> None:
    matcher = Matcher([solution("login with (?P<what>.*)$")])
    for before in range(MAX_LINE_BYTES - 200, MAX_LINE_BYTES):
        line = ("login with ".ljust(before, "x") + " " + TOKEN + " and on" * 100).encode()
        (match,) = matcher.scan(SeenIn.STDERR, line)
        assert TOKEN.split(".")[0] not in match.line + match.captures["what"]


def test_binary_output_is_scanned_in_linear_time() -> None:
    noise = random.Random(7).randbytes(2_000_000)  # noqa: S311 - not for secrets
    matcher = Matcher([solution(f"error number {number}", id=f"s{number}") for number in range(200)])
    assert len(matcher.scan(SeenIn.STDERR, noise + b"\nerror number 77\n")) == 2


def test_several_threads_may_use_one() -> None:
    matcher = Matcher([solution(f"error number {number}$", id=f"s{number}") for number in range(50)])
    chunk = b"".join(b"error number %d\n" % number for number in range(50))
    counts = list[int]()
    threads = [
        threading.Thread(target=lambda: counts.append(len(matcher.scan(SeenIn.STDERR, chunk)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [50] * 8


def test_without_solutions_nothing_is_imported() -> None:
    program = (
        "import sys\n"
        "from master.services.healing.library import SolutionLibrary\n"
        "from master.services.healing.matching import Matcher\n"
        "from master.services.healing.sighting import SeenIn\n"
        "assert Matcher().scan(SeenIn.STDERR, b'x') == []\n"
        "print(sorted(name for name in ('re2', 'ahocorasick_rs') if name in sys.modules))\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert shown.stdout == "[]\n"
