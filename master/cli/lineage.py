"""``lineage``: how a node came to be what it is, and back to what it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, YesOption, complete_nodes, reporting_errors, run_operation
from master.errors import ExitCode
from master.operations import lineage as operations
from master.operations.parameters import LineageRestoreParams, NodeParams
from master.services.core.lineage_views import GenerationView, LineageView, RestoredView
from master.terminal import confirm, local_time, one_line, print_json
from master.terminal.columns import Column, Row, lay_out
from master.terminal.output import print_lines, terminal_width
from master.wording import visible

RESTORE_TIMEOUT_S = 120.0
_COLUMNS = (Column("GEN", align="right"), Column("WHEN"), Column("CAUSE"), Column("RELEASE", 1, align="right"))
_STYLES = {"patched": "green", "rolled_back": "yellow", "edited": "magenta", "restored": "cyan"}
_NAMED, _ROOMY = 3, 100


def lineage(
    name: Annotated[str, typer.Argument(help="Name of a node.", autocompletion=complete_nodes, show_default=False)],
    restore: Annotated[
        int | None,
        typer.Option("--restore", metavar="GENERATION", min=1, help="Put back what the node was then, and restart it."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Show how a node came to be what it is: clone, patches, rollbacks, edits; or go back to one of them."""
    with reporting_errors(as_json=as_json):
        if restore is not None:
            confirm(f"put back generation {restore} of {name}, and restart it?", yes=yes or as_json)
            params = LineageRestoreParams(name=name, generation=restore)
            done = run_operation(home, operations.restore, params, timeout_s=RESTORE_TIMEOUT_S)
            print_json(done) if as_json else print_lines(restored_lines(done))
            return
        found = run_operation(home, operations.lineage, NodeParams(name=name))
        if as_json:
            print_json(found)
        else:
            print_lines(lineage_lines(found, width=terminal_width()))
        if found.missing or any(one.signature != "holds" for one in found.generations):
            raise typer.Exit(ExitCode.FAILED)


def lineage_lines(found: LineageView, *, width: int | None) -> Iterator[Text]:
    """Render how a node came to be what it is, the oldest first.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    """
    if not found.generations:
        yield one_line(f"nothing is noted of {found.node} yet: the master does so while it runs")
        return
    yield from _head(found)
    when = "%Y-%m-%d %H:%M:%S" if width is None or width >= _ROOMY else "%m-%d %H:%M"
    rows = []
    for one in found.generations:
        cause = one_line((one.cause.replace("_", " "), _STYLES.get(one.cause, "")))
        release = str(one.release) if one.release else "-"
        cells: list[str | Text] = [str(one.generation), local_time(one.at, when), cause, release]
        rows.append(Row(cells, _what(one)))
    yield from lay_out(_COLUMNS, rows, width=width, note="WHAT").lines
    for one in found.generations:
        if one.trouble:
            yield one_line((f"generation {one.generation}: signature does not hold: {one.trouble}", "bold red"))
    if found.missing:
        numbers = ", ".join(str(number) for number in found.missing)
        yield one_line((f"missing: generation {numbers}; somebody removed it from the ledger", "bold red"))


def _head(found: LineageView) -> Iterator[Text]:
    bad = sum(one.signature != "holds" for one in found.generations)
    count = len(found.generations)
    many = "1 generation" if count == 1 else f"{count} generations"
    holds = (f"{bad} of {many} not as signed", "bold red") if bad else f"{many}, each signature holds"
    yield one_line((found.node, "bold"), "  ", holds)
    for depth, ancestor in enumerate(found.ancestors):
        yield one_line((f"{'  ' * depth}from {visible(ancestor)}", "bright_black"))


def _what(one: GenerationView) -> Text:
    parts = [one.what] if one.what and one.cause != "edited" else []
    if one.changed:
        parts.append(_changed(one.changed))
    if one.detail:
        parts.append(one.detail)
    if one.actor:
        parts.append(f"by {one.actor}")
    return one_line((visible("; ".join(parts)), "bold red" if one.trouble else ""))


def _changed(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{' '.join(paths[:_NAMED])}{more}"


def restored_lines(done: RestoredView) -> Iterator[Text]:
    """Render that a generation is in force again."""
    restarted = "; it restarts" if done.restarted else ""
    yield one_line(
        (f"{done.node}: generation {done.restored} is in force again", "green"),
        f" (release {done.release}, now generation {done.generation}){restarted}",
    )
    if done.differs:
        yield one_line((f"not as it was then: {_changed(done.differs)}; no release has kept that", "yellow"))
