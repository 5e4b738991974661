"""``fleet patch deploy`` and what steers a roll-out; :mod:`master.cli.patches` mounts it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import structs

from handshake.patch_document import SUFFIX
from master.cli.context import (
    HomeOption,
    JsonOption,
    YesOption,
    client_of,
    complete_nodes,
    reporting_errors,
    run_operation,
)
from master.cli.patch_following import follow
from master.errors import FleetError
from master.operations import patches as operations
from master.operations.operation import Operation
from master.operations.parameters import (
    PatchDeployParams,
    PatchesParams,
    PatchParams,
    PatchReceiveParams,
    PatchStopParams,
)
from master.services.core.patch_views import PatchDetails, PatchPlanView, PatchView
from master.terminal import confirm, console, one_line, print_json, print_lines, terminal_width
from master.terminal.patches import (
    changes_text,
    details_lines,
    history_lines,
    next_line,
    patch_state_text,
    plan_text,
    status_lines,
)
from master.wording import visible

ROLLOUTS = "Roll-outs"
TIMEOUT_S = 60.0
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_MOST_SOAK_S = 604_800


def complete_patches(incomplete: str) -> list[tuple[str, str]]:
    """Complete a patch's id, or its name; without a master that answers quickly there are no completions."""
    try:
        found = client_of(None).run(operations.listing, PatchesParams(), timeout_s=1.0)
    except FleetError:
        return []
    offered = [(view.name, f"{view.label}, {view.state}") for view in reversed(found.patches)]
    offered += [(view.id, f"{view.label}, {view.state}") for view in found.patches]
    # Of a name the newest is meant.
    return [one for one in dict(offered).items() if one[0].casefold().startswith(incomplete.casefold())]


PatchArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATCH",
        help="A patch: ranks (the newest of that name), ranks 4, or its id, of which the beginning is enough.",
        autocompletion=complete_patches,
        show_default=False,
    ),
]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, for the audit log and for those who look.")]
WideOption = Annotated[bool, typer.Option("--wide", "-w", help="All columns, however wide the terminal is.")]


def deploy(
    patch: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|PATCH",
            help=f"A signed bundle (NAME-VERSION{SUFFIX}), or a patch that was accepted already.",
            autocompletion=complete_patches,
            show_default=False,
        ),
    ],
    canary: Annotated[
        int | None, typer.Option("--canary", min=0, max=100, help="Nodes that get it first; 0: none.")
    ] = None,
    soak: Annotated[
        str, typer.Option("--soak", help="How long each wave is watched: 90s, 5m, 1h; 0: not at all.")
    ] = "",
    urgent: Annotated[
        bool,
        typer.Option("--urgent", help="All nodes at once, for a fleet that is broken already; asks."),
    ] = False,
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Only this node. Several times.", autocompletion=complete_nodes)
    ] = None,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay until it is over; Ctrl-C leaves it running.")
    ] = False,
    home: HomeOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Roll a patch out: canary, then waves, each watched; what is bad goes back by itself."""
    soak_s = _seconds_of(soak) if soak else None
    with reporting_errors(as_json=as_json):
        found = _accepted(patch, home)
        if not as_json:
            plan = _planned(found.plan, canary=canary, soak_s=soak_s, urgent=urgent)
            _show_plan(found, plan)
        if urgent:
            confirm(f"Roll {visible(found.patch.label)} out to all nodes at once?", yes=yes)
        parameters = PatchDeployParams(
            patch=found.patch.id, canary=canary, soak_s=soak_s, urgent=urgent, nodes=tuple(node or ())
        )
        begun = run_operation(home, operations.deploy, parameters, timeout_s=TIMEOUT_S)
        if following:
            raise typer.Exit(follow(client_of(home), begun, as_json=as_json))
        if as_json:
            print_json(begun)
            return
        _show_begun(begun)


def _accepted(words: Sequence[str], home: Path | None) -> PatchDetails:
    """Return the patch that is meant; a file is handed to the master first, which verifies it."""
    typed = " ".join(words)
    path = Path(typed).expanduser()
    patch = typed
    if path.is_file() or typed.endswith(SUFFIX) or "/" in typed:
        # Opened here: what cannot be read is told with its own error.
        with path.open("rb"):
            pass
        receiving = PatchReceiveParams(path=str(path.resolve()))
        patch = run_operation(home, operations.receive, receiving, timeout_s=TIMEOUT_S).id
    return run_operation(home, operations.show, PatchParams(patch), timeout_s=TIMEOUT_S)


def _planned(plan: PatchPlanView, *, canary: int | None, soak_s: float | None, urgent: bool) -> PatchPlanView:
    """Return the plan as these options change it."""
    changed: dict[str, Any] = {}
    if canary is not None:
        changed["canary"] = canary
    if soak_s is not None:
        changed["soak_s"] = soak_s
    if urgent:
        changed |= {"canary": 0, "waves": (100,)}
    return structs.replace(plan, **changed)


def _show_plan(found: PatchDetails, plan: PatchPlanView) -> None:
    view = found.patch
    author = f"{view.author}, " if view.author else ""
    console.print(one_line((view.label, "bold"), f"  {author}signed with the key {view.key}"), soft_wrap=True)
    if found.note:
        console.print(one_line(f"  {' '.join(found.note.split())}"), soft_wrap=True)
    for label, text in (
        ("changes", changes_text(found)),
        ("for", ", ".join(found.targets) or "every node"),
        ("plan", plan_text(plan)),
    ):
        console.print(one_line((f"  {label:<9}", "bright_black"), text), soft_wrap=True)


def _show_begun(begun: PatchView) -> None:
    console.print(one_line(("✓ ", "green"), f"{begun.label}  ", patch_state_text(begun.state)))
    console.print(one_line("  ", next_line(begun)), soft_wrap=True)


def status(
    patch: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATCH]", help="One patch, in full.", autocompletion=complete_patches),
    ] = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Stay until its roll-out is over.")] = False,
    home: HomeOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show roll-outs that go on or ask for something, and which patch each node has; or one patch in full."""
    width = None if wide else terminal_width()
    if following and not patch:
        raise typer.BadParameter("it goes with a patch", param_hint="--follow")
    with reporting_errors(as_json=as_json):
        if not patch:
            found = run_operation(home, operations.listing, PatchesParams(limit=1_000), timeout_s=TIMEOUT_S)
            if as_json:
                print_json(found)
            else:
                print_lines(status_lines(found, width=width))
            return
        one = run_operation(home, operations.show, PatchParams(" ".join(patch)), timeout_s=TIMEOUT_S)
        if following:
            raise typer.Exit(follow(client_of(home), one.patch, as_json=as_json))
        if as_json:
            print_json(one)
        else:
            print_lines(details_lines(one, width=width))


