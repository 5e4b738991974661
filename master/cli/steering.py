"""``status``, ``top`` and the commands that act on nodes, through the running master."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from master.cli.context import (
    HomeOption,
    JsonOption,
    NodesArgument,
    YesOption,
    client_of,
    complete_nodes,
    reporting_errors,
    run_operation,
)
from master.control.client import failure_code
from master.operations import kernel, nodes
from master.operations.operation import Operation
from master.operations.parameters import NamesParams, NodeParams, NoParams, RollParams, ShutdownParams, StatusParams
from master.services.core.views import ActionResult, FleetStatus
from master.terminal import (
    confirm,
    console,
    fleet_table,
    history_text,
    is_terminal,
    one_line,
    print_json,
    reload_text,
    state_text,
    summary_line,
)

P = TypeVar("P", bound=msgspec.Struct)

AllOption = Annotated[bool, typer.Option("--all", "-a", help="All nodes.")]
NodeArgument = Annotated[str, typer.Argument(help="Name of a node.", autocompletion=complete_nodes, show_default=False)]
ACTION_TIMEOUT_S = 180.0
ROLLING_TIMEOUT_S = 3600.0
RELOAD_TIMEOUT_S = 60.0


def status(
    home: HomeOption = None,
    as_json: JsonOption = False,
    strays: Annotated[
        bool, typer.Option("--strays", help="Also show bots that run below BOTS_BASE_PATH without the master.")
    ] = False,
) -> None:
    """Show the fleet."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, nodes.status, StatusParams(strays=strays), timeout_s=15.0)
        if as_json:
            print_json(found)
            return
        console.print(_screen(found))
        if strays and not found.strays:
            console.print("no strays", style="bright_black")
        if found.strays:
            console.print("strays were started by hand: nothing isolates them", style="yellow")
        for stray in found.strays:
            console.print(one_line(("stray ", "yellow"), f"{stray.pid}  {stray.folder}  {stray.command}"))


def _screen(found: FleetStatus) -> Group:
    if not found.nodes:
        return Group(Text("no nodes yet: `fleet dup NAME` makes the first one"), summary_line(found))
    return Group(fleet_table(found.nodes, width=console.width), Text(), summary_line(found))


def top(
    home: HomeOption = None,
    interval: Annotated[float, typer.Option(min=0.2, max=60.0, help="Seconds between updates.")] = 1.0,
) -> None:
    """Watch the fleet live; Ctrl-C leaves."""
    with reporting_errors():
        client = client_of(home)
        found = client.run(nodes.status, StatusParams(), timeout_s=15.0)
        if not is_terminal():
            console.print(_screen(found))
            return
        with Live(_screen(found), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                found = client.run(nodes.status, StatusParams(), timeout_s=15.0)
                live.update(_screen(found), refresh=True)


def start(
    names: NodesArgument = None, everyone: AllOption = False, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Start nodes, also out of backoff or quarantine."""
    _act(nodes.start, names, everyone=everyone, home=home, as_json=as_json)


def stop(
    names: NodesArgument = None,
    everyone: AllOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Stop nodes; they stay stopped, over a reboot too."""
    if everyone:
        confirm("Stop every node?", yes=yes)
    _act(nodes.stop, names, everyone=everyone, home=home, as_json=as_json)


def restart(
    names: NodesArgument = None,
    everyone: AllOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="A few at a time; halt on the first that does not come back ready.")
    ] = False,
    width: Annotated[int, typer.Option(min=1, max=100, help="With --rolling: how many at a time.")] = 2,
) -> None:
    """Restart nodes gracefully; each resumes its predecessor's session with Discord."""
    if rolling:
        chosen = _chosen(names, everyone=everyone)
        params = RollParams(names=chosen, all=everyone, width=width)
        _stream(nodes.roll, params, home=home, as_json=as_json, timeout_s=ROLLING_TIMEOUT_S)
    else:
        _act(nodes.restart, names, everyone=everyone, home=home, as_json=as_json)


def kill(
    names: NodesArgument = None,
    everyone: AllOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Kill nodes and all that they started, at once (SIGKILL); they stay stopped."""
    what = "every node" if everyone else ", ".join(names or [])
    if what:
        confirm(f"Kill {what}?", yes=yes)
    _act(nodes.kill, names, everyone=everyone, home=home, as_json=as_json)


def release(
    names: NodesArgument = None, everyone: AllOption = False, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """End the backoff or quarantine of nodes."""
    _act(nodes.release, names, everyone=everyone, home=home, as_json=as_json)


def clear(
    names: NodesArgument = None, everyone: AllOption = False, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Clear the flag of nodes, once you know what the refused message was."""
    _act(nodes.clear, names, everyone=everyone, home=home, as_json=as_json)


def shutdown(
    home: HomeOption = None,
    yes: YesOption = False,
    keep_nodes: Annotated[
        bool, typer.Option("--keep-nodes", help="Let the nodes run on; the next master takes them back.")
    ] = False,
) -> None:
    """End the master, and its nodes unless they are kept."""
    with reporting_errors():
        if not keep_nodes:
            confirm("End the master and all of its nodes?", yes=yes)
        run_operation(home, kernel.shutdown, ShutdownParams(stop_nodes=not keep_nodes), timeout_s=15.0)
        console.print("the master is ending" + (", its nodes run on" if keep_nodes else ""))


def reload(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Apply a changed config.py and .env to the running master; says what took effect, and what needs a restart."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, kernel.reload, NoParams(), timeout_s=RELOAD_TIMEOUT_S)
        if as_json:
            print_json(found)
            return
        console.print(reload_text(found))


def history(
    name: NodeArgument,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a node used in the last five minutes, the last day and the last week."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, nodes.history, NodeParams(name=name), timeout_s=15.0)
        if as_json:
            print_json(found)
            return
        console.print(history_text(found, width=console.width))


def _chosen(names: list[str] | None, *, everyone: bool) -> tuple[str, ...]:
    if bool(names) == everyone:
        raise typer.BadParameter("name the nodes, or give --all")
    return tuple(names or ())


def _act(
    operation: Operation[NamesParams, list[ActionResult], Any],
    names: list[str] | None,
    *,
    everyone: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    params = NamesParams(names=_chosen(names, everyone=everyone), all=everyone)
    _stream(operation, params, home=home, as_json=as_json, timeout_s=ACTION_TIMEOUT_S)


def _stream(
    operation: Operation[P, list[ActionResult], Any], params: P, *, home: Path | None, as_json: bool, timeout_s: float
) -> None:
    """Print each node's result as it arrives; the exit code is that of the first failure."""
    with reporting_errors(as_json=as_json):

        def show(result: ActionResult) -> None:
            if not as_json:
                _show(result)

        results = client_of(home).follow(operation, params, event=ActionResult, on_event=show, timeout_s=timeout_s)
        if as_json:
            print_json(results)
        elif not results:
            console.print("there are no nodes: nothing was done", style="bright_black")
    failed = [result for result in results if not result.ok]
    if failed:
        raise typer.Exit(failure_code(failed[0].exit_code))


def _show(result: ActionResult) -> None:
    mark = Text("✓ ", style="green") if result.ok else Text("✗ ", style="red")
    console.print(one_line(mark, f"{result.node:<24} ", state_text(result.state)))
    if not result.ok:
        console.print(one_line("  ", result.detail, (f"  ({result.hint})" if result.hint else "", "cyan")))
