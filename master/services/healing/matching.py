"""Which solutions know a line: all patterns at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import re2

from master.security.tokens import hide_tokens
from master.services.core.exit_meaning import without_stamp
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Solution

MAX_LINE_BYTES = 4_096
"""Of a longer line only the beginning is looked at."""


class Match(NamedTuple):
    """A line that a solution knows."""

    solution: Solution
    line: str
    """Without the time at its beginning; tokens hidden."""
    captures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Compiled:
    solution: Solution
    patterns: tuple[re2._Regexp[str], ...]
    ignore: tuple[re2._Regexp[str], ...]


class Matcher:
    """The patterns of some solutions, compiled once. May be used by several threads.

    Parameters
    ----------
    solutions
        Their patterns have been checked.
    """

    def __init__(self, solutions: Iterable[Solution] = ()) -> None:
        self._compiled = tuple(
            _Compiled(one, tuple(map(re2.compile, one.patterns)), tuple(map(re2.compile, one.ignore)))
            for one in solutions
        )

    def scan(self, seen_in: SeenIn, chunk: bytes) -> list[Match]:
        """Return what is known in a chunk of whole lines: each solution once for each line that it knows."""
        found = list[Match]()
        for raw in chunk.split(b"\n"):
            line = without_stamp(raw[:MAX_LINE_BYTES].decode("utf-8", "replace"))
            found += self._scan_line(seen_in, line)
        return found

    def _scan_line(self, seen_in: SeenIn, line: str) -> list[Match]:
        found = list[Match]()
        for one in self._compiled:
            if seen_in not in one.solution.applies_to or any(pattern.search(line) for pattern in one.ignore):
                continue
            for pattern in one.patterns:
                if hit := pattern.search(line):
                    captures = {name: value for name, value in hit.groupdict().items() if value is not None}
                    found.append(Match(one.solution, hide_tokens(line), captures))
                    break
        return found
