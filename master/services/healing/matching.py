"""Which solutions know a line: all patterns at once.

A scan looks for literals of all patterns in whole blocks (Aho-Corasick, in native code, without the interpreter's
lock), and asks RE2 only about the lines that contain one, and only for the patterns whose literal it is. What others
do is in ``python -m benchmarks.errors``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from master.security.tokens import hide_tokens
from master.services.core.exit_meaning import without_stamp
from master.services.healing.literals import required_literals
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Solution

if TYPE_CHECKING:
    import re2

MAX_LINE_BYTES = 4_096
"""Of a line that is as long, or longer, only the beginning is looked at."""
MOST_LINES_A_SCAN = 100
"""That one solution is found in; those after it in the same chunk are passed over."""
_BLOCK_BYTES = 65_536
_TOKEN_CHARACTERS = 160
"""No token is longer. Where a line is cut, so much is left out, for it may be a part of one."""
_PATTERN_MEMORY = 2**20


class Match(NamedTuple):
    """A line that a solution knows."""

    solution: Solution
    line: str
    """Without the time at its beginning; tokens hidden."""
    captures: Mapping[str, str]


def compile_pattern(pattern: str) -> re2._Regexp[str]:
    """Return a compiled pattern, whose memory is bounded.

    Raises
    ------
    re2.error
    """
    # Imported where it is used: there may be no solutions.
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_MEMORY
    # Not re2.compile(), whose cache would hold patterns of solutions that are gone.
    return re2._Regexp(pattern, options)


class _Pattern:
    """A pattern, compiled once a line contains one of its literals."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._compiled: re2._Regexp[str] | None = None

    def search(self, line: str) -> re2._Match[str] | None:
        """Return its first match in a line; None for no match."""
        if self._compiled is None:
            self._compiled = compile_pattern(self.text)
        return self._compiled.search(line)


class _Known:
    """A solution and its patterns."""

    def __init__(self, solution: Solution) -> None:
        self.solution = solution
        self.patterns = tuple(map(_Pattern, solution.patterns))
        self.ignore = tuple(map(_Pattern, solution.ignore))

    def match(self, line: str, candidates: Iterable[int]) -> Match | None:
        """Return what the first of the candidates, patterns by number, that matches a line captures."""
        for number in candidates:
            if hit := self.patterns[number].search(line):
                if any(pattern.search(line) for pattern in self.ignore):
                    return None
                captures = {name: value for name, value in hit.groupdict().items() if value is not None}
                return Match(self.solution, line, captures)
        return None


class _Prefilter:
    """The literals of the patterns that apply to one source.

    Parameters
    ----------
    known
        Solutions that apply to it.
    """

    def __init__(self, known: Iterable[_Known]) -> None:
        # Imported where it is used: there may be no solutions.
        import ahocorasick_rs

        self._known = tuple(known)
        wanted = dict[bytes, list[tuple[int, int]]]()
        always = list[tuple[int, int]]()
        for index, one in enumerate(self._known):
            for number, pattern in enumerate(one.patterns):
                literals = required_literals(pattern.text)
                for literal in literals or ():
                    wanted.setdefault(literal, []).append((index, number))
                if literals is None:
                    always.append((index, number))
        self._wanted = tuple(map(tuple, wanted.values()))
        self._always = tuple(always)
        self._automaton = ahocorasick_rs.BytesAhoCorasick(
            wanted, implementation=ahocorasick_rs.Implementation.ContiguousNFA
        )

    def scan(self, chunk: bytes, most_lines: int) -> list[Match]:
        """Return what is known in a chunk, line by line."""
        found, counts = list[Match](), [0] * len(self._known)
        for line in self._candidate_lines(chunk):
            candidates = self._candidates(line)
            text: str | None = None
            for index, numbers in candidates.items():
                if counts[index] >= most_lines:
                    continue
                if text is None:
                    text = _text_of(line)
                if match := self._known[index].match(text, numbers):
                    counts[index] += 1
                    found.append(match)
        return found

    def _candidate_lines(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that may be known, cut to what is looked at."""
        if self._always:
            yield from (line[:MAX_LINE_BYTES] for line in chunk.split(b"\n"))
            return
        find = self._automaton.find_matches_as_indexes
        for block in _blocks(chunk):
            end = -1
            for _, first, last in find(block.lower()):
                if last <= end:
                    continue
                begin = block.rfind(b"\n", 0, first) + 1
                end = block.find(b"\n", last)
                end = len(block) if end < 0 else end
                yield block[begin : min(end, begin + MAX_LINE_BYTES)]

    def _candidates(self, line: bytes) -> dict[int, list[int]]:
        """Return the patterns that may match a line, by solution, in the order of both."""
        hits = self._automaton.find_matches_as_indexes(line.lower(), overlapping=True) if self._wanted else ()
        found = set(self._always).union(*(self._wanted[literal] for literal in {literal for literal, _, _ in hits}))
        by_solution = dict[int, list[int]]()
        for index, number in sorted(found):
            by_solution.setdefault(index, []).append(number)
        return by_solution


class Matcher:
    """The patterns of some solutions. May be used by several threads.

    Parameters
    ----------
    solutions
        Their patterns have been checked.
    """

    def __init__(self, solutions: Iterable[Solution] = ()) -> None:
        self._known = tuple(map(_Known, solutions))
        self._prefilters: dict[SeenIn, _Prefilter | None] = {}
        self._lock = threading.Lock()

    def scan(self, seen_in: SeenIn, chunk: bytes, *, most_lines: int = MOST_LINES_A_SCAN) -> list[Match]:
        """Return what is known in a chunk of whole lines: each solution once for each line that it knows.

        The interpreter's lock is free while literals are looked for, so that a thread may scan while the event loop
        runs.

        Parameters
        ----------
        most_lines
            A solution is looked for until so many lines of the chunk were its: a flood of one error is no news.
        """
        prefilter = self._prefilter(seen_in)
        return prefilter.scan(chunk, most_lines) if prefilter else []

    def applies_to(self, seen_in: SeenIn) -> bool:
        """Return whether there is anything to be known in what is seen there."""
        return any(seen_in in one.solution.applies_to for one in self._known)

    def _prefilter(self, seen_in: SeenIn) -> _Prefilter | None:
        if not self._known:
            return None
        with self._lock:
            if seen_in not in self._prefilters:
                known = [one for one in self._known if seen_in in one.solution.applies_to]
                self._prefilters[seen_in] = _Prefilter(known) if known else None
            return self._prefilters[seen_in]


def _blocks(chunk: bytes) -> Iterator[bytes]:
    """Yield a chunk in blocks of whole lines; of a line that is longer than a block, the beginning."""
    begin = 0
    while begin < len(chunk):
        end = begin + _BLOCK_BYTES
        if end >= len(chunk):
            yield chunk[begin:] if begin else chunk
            return
        last = chunk.rfind(b"\n", begin, end)
        if last >= begin:
            yield chunk[begin:last]
            begin = last + 1
            continue
        yield chunk[begin : begin + MAX_LINE_BYTES]
        last = chunk.find(b"\n", end)
        begin = len(chunk) if last < 0 else last + 1


def _text_of(line: bytes) -> str:
    """Return what patterns are searched for in: one line, without its end and the time at its beginning."""
    text = hide_tokens(line.removesuffix(b"\r").decode("utf-8", "replace"))
    if len(line) >= MAX_LINE_BYTES:
        text = text[:-_TOKEN_CHARACTERS]
    return without_stamp(text)
