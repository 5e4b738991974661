"""Solutions on the terminal: the list, one of them, what a test found, what became of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from master.services.core.solution_views import (
    RefusedFileView,
    RunView,
    SolutionDetails,
    SolutionHistory,
    SolutionsView,
    SolutionTest,
    SolutionView,
    VersionView,
)
from master.terminal.columns import Column, Row, beside_or_below, lay_out
from master.terminal.output import local_time, one_line
from master.wording import duration, moment, visible

_MODES = {"on": ("●", "green"), "detecting": ("◐", "yellow"), "off": ("○", "bright_black"), "suspended": ("✗", "red")}
_OUTCOMES = {"helped": "green", "did_not_help": "red", "failed": "red", "interrupted": "red", "detected": "yellow"}
_LABEL = 11
_LONGEST_ID = 32
"""A longer one, of one solution, would leave the others no room on a terminal."""


def mode_text(mode: str) -> Text:
    """Return a solution's mode with its sign."""
    sign, style = _MODES.get(mode, ("?", ""))
    return one_line((f"{sign} {mode}", style))


def cured_text(view: SolutionView) -> str:
    """Return how many of the runs that have come to an end helped."""
    rate = view.cure_rate
    return "-" if rate is None else f"{rate * 100:.0f} %"


# The list

_COLUMNS = (
    Column("ID"),
    Column("MODE"),
    Column("RISK", importance=3, note_keeps=20),
    Column("ACTION", importance=4, note_keeps=20),
    Column("RUNS", importance=1, align="right"),
    Column("CURED", importance=2, align="right"),
    Column("LAST RUN", importance=5, note_keeps=30),
    Column("FROM", importance=6, note_keeps=40),
)


def solutions_lines(found: SolutionsView, *, width: int | None) -> Iterator[Text]:
    """Render the list, a line at a time."""
    if found.solutions:
        now = time.time()
        yield from lay_out(_COLUMNS, [_row(view, now, width) for view in found.solutions], width=width).lines
    else:
        yield Text("no solutions: `fleet solutions draft` proposes one for an error of `fleet errors list`")
    for refused in found.refused:
        yield from _refused_lines(refused, width=width)
    if not found.enabled:
        yield one_line(("HEALING is switched off in config.py: none of them acts", "yellow"))


def _row(view: SolutionView, now: float, width: int | None) -> Row:
    name = visible(view.id)
    last = "-" if view.last_run is None else f"{duration(now - view.last_run)} ago"
    return Row(
        [
            name if width is None or len(name) <= _LONGEST_ID else f"{name[: _LONGEST_ID - 1]}…",
            mode_text(view.mode),
            view.risk,
            visible(view.action),
            str(view.runs) if view.runs else "-",
            cured_text(view),
            last,
            view.origin,
        ],
        _note(view),
    )


def _note(view: SolutionView) -> Text:
    if view.mode == "on":
        return one_line(view.title)
    style = "red" if view.mode == "suspended" else "yellow" if view.mode == "detecting" else "bright_black"
    would = f"would have acted {_times(view.detected)}; " if view.mode == "detecting" and view.detected else ""
    return one_line((f"{would}{view.why}" if view.why else view.title, style))


def _refused_lines(refused: RefusedFileView, *, width: int | None) -> list[Text]:
    line = f":{refused.line}" if refused.line else ""
    head = one_line(("refused ", "red"), f"{refused.path}{line} ")
    return beside_or_below(head, one_line((refused.reason, "red")), width=width)


# One solution


def details_lines(found: SolutionDetails, *, width: int | None) -> Iterator[Text]:
    """Render one solution, with its text as it is at the end."""
    view = found.solution
    yield one_line((view.id, "bold"), "  ", mode_text(view.mode), f"  {view.title}")
    since = "" if found.since is None else f" since {moment(found.since)}"
    by = f" by {found.changed_by}" if found.changed_by else ""
    facts = [
        ("mode", f"{view.mode}{since}{by}: {view.why}" if view.why else f"{view.mode}{since}{by}"),
        ("acts", f"{view.action}, risk {view.risk}"),
        ("did", _deeds(view)),
        ("from", _ORIGINS.get(view.origin, view.origin)),
        ("file", found.path),
    ]
    for label, text in facts:
        yield from beside_or_below(one_line((label.ljust(_LABEL), "bright_black")), one_line(text), width=width)
    for refused in found.refused:
        yield from _refused_lines(refused, width=width)
    if found.last_runs:
        yield Text()
        yield from _run_lines(found.last_runs, width=width)
    if found.versions:
        yield Text()
        yield from _version_lines(found.versions, width=width)
    yield Text()
    for line in found.content.splitlines():
        yield one_line(line)


_ORIGINS = {
    "shipped": "comes with Fleetmaster",
    "own": "your own",
    "replaced": "your own, in the place of the one that comes with Fleetmaster",
}


