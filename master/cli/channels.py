"""``fleet channels``: the server's channels as they are wanted, what differs, and what was done about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, YesOption, reporting_errors, run_operation, settings_of
from master.cli.group import CommandGroup
from master.durable import replace_file
from master.errors import ExitCode
from master.operations import channels as operations
from master.operations.parameters import (
    ChannelsCaptureParams,
    ChannelsHistoryParams,
    ChannelsRepairParams,
    ChannelsUndoParams,
    NoParams,
)
from master.services.core.channel_views import ChannelRepairRow
from master.services.core.errors import FilesFailed
from master.terminal import confirm, console, one_line, print_json, print_lines, terminal_width
from master.terminal.channels import channel_lines, drift_lines, repair_lines
from master.wording import visible

TIMEOUT_S = 900.0
"""Discord takes five channels a second, and fewer for longer."""

channels = typer.Typer(cls=CommandGroup, help="The server's channels: what differs, and putting it right.")
KeysArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY...", help="Of `fleet channels`; none: all.", show_default=False)
]


@channels.callback(invoke_without_command=True)
def listing(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the channels that the fleet wants; with a command, act on them."""
    if context.invoked_subcommand is None:
        _list(home, as_json=as_json)


@channels.command("list")
def list_all(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the channels that the fleet wants, and how they are."""
    _list(home, as_json=as_json)


def _list(home: Path | None, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        view = run_operation(home, operations.listing, NoParams(), timeout_s=60.0)
        if as_json:
            print_json(view)
        else:
            print_lines(channel_lines(view, width=terminal_width()))


@channels.command("diff")
def diff(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what differs, and what would be done; changes nothing. Fails if something differs."""
    with reporting_errors(as_json=as_json):
        rows = run_operation(home, operations.diff, NoParams(), timeout_s=60.0)
        if as_json:
            print_json(rows)
        else:
            print_lines(drift_lines(rows) if rows else [Text("all channels are as they are wanted")])
        if rows:
            raise typer.Exit(ExitCode.FAILED)


@channels.command("repair")
def repair(
    keys: KeysArgument = None, home: HomeOption = None, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Put channels right, the smallest change first shown; asks."""
    with reporting_errors(as_json=as_json):
        wanted = tuple(key[:100] for key in keys or ())
        if not yes:
            rows = run_operation(home, operations.diff, NoParams(), timeout_s=60.0)
            shown = [row for row in rows if (row.key in wanted if wanted else row.state != "left")]
            if not shown:
                console.print(Text("nothing to do: all channels are as they are wanted, or left as they are"))
                return
            print_lines(drift_lines(shown))
            confirm("Do this?", yes=False)
        done = run_operation(home, operations.repair, ChannelsRepairParams(keys=wanted), timeout_s=TIMEOUT_S)
        _show(done, as_json=as_json, nothing="nothing was to be done")
        if any(row.state == "failed" for row in done):
            raise typer.Exit(ExitCode.FAILED)


@channels.command("capture")
def capture(
    category: Annotated[
        list[str] | None, typer.Option("--category", help="Only this category; again for more.", show_default=False)
    ] = None,
    home: HomeOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write channels.toml from the server as it is; shows it, asks, and overwrites none unasked."""
    with reporting_errors(as_json=as_json):
        found = run_operation(
            home, operations.capture, ChannelsCaptureParams(categories=tuple(category or ())), timeout_s=60.0
        )
        path = settings_of(home).channels_path
        if as_json and not yes:
            print_json(found)
            return
        if not as_json:
            print_lines([Text(line) for line in found.text.split("\n")])
        over = f"Overwrite {visible(str(path))}" if path.exists() else f"Write {visible(str(path))}"
        confirm(f"{over}, with {found.categories} categories and {found.channels} channels?", yes=yes)
        _write(path, found.text)
        if as_json:
            print_json(found)
        else:
            console.print(one_line("written; `fleet channels diff` shows what it wants of the server"), soft_wrap=True)


@channels.command("init")
def init(home: HomeOption = None, yes: YesOption = False) -> None:
    """Write channels.toml for an empty server: its whole hierarchy, which the master then makes. Overwrites none."""
    # Imported here: no other command needs it.
    from master.services.channels.tree_file import BUILT_IN

    with reporting_errors():
        path = settings_of(home).channels_path
        if path.exists():
            raise FilesFailed(f"{path} is there already", hint="edit it, or move it away first")
        print_lines([Text(line) for line in BUILT_IN.split("\n")])
        confirm(f"Write {visible(str(path))}?", yes=yes)
        _write(path, BUILT_IN)
        words = "written; `fleet channels diff` shows what would be made, `fleet channels repair` makes it"
        console.print(one_line(words), soft_wrap=True)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all; what the operator wrote by hand is kept beside it."""
    try:
        if path.exists():
            replace_file(path.with_suffix(".toml.before"), path.read_bytes())
        replace_file(path, text.encode())
    except OSError as error:
        raise FilesFailed(f"{path} cannot be written: {error.strerror}") from error


@channels.command("history")
def history(
    key: Annotated[str, typer.Option("--key", help="Only of this channel.")] = "",
    by: Annotated[int | None, typer.Option("--by", help="Only what this user did; an id.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="Rows.")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was repaired, who had changed it, and what came of it; newest first."""
    with reporting_errors(as_json=as_json):
        rows = run_operation(home, operations.history, ChannelsHistoryParams(key=key[:100], by=by, limit=limit))
        _show(rows, as_json=as_json, nothing="nothing was ever put right")


@channels.command("undo")
def undo(
    repair_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="Of `fleet channels history`, or how it begins.", show_default=False)
    ] = "",
    by: Annotated[
        int | None, typer.Option("--by", help="Instead: what this user did; an id.", show_default=False)
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, max=1_440, help="How far back, with --by.")] = 10.0,
    home: HomeOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a repair back; or, with --by, what somebody did to the fleet's channels lately. Asks."""
    if bool(repair_id) == (by is not None):
        raise typer.BadParameter("name the ID of a repair, or --by USER")
    with reporting_errors(as_json=as_json):
        if by is None:
            question = (
                f"Take repair {visible(repair_id)} back? A channel that it made anew is deleted with its messages."
            )
        else:
            question = f"Put right what {by} did to the fleet's channels in the last {minutes:g} min?"
        confirm(question, yes=yes)
        params = ChannelsUndoParams(repair=repair_id[:53], by=by, minutes=minutes)
        done = run_operation(home, operations.undo, params, timeout_s=TIMEOUT_S)
        _show(done, as_json=as_json, nothing="nothing was to be done")


def _show(rows: list[ChannelRepairRow], *, as_json: bool, nothing: str) -> None:
    if as_json:
        print_json(rows)
    else:
        print_lines(repair_lines(rows, width=terminal_width()) if rows else [Text(nothing)])
