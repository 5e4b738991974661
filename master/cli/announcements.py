"""``fleet announce`` and ``fleet announcements``: one message to several places."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, reporting_errors, run_operation
from master.cli.group import CommandGroup
from master.cli.moments import coming_moment_of
from master.errors import ExitCode
from master.operations import announcements as operations
from master.operations.announcement_parameters import (
    AnnouncementParams,
    AnnouncementsParams,
    AnnounceParams,
    ResendParams,
)
from master.operations.parameters import NoParams
from master.services.core.announcement_views import AnnouncementRow
from master.terminal import print_json, print_lines, terminal_width
from master.terminal.announcements import announcement_lines, details_lines, place_lines, preview_lines, result_lines

TIMEOUT_S = 90.0
"""Places may be slow; the first round of all of them is waited for."""

announcements = typer.Typer(cls=CommandGroup, help="What was announced where, and what is to be.")
AnnouncementArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Of `fleet announcements`, or how it begins.", show_default=False)
]
ToOption = Annotated[str, typer.Option("--to", metavar="PLACES", help="Places of ANNOUNCE, with commas between.")]


def announce(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is announced; `-` reads it from standard input.")],
    to: ToOption = "",
    everywhere: Annotated[bool, typer.Option("--all", help="To every place that config.py names.")] = False,
    title: Annotated[str, typer.Option("--title", help="Its title, or first line where there are none.")] = "",
    at: Annotated[str, typer.Option("--at", metavar="WHEN", help="18:00, 2026-12-24T18:00, or in 2h.")] = "",
    every: Annotated[str, typer.Option("--every", metavar="CRON", help="Again and again: '0 18 * * 5'.")] = "",
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what each place would get, and send nothing.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send one message to several places. Fails if it is not everywhere at once; what failed is tried again."""
    with reporting_errors(as_json=as_json):
        parameters = AnnounceParams(
            text=(sys.stdin.read(20_001) if text == "-" else text)[:20_000],
            title=title[:400],
            places=_names(to),
            all=everywhere,
            at=coming_moment_of(at, "--at") if at else 0.0,
            every=every[:120],
        )
        if preview:
            shown = run_operation(home, operations.preview, parameters, timeout_s=TIMEOUT_S)
            if as_json:
                print_json(shown)
            else:
                print_lines(preview_lines(shown))
            return
        _report(run_operation(home, operations.announce, parameters, timeout_s=TIMEOUT_S), as_json=as_json)


def _names(words: str) -> tuple[str, ...]:
    return tuple(word.strip()[:40] for word in words.split(",") if word.strip())[:100]


def _report(row: AnnouncementRow, *, as_json: bool) -> None:
    """Show what became of an announcement; fails unless it is everywhere, or waits for its time."""
    if as_json:
        print_json(row)
    else:
        print_lines(result_lines(row))
    if row.state not in ("sent", "scheduled", "cancelled"):
        raise typer.Exit(ExitCode.FAILED)


@announcements.callback(invoke_without_command=True)
def listing(
    context: typer.Context,
    scheduled: Annotated[bool, typer.Option("--scheduled", help="Only those that wait for their time.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="Rows.")] = 30,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show announcements, newest first; with a command, act on one."""
    if context.invoked_subcommand is not None:
        return
    _list(home, AnnouncementsParams(scheduled=scheduled, limit=limit), as_json=as_json)


@announcements.command("list")
def list_(
    scheduled: Annotated[bool, typer.Option("--scheduled", help="Only those that wait for their time.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="Rows.")] = 30,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show announcements, newest first."""
    _list(home, AnnouncementsParams(scheduled=scheduled, limit=limit), as_json=as_json)


def _list(home: Path | None, parameters: AnnouncementsParams, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        rows = run_operation(home, operations.listing, parameters)
        if as_json:
            print_json(rows)
            return
        nothing = [Text("nothing is scheduled" if parameters.scheduled else "nothing was announced yet")]
        print_lines(announcement_lines(rows, width=terminal_width()) if rows else nothing)


@announcements.command("show")
def show(announcement: AnnouncementArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show an announcement, and what became of it at each place."""
    with reporting_errors(as_json=as_json):
        row = run_operation(home, operations.show, AnnouncementParams(announcement=announcement[:26]))
        if as_json:
            print_json(row)
        else:
            print_lines(details_lines(row))


@announcements.command("places")
def places(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the places of ANNOUNCE, and how much each takes; fails if one cannot be sent to."""
    with reporting_errors(as_json=as_json):
        rows = run_operation(home, operations.places, NoParams(), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(rows)
        else:
            nothing = [Text("ANNOUNCE in config.py names no places; docs/announcements.md says how")]
            print_lines(place_lines(rows, width=terminal_width()) if rows else nothing)
        if any(row.problem for row in rows):
            raise typer.Exit(ExitCode.FAILED)


@announcements.command("cancel")
def cancel(announcement: AnnouncementArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Cancel an announcement that waits, or stop trying where it did not arrive."""
    with reporting_errors(as_json=as_json):
        row = run_operation(home, operations.cancel, AnnouncementParams(announcement=announcement[:26]))
        if as_json:
            print_json(row)
        else:
            print_lines([Text(f"{row.id} is cancelled")])


@announcements.command("resend")
def resend(
    announcement: AnnouncementArgument, to: ToOption = "", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Send an announcement again where it was given up, or to the places that you name."""
    with reporting_errors(as_json=as_json):
        parameters = ResendParams(announcement=announcement[:26], places=_names(to))
        _report(run_operation(home, operations.resend, parameters, timeout_s=TIMEOUT_S), as_json=as_json)
