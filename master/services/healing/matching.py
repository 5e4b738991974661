"""Which solutions know a line: all patterns at once.

A scan looks for literals of all patterns in whole blocks (Aho-Corasick, in native code, without the interpreter's
lock), and asks RE2 only about the lines that contain one, and only for the patterns whose literal it is. What others
do is in ``python -m benchmarks.errors``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
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
MOST_COMPILED = 128
"""Patterns that stay compiled, those that were asked about last: one takes 18 KB once it has searched."""
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


_Compile = Callable[[str], "re2._Regexp[str]"]


class _Pattern:
    """A pattern, compiled when a line contains one of its literals."""

    __slots__ = ("_compile", "further", "literals", "text")

    def __init__(self, text: str, compile_: _Compile) -> None:
        self.text, self._compile = text, compile_
        self.literals, *self.further = required_literals(text) or (frozenset[bytes](),)

    def may_match(self, lowered: bytes) -> bool:
        """Return whether a line with one of its literals contains all others that a match contains."""
        for literals in self.further:
            for literal in literals:
                if literal in lowered:
                    break
            else:
                return False
        return True

    def search(self, line: str) -> re2._Match[str] | None:
        """Return its first match in a line; None for no match."""
        return self._compile(self.text).search(line)


class _Known:
    """A solution and its patterns."""

    def __init__(self, solution: Solution, compile_: _Compile) -> None:
        self.solution = solution
        self.patterns = tuple(_Pattern(pattern, compile_) for pattern in solution.patterns)
        self.ignore = tuple(_Pattern(pattern, compile_) for pattern in solution.ignore)

    def match(self, line: str, candidates: Iterable[int]) -> Match | None:
        """Return what the first of the candidates, patterns by number, that matches a line captures."""
        for number in candidates:
            if hit := self.patterns[number].search(line):
                if any(pattern.search(line) for pattern in self.ignore):
                    return None
                captures = {name: value for name, value in hit.groupdict().items() if value is not None}
                return Match(self.solution, line, captures)
        return None


class _Place(NamedTuple):
    """A pattern, by the numbers of its solution and of itself, which order it before others."""

    solution: int
    number: int
    pattern: _Pattern


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
        wanted = dict[bytes, list[_Place]]()
        always = list[_Place]()
        for index, one in enumerate(self._known):
            for number, pattern in enumerate(one.patterns):
                for literal in pattern.literals:
                    wanted.setdefault(literal, []).append(_Place(index, number, pattern))
                if not pattern.literals:
                    always.append(_Place(index, number, pattern))
        self._wanted = tuple(map(tuple, wanted.values()))
        self._always = tuple(always)
        # The contiguous form takes a quarter of the memory of a DFA, and four fifths of its speed.
        contiguous = ahocorasick_rs.Implementation.ContiguousNFA
        self._find = ahocorasick_rs.BytesAhoCorasick(wanted, implementation=contiguous).find_matches_as_indexes

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
        for block in _blocks(chunk):
            end = -1
            for _, first, last in self._find(block.lower()):
                if last <= end:
                    continue
                begin = block.rfind(b"\n", 0, first) + 1
                end = block.find(b"\n", last)
                end = len(block) if end < 0 else end
                yield block[begin : min(end, begin + MAX_LINE_BYTES)]

    def _candidates(self, line: bytes) -> dict[int, list[int]]:
        """Return the patterns that may match a line, by solution, in the order of both."""
        lowered = line.lower()
        places = set(self._always)
        if self._wanted:
            hits = self._find(lowered, overlapping=True)
            for literal in {hit[0] for hit in hits} if len(hits) > 1 else (hits[0][0],) if hits else ():
                for place in self._wanted[literal]:
                    if place.pattern.may_match(lowered):
                        places.add(place)
        by_solution = dict[int, list[int]]()
        for place in sorted(places) if len(places) > 1 else places:
            by_solution.setdefault(place.solution, []).append(place.number)
        return by_solution


class Matcher:
    """The patterns of some solutions. May be used by several threads.

    Parameters
    ----------
    solutions
        Their patterns have been checked.
    """

    def __init__(self, solutions: Iterable[Solution] = ()) -> None:
        compile_ = lru_cache(maxsize=MOST_COMPILED)(compile_pattern)
        self._known = tuple(_Known(solution, compile_) for solution in solutions)
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