def history(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="Rows.")] = 30,
    home: HomeOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show every patch that was accepted, newest first, and what became of it."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.listing, PatchesParams(limit=limit), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found.patches)
        else:
            print_lines(history_lines(found.patches, width=None if wide else terminal_width()))


def approve(patch: PatchArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Approve a patch; each operator counts once."""
    _steer(operations.approve, PatchParams(" ".join(patch)), home, as_json=as_json)


def pause(patch: PatchArgument, why: WhyOption = "", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Pause a roll-out: no further node is told; those under way end what they began."""
    _steer(operations.pause, PatchStopParams(patch=" ".join(patch), why=why), home, as_json=as_json)


def resume(patch: PatchArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Go on with a roll-out that is paused, or that asks."""
    _steer(operations.resume, PatchParams(" ".join(patch)), home, as_json=as_json)


def retry(patch: PatchArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take up a roll-out that was aborted or failed, from where it was."""
    _steer(operations.retry, PatchParams(" ".join(patch)), home, as_json=as_json)


def abort(
    patch: PatchArgument,
    why: WhyOption = "",
    home: HomeOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a roll-out where it is: no further node gets the patch, those that have it keep it."""
    with reporting_errors(as_json=as_json):
        found = _named(patch, home)
        confirm(f"Abort {visible(found.label)}? Nodes that have it keep it; `rollback` takes it back.", yes=yes)
        _steer(operations.abort, PatchStopParams(patch=found.id, why=why), home, as_json=as_json)


def rollback(
    patch: PatchArgument,
    why: WhyOption = "",
    following: Annotated[bool, typer.Option("--follow", "-f", help="Stay until every node is back.")] = False,
    home: HomeOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a patch back: every node that has it goes back to what it had before."""
    with reporting_errors(as_json=as_json):
        found = _named(patch, home)
        confirm(f"Roll {visible(found.label)} back on every node that has it?", yes=yes)
        parameters = PatchStopParams(patch=found.id, why=why)
        if not following:
            _steer(operations.rollback, parameters, home, as_json=as_json)
            return
        begun = run_operation(home, operations.rollback, parameters, timeout_s=TIMEOUT_S)
        raise typer.Exit(follow(client_of(home), begun, as_json=as_json, wants="rolled_back"))


def _named(words: Sequence[str], home: Path | None) -> PatchView:
    """Return the patch that is meant, before anything is asked about it."""
    return run_operation(home, operations.show, PatchParams(" ".join(words)), timeout_s=TIMEOUT_S).patch


def _steer(operation: Operation[Any, PatchView, Any], parameters: Any, home: Path | None, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        done = run_operation(home, operation, parameters, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(done)
            return
        _show_begun(done)


def _seconds_of(typed: str) -> float:
    found = _DURATION.fullmatch(typed.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0 if typed.strip() == "0" else -1.0
    if not 0 <= seconds <= _MOST_SOAK_S:
        raise typer.BadParameter(f"{typed!r} is no duration: type 90s, 5m, 1h, or 0", param_hint="--soak")
    return seconds


def mount(group: typer.Typer) -> None:
    """Register the commands of roll-outs in ``fleet patch``."""
    for command in (deploy, status, approve, pause, resume, abort, retry, rollback, history):
        group.command(command.__name__, rich_help_panel=ROLLOUTS)(command)
