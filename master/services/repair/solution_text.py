"""The text of a solution: read and checked before it is saved or tested."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from master.services.healing.matching import compile_pattern
from master.services.healing.solution import Solution
from master.services.repair.actions.registry import check_action
from master.services.repair.errors import SolutionRefused

if TYPE_CHECKING:
    import re2

MAX_TEXT_BYTES = 64 * 1024
_HINT = "docs/solutions.md explains the format"


def read_solution(text: str) -> Solution:
    """Return the solution that a text is.

    Raises
    ------
    SolutionRefused
        It is none; the message has the line, if it is known, and the reason.
    """
    if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        raise SolutionRefused(f"the text is longer than {MAX_TEXT_BYTES // 1024} KiB", hint=_HINT)
    try:
        solution = msgspec.convert(tomllib.loads(text), Solution)
        _check_samples(solution)
    except ValueError as error:
        raise SolutionRefused(f"this is no solution: {error}", hint=_HINT) from error
    if wrong := check_action(solution):
        raise SolutionRefused(f"this is no solution: {wrong}", hint=_HINT)
    return solution


def _check_samples(solution: Solution) -> None:
    patterns = list(_compiled("pattern", solution.patterns))
    ignore = list(_compiled("ignore pattern", solution.ignore))
    for line in (*solution.samples.match, *solution.samples.no_match):
        known = any(one.search(line) for one in patterns) and not any(one.search(line) for one in ignore)
        if known != (line in solution.samples.match):
            raise ValueError(f"a sample that must {'not ' * known}match does{' not' * (not known)}: {line[:200]!r}")


def _compiled(kind: str, patterns: Iterable[str]) -> Iterator[re2._Regexp[str]]:
    import re2

    for number, pattern in enumerate(patterns, start=1):
        try:
            yield compile_pattern(pattern)
        except re2.error as error:
            why = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
            raise ValueError(f"{kind} {number}: {why}") from error
