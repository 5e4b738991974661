"""The text of a solution: read and checked before it is saved or tested."""

from __future__ import annotations

from collections.abc import Sequence

from master.services.healing.solution import Solution
from master.services.healing.solution_reading import RefusedFile, check_text
from master.services.repair.actions.registry import check_action
from master.services.repair.errors import SolutionRefused


def read_solution(text: str, lines: Sequence[str] = ()) -> Solution:
    """Return the solution that a text is. Blocks, for some milliseconds.

    Parameters
    ----------
    lines
        That nodes wrote lately; a pattern that is slow on them is refused.

    Raises
    ------
    SolutionRefused
        It is none; the message has the line, if it is known, and the reason.
    """
    found = check_text(text, "", check_action=check_action, lines=lines)
    if isinstance(found, RefusedFile):
        where = f"line {found.line}: " if found.line else ""
        raise SolutionRefused(
            f"this is no solution: {where}{found.reason}", hint="docs/solutions.md explains the format"
        )
    return found.solution
