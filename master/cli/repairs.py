"""``repairs``: what solutions did, and the answer to those that ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, complete_nodes, reporting_errors, run_operation
from master.cli.group import CommandGroup
from master.cli.moments import moment_of
from master.errors import ExitCode
from master.operations import repairs as operations
from master.operations.parameters import RepairDecideParams, RepairsParams
from master.services.core.solution_views import RepairView
from master.terminal import Column, Row, console, lay_out, local_time, one_line, print_json, print_lines, terminal_width
from master.wording import visible

DECIDE_TIMEOUT_S = 960.0
"""An action may take a quarter of an hour."""
SHOWN_ID = 10
"""Characters of an id: the millisecond in which it was made."""
_ROOMY = 100
_STYLES = {
    "helped": "green",
    "watching": "cyan",
    "running": "cyan",
    "did_not_help": "red",
    "failed": "red",
    "asked": "yellow",
    "interrupted": "yellow",
}
_COLUMNS = (
    Column("RUN"),
    Column("WHEN", 2),
    Column("NODE"),
    Column("SOLUTION", 1),
    Column("ACTION", 4, 20),
    Column("OUTCOME"),
)

repairs = typer.Typer(cls=CommandGroup, help="What solutions did about errors, and whether it helped.")
RunArgument = Annotated[str, typer.Argument(help="The repair's id, or how it begins.", show_default=False)]


@repairs.callback(invoke_without_command=True)
def listing(
    context: typer.Context,
    node: Annotated[
        str, typer.Option("--node", help="Only on this node; a removed one too.", autocompletion=complete_nodes)
    ] = "",
    solution: Annotated[str, typer.Option("--solution", help="Only by this solution.")] = "",
    since: Annotated[str, typer.Option("--since", help="How far back: 90s, 10m, 2h, 3d, or 2026-11-22T10:00.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="Rows.")] = 30,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what solutions did, newest first; with a command, answer one that asks."""
    if context.invoked_subcommand is not None:
        return
    with reporting_errors(as_json=as_json):
        params = RepairsParams(node=node, solution=solution, since=moment_of(since) if since else 0.0, limit=limit)
        rows = run_operation(home, operations.listing, params)
        if as_json:
            print_json(rows)
            return
        nothing = "nothing was repaired that is like this" if node or solution or since else "nothing was repaired yet"
        print_lines(repair_lines(rows, width=terminal_width()) if rows else [Text(nothing)])


@repairs.command("do")
def do(run: RunArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Carry out a repair that asks."""
    _decide(run, do=True, home=home, as_json=as_json)


@repairs.command("decline")
def decline(run: RunArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Decline a repair that asks; it is not asked again for a day."""
    _decide(run, do=False, home=home, as_json=as_json)


def _decide(run: str, *, do: bool, home: Path | None, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        params = RepairDecideParams(run=run[:26], do=do)
        done = run_operation(home, operations.decide, params, timeout_s=DECIDE_TIMEOUT_S)
        if as_json:
            print_json(done)
        else:
            console.print(decided_line(done), soft_wrap=True)
        if done.outcome in ("failed", "skipped"):
            raise typer.Exit(ExitCode.FAILED)


def decided_line(done: RepairView) -> Text:
    """Return one line that says what came of an answer."""
    words = f"{visible(done.node)}: {visible(done.action)} {done.outcome.replace('_', ' ')}"
    if done.outcome == "watching":
        words = f"{visible(done.node)}: {visible(done.detail)}; whether it helped is in `fleet repairs` later"
    elif done.detail:
        words = f"{words}: {visible(done.detail)}"
    return one_line((words, _STYLES.get(done.outcome, "")))


def repair_lines(rows: list[RepairView], *, width: int | None) -> list[Text]:
    """Return repairs as a table, newest first.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    """
    when = "%Y-%m-%d %H:%M:%S" if width is None or width >= _ROOMY else "%m-%d %H:%M"
    laid = []
    for row in rows:
        outcome = one_line((row.outcome.replace("_", " "), _STYLES.get(row.outcome, "")))
        cells: list[str | Text] = [
            visible(row.id[:SHOWN_ID]),
            local_time(row.at, when),
            visible(row.node),
            visible(row.solution),
            visible(row.action),
            outcome,
        ]
        laid.append(Row(cells, one_line(_note(row))))
    table = lay_out(_COLUMNS, laid, width=width)
    asked = [row for row in rows if row.outcome == "asked"]
    lines = table.lines
    if asked:
        hint = f"{len(asked)} ask{'s' if len(asked) == 1 else ''}: fleet repairs do {asked[0].id[:SHOWN_ID]}"
        lines += [Text(), one_line((hint, "yellow"))]
    return lines


def _note(row: RepairView) -> str:
    ready = f"ready after {row.ready_ms / 1000:.1f} s" if row.ready_ms is not None else ""
    return "; ".join(filter(None, (row.detail or row.line, ready)))
