"""``fleet cogs``: the parts of the master that serve Discord, each of which is loaded by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, reporting_errors, run_operation
from master.cli.group import CommandGroup
from master.operations import cogs as operations
from master.operations.parameters import CogParams, NoParams
from master.services.core.cog_views import CogState, CogView
from master.terminal import console, one_line, print_json, print_lines, terminal_width
from master.terminal.cogs import cog_lines
from master.wording import visible

TIMEOUT_S = 60.0
"""Discord may be slow to take the changed commands."""

cogs = typer.Typer(cls=CommandGroup, help="The parts of the master that serve Discord: each is loaded by itself.")
CogArgument = Annotated[str, typer.Argument(metavar="COG", help="As `fleet cogs` lists it.", show_default=False)]


@cogs.callback(invoke_without_command=True)
def listing(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the master's cogs, those in trouble first; with a command, act on one."""
    if context.invoked_subcommand is not None:
        return
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.listing, NoParams())
        if as_json:
            print_json(found)
        else:
            nothing = [Text("this master has no MASTER_TOKEN, so it serves no Discord")]
            print_lines(cog_lines(found, width=terminal_width()) if found else nothing)


@cogs.command("reload")
def reload(cog: CogArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Load a cog's code anew, or try one again that failed. If the new one is broken, the old one runs on."""
    _act(home, operations.reload, cog, as_json=as_json)


@cogs.command("disable")
def disable(cog: CogArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Switch a cog off: Discord shows its commands no more, also after a restart. `enable` takes it back."""
    _act(home, operations.disable, cog, as_json=as_json)


@cogs.command("enable")
def enable(cog: CogArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Switch a cog on again."""
    _act(home, operations.enable, cog, as_json=as_json)


def _act(home: Path | None, operation: Any, name: str, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        done: CogView = run_operation(home, operation, CogParams(name[:40]), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(done)
            return
        console.print(one_line(f"the cog {visible(done.name)} is {_WORDS[done.state]}"), soft_wrap=True)


_WORDS = {
    CogState.LOADED: "loaded",
    CogState.LOADING: "being loaded",
    CogState.FAILED: "not loaded, and tried again",
    CogState.DISABLED: "disabled, until `fleet cogs enable` switches it on",
    CogState.WAITING: "loaded once the master is logged in to Discord",
}
