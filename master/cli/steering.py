"""``status`` and the commands that act on nodes, through the running master."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
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
from master.services.core.views import ActionResult, FleetStatus, NodeStatus
from master.terminal import (
    confirm,
    console,
    flow,
    history_text,
    is_troubled,
    lay_out_fleet,
    one_line,
    print_json,
    print_lines,
    reload_text,
    state_text,
    summary_lines,
    terminal_height,
    terminal_width,
    troubled_first,
)

P = TypeVar("P", bound=msgspec.Struct)

AllOption = Annotated[bool, typer.Option("--all", "-a", help="All nodes.")]
NodeArgument = Annotated[str, typer.Argument(help="Name of a node.", autocompletion=complete_nodes, show_default=False)]
ACTION_TIMEOUT_S = 180.0
ROLLING_TIMEOUT_S = 3600.0
RELOAD_TIMEOUT_S = 60.0


WideOption = Annotated[
    bool, typer.Option("--wide", "-w", help="All columns and whole notes, however wide the terminal is.")
]


def status(
    home: HomeOption = None,
    as_json: JsonOption = False,
    wide: WideOption = False,
    strays: Annotated[
        bool, typer.Option("--strays", help="Also show bots that run below BOTS_BASE_PATH without the master.")
    ] = False,
) -> None:
    """Show the fleet: nodes in trouble first, then by name."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, nodes.status, StatusParams(strays=strays), timeout_s=15.0)
        if as_json:
            print_json(found)
            return
        print_lines(status_lines(found, width=None if wide else terminal_width(), height=terminal_height()))
        if strays and not found.strays:
            console.print("no strays", style="bright_black")
        if found.strays:
            console.print("strays were started by hand: nothing isolates them", style="yellow")
        for stray in found.strays:
            line = one_line(("stray ", "yellow"), f"{stray.pid}  {stray.folder}  {stray.command}")
            console.print(line, soft_wrap=True)


def status_lines(found: FleetStatus, *, width: int | None, height: int | None = None) -> list[Text]:
    """Return what `fleet status` shows.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    height
        Lines of the terminal: of a longer table the first rows are gone from sight, and so named at its end.
    """
    summary = summary_lines(found, width=width)
    if not found.nodes:
        return [Text("no nodes yet: `fleet dup NAME` makes the first one"), *summary]
    table = lay_out_fleet(troubled_first(found.nodes), width=width)
    lines = [*table.lines, Text(), *summary]
    if table.hidden:
        hint = one_line(f"no room for {', '.join(table.hidden)}: --wide shows all", style="bright_black")
        lines += flow([hint], width=width)
    if height is not None and len(lines) >= height and (troubled := [n for n in found.nodes if is_troubled(n)]):
        lines.append(_in_trouble(troubled_first(troubled), width or 1000))
    return lines


def _in_trouble(troubled: list[NodeStatus], width: int) -> Text:
    """Return one line that names the nodes in trouble, as many as it has room for."""
    shown = 0
    line = one_line(f"{len(troubled)} in trouble, above", style="red")
    while shown < len(troubled):
        shown += 1
        left = len(troubled) - shown
        names = ", ".join(node.name for node in troubled[:shown])
        longer = one_line(f"in trouble: {names}", f" and {left} more" if left else "", style="red")
        if longer.cell_len > width:
            break
        line = longer
    return line


def start(
    names: NodesArgument = None, everyone: AllOption = False, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Start nodes, also out of backoff or quarantine."""
    act(nodes.start, names, everyone=everyone, home=home, as_json=as_json)


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
    act(nodes.stop, names, everyone=everyone, home=home, as_json=as_json)


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
    """Restart nodes gracefully; each resumes its session with Discord. With --all, stopped nodes stay stopped."""
    if rolling:
        chosen = chosen_of(names, everyone=everyone)
        params = RollParams(names=chosen, all=everyone, width=width)
        _stream(nodes.roll, params, home=home, as_json=as_json, timeout_s=ROLLING_TIMEOUT_S)
    else:
        act(nodes.restart, names, everyone=everyone, home=home, as_json=as_json)


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
    act(nodes.kill, names, everyone=everyone, home=home, as_json=as_json)


def release(
    names: NodesArgument = None, everyone: AllOption = False, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """End the backoff or quarantine of nodes."""
    act(nodes.release, names, everyone=everyone, home=home, as_json=as_json)


def clear(
    names: NodesArgument = None, everyone: AllOption = False, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Clear the flag of nodes, once you know what the refused message was."""
    act(nodes.clear, names, everyone=everyone, home=home, as_json=as_json)


def revoke(name: NodeArgument, home: HomeOption = None, as_json: JsonOption = False, yes: YesOption = False) -> None:
    """Revoke a node's licence and stop it; it starts no more until `fleet reinstate`."""
    confirm(f"Revoke the licence of {name}, and stop it?", yes=yes)
    _act_on_one(nodes.revoke, name, home=home, as_json=as_json)


def reinstate(name: NodeArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take a revocation back: the same licence is valid again. `fleet start` starts the node."""
    _act_on_one(nodes.reinstate, name, home=home, as_json=as_json)


def _act_on_one(
    operation: Operation[NodeParams, ActionResult, Any], name: str, *, home: Path | None, as_json: bool
) -> None:
    with reporting_errors(as_json=as_json):
        done = run_operation(home, operation, NodeParams(name=name), timeout_s=ACTION_TIMEOUT_S)
        if as_json:
            print_json(done)
        else:
            _show(done)
    if not done.ok:
        raise typer.Exit(failure_code(done.exit_code))


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


def chosen_of(names: list[str] | None, *, everyone: bool) -> tuple[str, ...]:
    """Return the names that were typed; none for all.

    Raises
    ------
    typer.BadParameter
        Neither names nor --all, or both.
    """
    if bool(names) == everyone:
        raise typer.BadParameter("name the nodes, or give --all")
    return tuple(names or ())


def act(
    operation: Operation[NamesParams, list[ActionResult], Any],
    names: list[str] | None,
    *,
    everyone: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    """Carry out an operation on nodes, and print each node's result as it arrives."""
    params = NamesParams(names=chosen_of(names, everyone=everyone), all=everyone)
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
    told = (f"  {result.detail}", "yellow") if result.ok and result.detail else ""
    console.print(one_line(mark, f"{result.node:<24} ", state_text(result.state), told))
    if not result.ok:
        console.print(one_line("  ", result.detail, (f"  ({result.hint})" if result.hint else "", "cyan")))
