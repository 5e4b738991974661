"""``fleet tickets``: what nodes have opened, who is let into it, and the answer to those that ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from rich.text import Text

from master.cli.context import (
    HomeOption,
    JsonOption,
    YesOption,
    complete_nodes,
    reporting_errors,
    run_operation,
)
from master.cli.group import ListingGroup
from master.errors import ExitCode
from master.operations import tickets as operations
from master.operations.parameters import (
    NoParams,
    TicketCloseParams,
    TicketDecideParams,
    TicketParams,
    TicketPermissionParams,
    TicketPermissionsParams,
    TicketsParams,
)
from master.services.core.ticket_views import TicketPermissionRow, TicketRow
from master.terminal import confirm, console, one_line, print_json, print_lines, terminal_width
from master.terminal.tickets import details_lines, finding_lines, permission_lines, ticket_lines
from master.wording import visible

TIMEOUT_S = 60.0
"""Discord may be slow."""

_AT_A_PANEL = "People open tickets on Discord: a bot's `/ticket panel` posts the buttons. See docs/tickets.md."


class TicketGroup(ListingGroup):
    """Commands on tickets."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("open", "new", "create", "panel"), _AT_A_PANEL),
        **dict.fromkeys(
            ("claim", "release", "transfer", "priority", "topic", "add", "transcript"),
            "That is done in the ticket's channel, by the staff: its buttons, and `/ticket` of its bot.",
        ),
        "remove": "`fleet tickets revoke ID` takes somebody out, `fleet tickets delete TICKET` deletes its channel.",
    }


tickets = typer.Typer(
    cls=TicketGroup, help="Tickets of nodes, and who is let into them; without a command they are listed."
)
TicketArgument = Annotated[str, typer.Argument(metavar="TICKET", help="Its number, or its id.", show_default=False)]
RequestArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Of `fleet tickets permissions`, or how it begins.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", "-a", help="Also what is over.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="Rows.")]


@tickets.command("list")
def listing(
    node: Annotated[str, typer.Option("--node", help="Only of this node.", autocompletion=complete_nodes)] = "",
    everything: AllOption = False,
    limit: LimitOption = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show tickets, newest first."""
    with reporting_errors(as_json=as_json):
        rows = run_operation(home, operations.listing, TicketsParams(node=node, all=everything, limit=limit))
        if as_json:
            print_json(rows)
            return
        nothing = [Text("there is no ticket" if everything else "there is no open ticket; --all shows those before")]
        print_lines(ticket_lines(rows, width=terminal_width()) if rows else nothing)


@tickets.command("show")
def show(ticket: TicketArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show a ticket, the answers of its form, and who was let into it."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.show, TicketParams(ticket[:40]))
        if as_json:
            print_json(found)
        else:
            print_lines(details_lines(found, width=terminal_width()))


@tickets.command("close")
def close(
    ticket: TicketArgument,
    reason: Annotated[str, typer.Option("--reason", help="Its author sees it.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a ticket: its author only reads it then. `reopen` takes it back."""
    _act(home, operations.close, TicketCloseParams(ticket[:40], reason[:400]), as_json=as_json)


@tickets.command("reopen")
def reopen(ticket: TicketArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Open a closed ticket again."""
    _act(home, operations.reopen, TicketParams(ticket[:40]), as_json=as_json)


@tickets.command("delete")
def delete(
    ticket: TicketArgument, home: HomeOption = None, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Delete a closed ticket's channel, with all that was written in it; asks."""
    with reporting_errors(as_json=as_json):
        confirm(f"Delete the channel of ticket {visible(ticket)}, with all that was written in it?", yes=yes)
    _act(home, operations.delete, TicketParams(ticket[:40]), as_json=as_json)


@tickets.command("permissions")
def permissions(
    everything: AllOption = False, limit: LimitOption = 50, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Show who is let into which ticket, and what nodes ask for."""
    with reporting_errors(as_json=as_json):
        rows = run_operation(home, operations.permissions, TicketPermissionsParams(all=everything, limit=limit))
        if as_json:
            print_json(rows)
            return
        nothing = [Text("nobody is let into a ticket beside its author and staff, and no node asks for it")]
        print_lines(permission_lines(rows, width=terminal_width()) if rows else nothing)


@tickets.command("grant")
def grant(request: RequestArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Let somebody into a ticket whom a node asked for."""
    _answer(home, operations.decide, TicketDecideParams(request[:26], grant=True), as_json=as_json)


@tickets.command("refuse")
def refuse(request: RequestArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Refuse what a node asked for."""
    _answer(home, operations.decide, TicketDecideParams(request[:26], grant=False), as_json=as_json)


@tickets.command("revoke")
def revoke(request: RequestArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take somebody out of a ticket who was let in."""
    _answer(home, operations.revoke, TicketPermissionParams(request[:26]), as_json=as_json)


@tickets.command("check")
def check(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Look whether the master may do all that tickets need; fails if it may not."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.check, NoParams(), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
        else:
            print_lines(finding_lines(found) if found else [Text("TICKETS in config.py has no categories")])
        if any(one.verdict == "fail" for one in found):
            raise typer.Exit(ExitCode.FAILED)


def _act(home: Path | None, operation: Any, parameters: Any, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        done: TicketRow = run_operation(home, operation, parameters, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(done)
            return
        reason = f": {visible(done.reason)}" if done.reason else ""
        console.print(one_line(f"ticket {done.number} is {done.state}{reason}"), soft_wrap=True)


def _answer(home: Path | None, operation: Any, parameters: Any, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        done: TicketPermissionRow = run_operation(home, operation, parameters, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(done)
            return
        words = f"{done.subject_id} as {done.permission_set} in ticket {done.ticket}: {done.state}"
        console.print(one_line(words), soft_wrap=True)
