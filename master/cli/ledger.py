"""``audit``, ``ledger``, ``backup`` and ``restore``: through the running master, or on the ledger when none runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, YesOption, alone, client_of, reporting_errors, settings_of
from master.control.client import NoMaster
from master.control.protocol import AuditParams, BackupParams, LedgerParams, NoParams
from master.errors import ExitCode, FleetError
from master.services.core.views import AuditView, BackupView, LedgerStatus, RestoreView, Soundness
from master.terminal import confirm, console, megabytes, print_json

if TYPE_CHECKING:
    from master.configuration.settings import Settings
    from master.ledger.rows.audit import AuditHead
    from master.services.core.auditing import Auditor
    from master.services.upkeep.ledger_admin import LedgerAdmin

T = TypeVar("T")
LONG_TIMEOUT_S = 900.0

audit = typer.Typer(help="Who did what, on which node, and how it ended.", no_args_is_help=True)
ledger = typer.Typer(help="The ledger as a whole.", no_args_is_help=True)

OutcomeStyles = {"done": "green", "refused": "yellow", "failed": "red"}


def _ask(
    home: Path | None,
    method: str,
    params: msgspec.Struct,
    answer: type[T],
    offline: Callable[[LedgerAdmin], Awaitable[T]],
    action: str = "",
) -> T:
    """Ask the master; without one, open the ledger here, and audit the action if it is one."""
    try:
        return client_of(home).call(method, params, answer=answer, timeout_s=LONG_TIMEOUT_S)
    except NoMaster:
        settings = settings_of(home)
        with alone(settings):
            return asyncio.run(_with_ledger(settings, offline, action))


@asynccontextmanager
async def _open_ledger(settings: Settings) -> AsyncIterator[tuple[LedgerAdmin, Auditor]]:
    """Open the ledger without a master, with what writes down who did what in it."""
    from master.ledger.database import Ledger
    from master.services.core.actors import Operators
    from master.services.core.auditing import Auditor, audit_chain_of
    from master.services.core.keys import master_secret_of
    from master.services.core.ledger_cache import load_cached_ledger
    from master.services.upkeep.ledger_admin import LedgerAdmin
    from master.supervision.clock import SystemClock

    async def head() -> AuditHead | None:
        found = await load_cached_ledger(settings.ledger_cache_path)
        return None if found is None else found.audit_head

    secret, clock = master_secret_of(settings.identity), SystemClock()
    chain = audit_chain_of(secret)
    # With the spool: what still waits in it belongs to what is looked at, saved or moved.
    opened = await Ledger.open(settings.database, chain=chain, spool_dir=settings.spool_dir)
    try:
        yield (
            LedgerAdmin(settings, opened, secret, clock, head=head),
            Auditor(opened, chain, clock, Operators(settings.operators)),
        )
    finally:
        await opened.close()


async def _with_ledger(settings: Settings, work: Callable[[LedgerAdmin], Awaitable[T]], action: str = "") -> T:
    """Do something with the ledger; with ``action``, as an action of the operator's that is audited."""
    from master.services.core.actors import unix_actor

    async with _open_ledger(settings) as (admin, auditor):
        if not action:
            return await work(admin)
        async with auditor.action(unix_actor(os.getuid()), action):
            return await work(admin)


def _note(settings: Settings, action: str, detail: str) -> None:
    """Write down what was done to the ledger as a whole, in the ledger that there is now."""
    from master.services.core.actors import unix_actor

    async def note() -> None:
        async with _open_ledger(settings) as (_, auditor), auditor.action(unix_actor(os.getuid()), action) as entry:
            entry.detail = detail

    asyncio.run(note())


