"""Which of several solutions that know an error is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from master.services.healing.matching import Match
from master.services.healing.monitor import Finding
from master.services.healing.solution import Risk

_CAUTION = (Risk.AUTO, Risk.ASK, Risk.MANUAL)
UNPROVEN = 0.5
"""What a solution without a run is taken for: better than one that rarely helps."""


def ranked(matches: Iterable[Match], rate_of: Callable[[str], float | None]) -> list[Match]:
    """Return one match of each solution, the best solution first: by priority, then cure rate, then id."""

    def rank(match: Match) -> tuple[float, float, str]:
        rate = rate_of(match.solution.id)
        return -match.solution.priority, -(UNPROVEN if rate is None else rate), match.solution.id

    first = dict[str, Match]()
    for match in matches:
        first.setdefault(match.solution.id, match)
    return sorted(first.values(), key=rank)


def key_of(finding: Finding) -> str:
    """Return what findings that are decided alike have in common; there are no more keys than solutions.

    An error is taken once for each, however often it is seen until it was decided what to do.
    """
    return min((-match.solution.priority, match.solution.id) for match in finding.matches)[1]


def more_cautious(one: Risk, other: Risk) -> Risk:
    """Return the one that leaves more to people."""
    return max(one, other, key=_CAUTION.index)
