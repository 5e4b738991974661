"""``audit`` and ``ledger``: through the running master, or on the ledger when none runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from master.cli.context import (
    HomeOption,
    JsonOption,
    YesOption,
    reporting_errors,
    run_operation,
)
from master.cli.group import CommandGroup
from master.errors import ExitCode
from master.operations import ledger as operations
from master.operations.operation import Operation
from master.operations.parameters import (
    ArchiveParams,
    AuditParams,
    BackupParams,
    LedgerParams,
    MigrateParams,
    NoParams,
)
from master.services.core.views import AuditView, RestoreView, Soundness
from master.terminal import (
    Column,
    Laid,
    Row,
    confirm,
    console,
    lay_out,
    local_time,
    megabytes,
    one_line,
    print_json,
    print_lines,
    terminal_width,
)
from master.wording import visible

LONG_TIMEOUT_S = 900.0
_ROOMY = 100

audit = typer.Typer(cls=CommandGroup, help="Who did what, on which node, and how it ended.", no_args_is_help=True)
ledger = typer.Typer(cls=CommandGroup, help="The ledger as a whole.", no_args_is_help=True)

OutcomeStyles = {"done": "green", "refused": "yellow", "failed": "red"}


@audit.command("show")
def audit_show(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Rows.")] = 30,
    node: Annotated[str, typer.Option("--node", help="Only what was done to this node; a removed one too.")] = "",
    action: Annotated[str, typer.Option("--action", help="Only this action, such as restart.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the latest actions, the newest last."""
    with reporting_errors(as_json=as_json):
        params = AuditParams(limit=limit, node=node, action=action)
        rows = run_operation(home, operations.audit, params, timeout_s=LONG_TIMEOUT_S)
        if as_json:
            print_json(rows)
            return
        print_lines(audit_lines(rows, width=terminal_width()) if rows else [Text("nothing was done yet")])


def _local_time(moment: float) -> str:
    return local_time(moment, "%Y-%m-%d %H:%M:%S")


def audit_lines(rows: list[AuditView], *, width: int | None) -> list[Text]:
    """Return rows of the audit log as a table, the newest last.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    """
    table = _lay_out_audit(rows, width, with_node=True)
    if _NODE.header in table.hidden:
        # Which node it was is never left out: without a column of its own it begins the detail.
        table = _lay_out_audit(rows, width, with_node=False)
    return table.lines


_NODE = Column("NODE", 2)


def _lay_out_audit(rows: list[AuditView], width: int | None, *, with_node: bool) -> Laid:
    columns = [Column("#", 3, 20, "right"), Column("WHEN"), Column("WHO"), Column("ACTION"), Column("OUTCOME", 1)]
    when = "%Y-%m-%d %H:%M:%S" if width is None or width >= _ROOMY else "%m-%d %H:%M:%S"
    laid = []
    for row in reversed(rows):
        outcome = one_line(row.outcome, style=OutcomeStyles.get(row.outcome, ""))
        cells: list[str | Text] = [
            str(row.sequence),
            local_time(row.at, when),
            visible(row.actor),
            visible(row.action),
            outcome,
        ]
        node = row.node or row.node_id or ""
        detail = row.detail
        if with_node:
            cells.append(visible(node) or "-")
        elif node:
            detail = f"{node}: {detail}" if detail else node
        laid.append(Row(cells, one_line(detail), whole=True))
    return lay_out([*columns, _NODE] if with_node else columns, laid, width=width, note="DETAIL")


@audit.command("verify")
def audit_verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check that no row was altered or removed: each carries an HMAC over itself and the row before it."""
    _verify(operations.verify_audit, home, as_json=as_json)


@audit.command("acknowledge")
def audit_acknowledge(home: HomeOption = None, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """End the alarm about rows that were cut off the log's end; the alarm and this stay on record."""
    with reporting_errors(as_json=as_json):
        confirm("Do you know why rows of the audit log are missing?", yes=yes)
        found = run_operation(home, operations.acknowledge_audit, NoParams())
        if as_json:
            print_json(found)
            return
        for alarm in found.alarms:
            console.print(one_line(("✓ ", "green"), f"acknowledged: {alarm}"))


@ledger.command("verify")
def ledger_verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check the file, its references, and the audit log's chain."""
    _verify(operations.verify, home, as_json=as_json)


