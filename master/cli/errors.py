"""``errors``: what went wrong on any node, an entry for each kind of error; also without a master."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, complete_nodes, reporting_errors, run_operation
from master.cli.group import CommandGroup
from master.cli.moments import moment_of
from master.operations import errors as operations
from master.operations.operation import Operation
from master.operations.parameters import ErrorMuteParams, ErrorParams, ErrorsParams
from master.services.core.error_views import ErrorDetail, ErrorGroupView
from master.terminal import (
    Column,
    Row,
    console,
    lay_out,
    one_line,
    print_json,
    print_lines,
    terminal_width,
)
from master.wording import moment, visible

TIMEOUT_S = 20.0
SHORT = 8
"""As many digits of a fingerprint are shown; the whole is in JSON and in ``show``."""
_SHOWN_NODES = 2
_LABEL, _NARROWEST = 11, 40
_FOR = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_STYLES = {"new": "red", "regressed": "red", "known": "yellow", "resolved": "green", "muted": "bright_black"}

errors = typer.Typer(cls=CommandGroup, help="What went wrong, an entry for each kind of error.", no_args_is_help=True)

State = Literal["", "new", "known", "regressed", "resolved", "muted"]
FingerprintArgument = Annotated[
    str, typer.Argument(help="Its fingerprint, or the beginning of it.", metavar="FINGERPRINT", show_default=False)
]


@errors.command("list")
def list_errors(
    node: Annotated[
        str, typer.Option("--node", help="Only what was seen on this node.", autocompletion=complete_nodes)
    ] = "",
    state: Annotated[str, typer.Option("--state", help="Only these: new, known, regressed, resolved or muted.")] = "",
    since: Annotated[str, typer.Option("--since", help="Only what was seen since: 10m, 2h, 3d, 2026-11-22.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=5_000, help="Errors.")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the errors of the fleet, those that were seen last at the top."""
    with reporting_errors(as_json=as_json):
        params = ErrorsParams(node=node, state=_state_of(state), since=moment_of(since) if since else 0.0, limit=limit)
        found = run_operation(home, operations.listing, params, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
        elif found:
            print_lines(list_lines(found, width=terminal_width()))
        else:
            filtered = " that is like this" if node or state or since else ""
            console.print(one_line(f"no error was seen{filtered}"))


def _state_of(typed: str) -> State:
    for state in ("", *_STYLES):
        if typed.strip().lower() == state:
            return state  # type: ignore[return-value]
    raise typer.BadParameter(f"{typed!r} is no state: new, known, regressed, resolved or muted", param_hint="--state")


def list_lines(found: Sequence[ErrorGroupView], *, width: int | None) -> list[Text]:
    """Return groups of errors as a table.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    """
    columns = [
        Column("STATE"),
        Column("ERROR"),
        Column("COUNT", align="right"),
        Column("LAST SEEN", 1, 24),
        Column("NODES", 2, 24),
    ]
    rows = [
        Row(
            [
                Text(group.state, style=_STYLES.get(group.state, "")),
                visible(group.fingerprint[:SHORT]),
                str(group.count),
                moment(group.last_at),
                _names(group, _SHOWN_NODES) or "-",
            ],
            one_line(group.title),
        )
        for group in found
    ]
    return lay_out(columns, rows, width=width, note="WHAT").lines


def _names(group: ErrorGroupView, most: int) -> str:
    names = [visible(one.node) for one in group.nodes]
    more = f" +{len(names) - most}" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


@errors.command("show")
def show_error(fingerprint: FingerprintArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show an error: where it was seen and how often, the lines before, the traceback, the solutions that know it."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.show, ErrorParams(fingerprint), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
            return
        for line in detail_lines(found, width=console.width):
            console.print(line, soft_wrap=True)


def detail_lines(found: ErrorDetail, *, width: int) -> Iterator[Text]:
    """Render an error, a line at a time; what the node wrote is not wrapped."""
    group = found.group
    yield from _fact("error", group.title, width=width, style="bold")
    yield from _fact("state", state_text(group), width=width, style=_STYLES.get(group.state, ""))
    yield from _fact("fingerprint", group.fingerprint, width=width)
    times = "once" if group.count == 1 else f"{group.count} times"
    first = "" if group.count == 1 else f", first {moment(group.first_at)}"
    yield from _fact("seen", f"{times}{first}, last {moment(group.last_at)}", width=width)
    nodes = ", ".join(f"{one.node} ({one.count})" for one in group.nodes)
    yield from _fact("nodes", nodes or "none that is on record", width=width)
    known = ", ".join(found.solutions)
    if known:
        known += f"; `fleet solutions show {found.solutions[0]}` has advice"
    draft = f"none; `fleet solutions draft {group.fingerprint[:SHORT]}` proposes one"
    yield from _fact("solutions", known or draft, width=width, style="" if known else "bright_black")
    for line in found.lines_before:
        yield one_line((f"  {line}", "bright_black"))
    for line in found.text.splitlines():
        yield one_line(f"  {line}")


def state_text(group: ErrorGroupView) -> str:
    """Return the state of a group in words."""
    by = f" by {group.changed_by}" if group.changed_by else ""
    if group.state == "muted":
        until = "for good" if group.muted_until is None else f"until {moment(group.muted_until)}"
        return f"muted {until}{by}"
    if group.state == "resolved" and not group.changed_by:
        return "resolved: it was not seen for a month"
    at = "" if group.changed_at is None else f" {moment(group.changed_at)}"
    return f"{group.state}{by}{at}" if group.state in ("resolved", "regressed") else group.state


def _fact(label: str, text: str, *, width: int, style: str = "") -> Iterator[Text]:
    room = max(width - _LABEL - 1, _NARROWEST)
    wrapped = textwrap.wrap(visible(text), room, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(wrapped or [""]):
        yield one_line((f"{'' if number else label:<{_LABEL}} ", "bright_black"), (line, style))


@errors.command("mute")
def mute_error(
    fingerprint: FingerprintArgument,
    duration: Annotated[
        str, typer.Option("--for", help="For how long: 30m, 1h, 2d, 1w.", show_default="for good")
    ] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell nothing of an error for a while, or for good; it is still counted."""
    for_s = _seconds_of(duration) if duration else 0.0
    _change(operations.mute, ErrorMuteParams(fingerprint, for_s), home, as_json=as_json)


@errors.command("unmute")
def unmute_error(fingerprint: FingerprintArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Tell of an error again that was muted."""
    _change(operations.unmute, ErrorParams(fingerprint), home, as_json=as_json)


@errors.command("resolve")
def resolve_error(fingerprint: FingerprintArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take an error for mended: the next time that it is seen is told."""
    _change(operations.resolve, ErrorParams(fingerprint), home, as_json=as_json)


def _seconds_of(typed: str) -> float:
    found = _FOR.fullmatch(typed.strip().lower())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 1 <= seconds <= 315_360_000:
        raise typer.BadParameter(f"{typed!r} is no duration: type 30m, 1h, 2d or 1w", param_hint="--for")
    return seconds


def _change(operation: Operation[Any, ErrorGroupView, Any], params: Any, home: Any, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        group = run_operation(home, operation, params, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(group)
            return
        said = one_line(("✓ ", "green"), f"{group.fingerprint[:SHORT]} is {state_text(group)}: {group.title}")
        console.print(said, soft_wrap=True)
