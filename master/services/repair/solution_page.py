"""The page of shipped solutions, made from their files: ``python -m master.services.repair.solution_page``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from master.services.healing.library import SHIPPED, Entry, SolutionLibrary
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Risk, Solution
from master.services.repair.actions.registry import ACTIONS

_LINES, _LINE_CHARACTERS = 3, 160
"""Of the samples, on the page."""
PAGE = SHIPPED.parent / "docs" / "shipped-solutions.md"
_HEAD = """\
# The solutions that come with Fleetmaster

Made from the files in `solutions/` by `python -m master.services.repair.solution_page`. [solutions.md](solutions.md)
says how they work, and how to write one; your own file with the same id takes the place of one of these. Each was held
against the real error: `tests/solutions/` has the library raise it, and reads what it prints.
"""
_RISKS = {
    Risk.AUTO: "the master acts by itself",
    Risk.ASK: "an operator is asked first, by a button or a command",
    Risk.MANUAL: "only a person can mend it, and the alert says how",
}
_PLACES = {
    SeenIn.EXIT: "the end of a process",
    SeenIn.STDERR: "standard error",
    SeenIn.STDOUT: "standard output",
    SeenIn.REPORT: "a report of the node",
    SeenIn.GATEWAY_CLOSE: "a closed gateway connection",
    SeenIn.STATE: "the node's state",
}


def page_of(entries: Iterable[Entry]) -> str:
    """Return the page: a table for each risk, then each solution."""
    ordered = sorted(entries, key=lambda one: one.solution.title.lower())
    parts = [_HEAD]
    for risk, meaning in _RISKS.items():
        mine = [one.solution for one in ordered if one.solution.risk is risk]
        parts += [f"## {risk.value}: {meaning} ({len(mine)})\n", _table(mine)]
    parts += ["## Each of them\n", *map(_section, ordered)]
    return "\n".join(parts)


def _table(solutions: Iterable[Solution]) -> str:
    rows = [f"| [{one.title}](#{one.id}) | {one.severity} | {_action(one)} |" for one in solutions]
    return "\n".join(["| what is wrong | severity | action |", "|---|---|---|", *rows, ""])


def _section(entry: Entry) -> str:
    solution = entry.solution
    times = "twice" if solution.most_attempts == 2 else f"{solution.most_attempts} times"
    tries = "once" if solution.most_attempts == 1 else times
    limits = (
        f"At most once in {_duration(solution.cooldown_s)} on a node, {solution.most_an_hour} times an hour in the "
        f"fleet, and {tries} in a row without success."
    )
    places = ", ".join(_PLACES[one] for one in solution.applies_to)
    lines = [line[:_LINE_CHARACTERS] for line in solution.samples.match[:_LINES]]
    return "\n".join(
        [
            f'<a id="{solution.id}"></a>\n### {solution.title}\n',
            f"`{solution.id}`, {solution.risk.value}; seen in {places}:\n",
            "\n".join(["```text", *lines, "```\n"]),
            f"{_action(solution)}: {ACTIONS[solution.action_name].summary} {limits}{_reason(entry.content)}\n",
            f"{solution.advice.replace('{node}', 'NODE')}\n",
        ]
    )


def _reason(content: str) -> str:
    """Return the comment at a file's beginning: why its risk and its action are as they are."""
    lines = itertools.takewhile(lambda line: line.startswith("# "), content.splitlines())
    return "".join(" " + line.removeprefix("# ") for line in lines)


def _action(solution: Solution) -> str:
    parameters = " ".join(f"{key}={value}" for key, value in solution.parameters.items())
    return f"`{f'{solution.action_name} {parameters}'.strip()}`"


def _duration(seconds: float) -> str:
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            number = round(seconds / size)
            return f"{number} {unit}s" if number > 1 else f"a{'n' if unit == 'hour' else ''} {unit}"
    return f"{seconds:g} seconds"


def shipped_page() -> str:
    """Return the page of the solutions that are shipped."""
    library = SolutionLibrary(own=Path(SHIPPED, "none"))
    library.load()
    return page_of(library.entries.values())


if __name__ == "__main__":
    PAGE.write_text(shipped_page(), "utf-8")