@audit.command("show")
def audit_show(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Rows.")] = 30,
    node: Annotated[str, typer.Option("--node", help="Only what was done to this node; needs a running master.")] = "",
    action: Annotated[str, typer.Option("--action", help="Only this action, such as restart.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the latest actions, the newest last."""
    with reporting_errors(as_json=as_json):
        params = AuditParams(limit=limit, node=node, action=action)
        if node:
            rows = client_of(home).call("audit", params, answer=list[AuditView], timeout_s=LONG_TIMEOUT_S)
        else:
            rows = _ask(home, "audit", params, list[AuditView], lambda admin: _audit(admin, params))
        if as_json:
            print_json(rows)
            return
        console.print(_audit_table(rows) if rows else "nothing was done yet")


async def _audit(admin: LedgerAdmin, params: AuditParams) -> list[AuditView]:
    return list(await admin.audit(limit=params.limit, action=params.action))


def _local_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _audit_table(rows: list[AuditView]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("#", "WHEN", "WHO", "ACTION", "OUTCOME"):
        table.add_column(name, no_wrap=True, justify="right" if name == "#" else "left")
    table.add_column("DETAIL", overflow="fold")
    for row in reversed(rows):
        when = _local_time(row.at)
        outcome = Text(row.outcome, style=OutcomeStyles.get(row.outcome, ""))
        table.add_row(str(row.sequence), when, row.actor, row.action, outcome, row.detail)
    return table


@audit.command("verify")
def audit_verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check that no row was altered or removed: each carries an HMAC over itself and the row before it."""
    _verify("audit_verify", lambda admin: admin.verify_audit(), home, as_json=as_json)


@ledger.command("verify")
def ledger_verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check the file, its references, and the audit log's chain."""
    _verify("ledger_verify", lambda admin: admin.verify(), home, as_json=as_json)


def _verify(
    method: str, offline: Callable[[LedgerAdmin], Awaitable[Soundness]], home: Path | None, *, as_json: bool
) -> None:
    with reporting_errors(as_json=as_json):
        found = _ask(home, method, NoParams(), Soundness, offline)
    if as_json:
        print_json(found)
    elif found.ok:
        console.print(Text.assemble(("✓ ", "green"), f"sound; {found.audit_rows} rows of the audit log are as written"))
    for fault in () if as_json else found.faults:
        console.print(Text.assemble(("✗ ", "red"), fault))
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
        found = _ask(
            home, "ledger_status", LedgerParams(exact=exact), LedgerStatus, lambda admin: admin.status(exact=exact)
        )
        if as_json:
            print_json(found)
            return
        size = "" if found.bytes is None else f", {megabytes(found.bytes)} MB"
        console.print(f"{found.dialect}, revision {found.revision}{size}")
        if found.away_since is not None:
            console.print(Text.assemble(("✗ ", "red"), f"away since {_local_time(found.away_since)}: {found.away_why}"))
        if found.waiting:
            console.print(f"{found.waiting} writes wait on disk, {megabytes(found.waiting_bytes)} MB")
        if found.given_up:
            given_up = ", ".join(f"{count} of {priority}" for priority, count in found.given_up.items())
            console.print(Text.assemble(("! ", "yellow"), f"given up, as too much waited: {given_up}"))
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
    to: Annotated[str, typer.Option("--to", help="A revision, to go back to it; default: the newest.")] = "",
    home: HomeOption = None,
    yes: YesOption = False,
) -> None:
    """Bring the schema up to date, or back; a copy is kept. `fleet run` does the former by itself."""
    with reporting_errors():
        if to:
            confirm(f"Go to revision {to}? What later revisions added is lost.", yes=yes)
        settings = settings_of(home)
        with alone(settings):
            from master.ledger.schema.migrations import HEAD_REVISION, check_revision, migrate_to

            back = to not in ("", HEAD_REVISION)
            if back:
                check_revision(to)
                # Opening the ledger afterwards would bring it up to date again.
                _note(settings, "migrate", f"to {to}")
            kept = migrate_to(settings.database, to or None)
            if kept and not back:
                _note(settings, "migrate", f"to {HEAD_REVISION}")
        console.print("the schema is at " + (to or "the newest revision") + (f"; a copy is {kept}" if kept else ""))


FileOption = Annotated[Path | None, typer.Option("--file", "-o", help="A new file. [default: in the state folder]")]
ArchiveArgument = Annotated[Path, typer.Argument(help="A file that `fleet backup` made.")]


@ledger.command("export")
def ledger_export(
    path: Annotated[Path, typer.Argument(help="A new file.")], home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Write the whole ledger into one file, to move it to another database."""
    _back_up(path, home, as_json=as_json)


def backup(path: FileOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Back the ledger up while the fleet goes on; tokens stay encrypted. Keep .env too: it has the secret."""
    _back_up(path, home, as_json=as_json)


def _back_up(path: Path | None, home: Path | None, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        text = "" if path is None else str(path.expanduser().absolute())

        async def offline(admin: LedgerAdmin) -> BackupView:
            from master.services.upkeep.ledger_admin import check_backup_path

            return await admin.back_up(check_backup_path(text))

        made = _ask(home, "backup", BackupParams(path=text), BackupView, offline, "backup")
        if as_json:
            print_json(made)
            return
        console.print(f"{made.path}: {made.rows} rows, {megabytes(made.bytes)} MB", soft_wrap=True)


@ledger.command("import")
def ledger_import(path: ArchiveArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Fill an empty ledger from a file, and compare counts and hashes."""
    with reporting_errors(as_json=as_json):
        settings = settings_of(home)
        with alone(settings):
            from master.services.upkeep.restoring import import_into

            found = import_into(settings, path)
            _note(settings, "import", f"{path.name}: {found.rows} rows")
            _restored(found, as_json=as_json)


def restore(
    path: ArchiveArgument, home: HomeOption = None, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Put a backup in the ledger's place; the present one is kept beside it. No master may run."""
    with reporting_errors(as_json=as_json):
        settings = settings_of(home)
        with alone(settings):
            if not path.is_file():
                raise FleetError(f"there is no file {path}", hint="`ls state/backups` shows the backups")
            confirm(f"Put {path.name} in the place of the present ledger?", yes=yes)
            from master.services.upkeep.restoring import restore as put_back

            found = put_back(settings, path, at=datetime.now(UTC))
            _note(settings, "restore", f"{path.name}: {found.rows} rows")
            _restored(found, as_json=as_json)


def _restored(found: RestoreView, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    made = _local_time(found.created_at)
    console.print(f"{found.rows} rows as of {made}; counts and hashes agree")
    if found.kept:
        console.print(f"the ledger that was there is {found.kept}", soft_wrap=True)