def _verify(operation: Operation[NoParams, Soundness, Any], home: Path | None, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operation, NoParams(), timeout_s=LONG_TIMEOUT_S)
        if as_json:
            print_json(found)
        elif found.ok:
            console.print(one_line(("✓ ", "green"), f"sound; {found.audit_rows} rows of the audit log are as written"))
        for fault in () if as_json else found.faults:
            console.print(one_line(("✗ ", "red"), fault))
        if not as_json and any("audit log" in fault for fault in found.faults):
            hint = "an alarm about its end stands until `fleet audit acknowledge`; an altered row stays a fault"
            console.print(one_line(f"  {hint}", style="cyan"))
    if not found.ok:
        raise typer.Exit(ExitCode.LEDGER)


@ledger.command("status")
def ledger_status(
    home: HomeOption = None,
    as_json: JsonOption = False,
    exact: Annotated[bool, typer.Option("--exact", help="Count every row, however many.")] = False,
) -> None:
    """Show what the ledger holds."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.status, LedgerParams(exact=exact), timeout_s=LONG_TIMEOUT_S)
        if as_json:
            print_json(found)
            return
        size = "" if found.bytes is None else f", {megabytes(found.bytes)} MB"
        revision = f"revision {found.revision}" if found.revision else "its revision is not known while it is away"
        console.print(f"{found.dialect}, {revision}{size}")
        if found.away_since is not None:
            console.print(one_line(("✗ ", "red"), f"away since {_local_time(found.away_since)}: {found.away_why}"))
        if found.held:
            what = f"{found.held} writes wait in memory, not even on disk; they are lost if the master ends first"
            console.print(one_line(("! ", "yellow"), what))
        if found.waiting:
            console.print(f"{found.waiting} writes wait on disk, {megabytes(found.waiting_bytes)} MB")
        if found.given_up:
            given_up = ", ".join(f"{count} of {priority}" for priority, count in found.given_up.items())
            console.print(one_line(("! ", "yellow"), f"given up, as too much waited: {given_up}"))
        if not found.rows:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("TABLE")
        table.add_column("ROWS", justify="right")
        for name, rows in sorted(found.rows.items()):
            table.add_row(name, f"{rows} or more" if name in found.uncounted else str(rows))
        console.print(table)
        if found.writes:
            console.print(
                f"{found.writes} writes in {found.groups} transactions, {found.failures} failed, "
                f"{found.dropped} dropped, since the master started",
                style="bright_black",
            )


@ledger.command("migrate")
def ledger_migrate(
    to: Annotated[str, typer.Option("--to", help="A revision, to go back to it.", show_default="the newest")] = "",
    home: HomeOption = None,
    yes: YesOption = False,
) -> None:
    """Bring the schema up to date, or back; a copy is kept. `fleet up` does the former by itself."""
    with reporting_errors():
        if to:
            confirm(f"Go to revision {to}? What later revisions added is lost.", yes=yes)
        found = run_operation(home, operations.migrate, MigrateParams(to=to))
        kept = f"; a copy is {found.kept}" if found.kept else ""
        console.print(f"the schema is at {to or 'the newest revision'}{kept}")


FileOption = Annotated[
    Path | None, typer.Option("--file", "-o", help="A new file.", show_default="in the state folder")
]
ArchiveArgument = Annotated[Path, typer.Argument(help="A file that `fleet backup` made.")]


@ledger.command("export")
def ledger_export(
    path: Annotated[Path, typer.Argument(help="A new file.")], home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Write the whole ledger into one file, to move it to another database."""
    back_up_ledger(path, home, as_json=as_json)


def back_up_ledger(path: Path | None, home: Path | None, *, as_json: bool) -> None:
    """Write the ledger into one file, and say where it is."""
    with reporting_errors(as_json=as_json):
        text = "" if path is None else str(path.expanduser().absolute())
        made = run_operation(home, operations.backup, BackupParams(path=text), timeout_s=LONG_TIMEOUT_S)
        if as_json:
            print_json(made)
            return
        console.print(f"{made.path}: {made.rows} rows, {megabytes(made.bytes)} MB", soft_wrap=True)


@ledger.command("import")
def ledger_import(path: ArchiveArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Fill an empty ledger from a file, and compare counts and hashes."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.import_archive, ArchiveParams(path=str(path.absolute())))
        say_restored(found, as_json=as_json)


def say_restored(found: RestoreView, *, as_json: bool) -> None:
    """Print what was restored."""
    if as_json:
        print_json(found)
        return
    made = _local_time(found.created_at)
    console.print(f"{found.rows} rows as of {made}; counts and hashes agree")
    if found.kept:
        console.print(f"the previous ledger is {found.kept}", soft_wrap=True)