def _deeds(view: SolutionView) -> str:
    if not view.runs:
        return f"nothing yet; it would have acted {_times(view.detected)}" if view.detected else "nothing yet"
    open_runs = view.runs - view.cures - view.failures
    parts = [f"{view.cures} helped", f"{view.failures} did not"] + (
        [f"{open_runs} open or cut off"] if open_runs else []
    )
    return f"{_counted(view.runs, 'run')}: {', '.join(parts)}"


# Its history


def history_lines(found: SolutionHistory, *, width: int | None) -> Iterator[Text]:
    """Render the versions and the runs."""
    if found.versions:
        yield from _version_lines(found.versions, width=width)
    else:
        yield one_line(("it comes with Fleetmaster, and was never changed", "bright_black"))
    yield Text()
    if found.runs:
        yield from _run_lines(found.runs, width=width)
    else:
        yield one_line(("it has done nothing yet", "bright_black"))


def _version_lines(versions: Sequence[VersionView], *, width: int | None) -> list[Text]:
    columns = (Column("VERSION", align="right"), Column("WHEN"), Column("BY", importance=1))
    rows = [
        Row(
            [str(one.version), moment(one.at), visible(one.actor)],
            one_line(one.why or "-", *([] if one.content else [("  (removed)", "red")])),
        )
        for one in versions
    ]
    return lay_out(columns, rows, width=width, note="WHY").lines


def _run_lines(runs: Sequence[RunView], *, width: int | None) -> list[Text]:
    columns = (Column("WHEN"), Column("NODE"), Column("OUTCOME"), Column("ACTION", importance=1, note_keeps=20))
    return lay_out(columns, [_run_row(run) for run in runs], width=width, note="DETAIL").lines


def _run_row(run: RunView) -> Row:
    ready = "" if run.ready_ms is None else f"; ready after {run.ready_ms / 1000:.1f} s"
    outcome = one_line((run.outcome.replace("_", " "), _OUTCOMES.get(run.outcome, "")))
    return Row(
        [moment(run.at), visible(run.node), outcome, visible(run.action)], one_line(f"{run.detail or run.line}{ready}")
    )


# A test


def found_lines(found: SolutionTest, *, width: int | None) -> Iterator[Text]:
    """Render what a test found."""
    yield one_line((found.id, "bold"), f"  {found.title}")
    files = f"{_counted(found.files, 'log')} of {_counted(found.nodes, 'node')}"
    yield one_line(f"read {files}, {_size(found.read_bytes)}, in {found.seconds:.1f} s")
    if found.unread_bytes:
        left = f"{_size(found.unread_bytes)} of older logs were left out"
        yield one_line((left, "yellow"))
    if not found.matched:
        yield one_line(("nothing matched", "yellow"))
    else:
        counts = ", ".join(f"{node} {times}" for node, times in list(found.matched_by_node.items())[:8])
        rest = len(found.matched_by_node) - 8
        more = f" and {rest} more nodes" if rest > 0 else ""
        head = one_line((f"{_counted(found.matched, 'line')} matched: ", "green"))
        yield from beside_or_below(head, one_line(f"{counts}{more}"), width=width)
        yield Text()
        yield from _tested_lines(found, width=width)
        if found.matched > len(found.lines):
            yield one_line((f"and {found.matched - len(found.lines)} more lines", "bright_black"))
        yield Text()
        yield one_line(*_would(found))
    yield from _pattern_lines(found, width=width)
    if found.others:
        others = ", ".join(f"{name} ({count})" for name, count in found.others.items())
        yield from beside_or_below(one_line(("also known by ", "yellow")), one_line(others), width=width)
    for note in found.notes:
        yield from beside_or_below(one_line(("note ", "bright_black")), one_line(note), width=width)


def _tested_lines(found: SolutionTest, *, width: int | None) -> list[Text]:
    columns = (Column("WHEN"), Column("NODE"), Column("IN", importance=1, note_keeps=30))
    rows = [
        Row(
            ["?" if one.at is None else local_time(one.at, "%m-%d %H:%M:%S"), visible(one.node), one.seen_in],
            one_line(one.line),
        )
        for one in found.lines
    ]
    return lay_out(columns, rows, width=width, note="LINE").lines


def _would(found: SolutionTest) -> Iterable[str | tuple[str, str]]:
    yield "it would have acted "
    yield (_times(found.would_run), "bold")
    if found.held_back:
        yield f"; {_times(found.held_back)} more, its limits would have held it back"


def _pattern_lines(found: SolutionTest, *, width: int | None) -> list[Text]:
    columns = (Column("LINES", align="right"), Column("MS/MB", align="right"))
    rows = [
        Row([str(one.matched), f"{one.ms_per_mb:.1f}" if found.read_bytes else "-"], one_line(one.pattern))
        for one in found.patterns
    ]
    return [Text(), *lay_out(columns, rows, width=width, note="PATTERN").lines]


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
