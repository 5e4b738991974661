"""``fleet mailbox``: what is watched, what came, and whether it works."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, reporting_errors, run_operation
from master.cli.group import CommandGroup
from master.errors import ExitCode, FleetError
from master.operations import mailboxes as operations
from master.operations.parameters import MailboxParams, MailboxPasswordParams, MailParams, MailsParams, NoParams
from master.services.core.mailbox_views import MailboxRow
from master.services.mailbox.grants import token_url_of, written_grant
from master.terminal import console, one_line, print_json, print_lines, terminal_width
from master.terminal.mailboxes import mail_lines, mailbox_lines, tested_lines
from master.wording import visible

TEST_TIMEOUT_S = 180.0
"""Each step has its own time, and there are some."""

mailbox = typer.Typer(cls=CommandGroup, help="Mailboxes that are watched, and the mails that came.")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As in MAILBOXES.", show_default=False)]


class NoPassword(FleetError):
    """Nothing was typed."""

    code: ClassVar[str] = "no_password"
    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


@mailbox.callback(invoke_without_command=True)
def listing(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the mailboxes; with a command, act on one."""
    if context.invoked_subcommand is not None:
        return
    _list(home, as_json=as_json)


@mailbox.command("list")
def list_mailboxes(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the mailboxes, with their states."""
    _list(home, as_json=as_json)


def _list(home: Path | None, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        rows = run_operation(home, operations.listing, NoParams())
        if as_json:
            print_json(rows)
            return
        nothing = [Text("MAILBOXES in config.py has no mailbox; docs/mailbox.md says how to watch one")]
        print_lines(mailbox_lines(rows, width=terminal_width()) if rows else nothing)


@mailbox.command("mails")
def mails(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only of this mailbox.", show_default=False)] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only those about which something failed.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="Rows.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show mails that came, and what came of them, newest first."""
    with reporting_errors(as_json=as_json):
        rows = run_operation(home, operations.mails, MailsParams(name[:40], failed, limit))
        if as_json:
            print_json(rows)
            return
        nothing = [Text("about no mail did anything fail" if failed else "no mail came yet")]
        print_lines(mail_lines(rows, width=terminal_width()) if rows else nothing)


@mailbox.command("test")
def try_out(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say step by step what works, and what the rules would do with the last mails; fails if a step does."""
    with reporting_errors(as_json=as_json):
        with console.status("trying"):
            found = run_operation(home, operations.test, MailboxParams(name[:40]), timeout_s=TEST_TIMEOUT_S)
        if as_json:
            print_json(found)
        else:
            print_lines(tested_lines(found, width=terminal_width()))
        if not found.works:
            raise typer.Exit(ExitCode.FAILED)


@mailbox.command("password")
def password(
    name: NameArgument,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set what a mailbox is opened with: asks for it, or reads it from standard input. It is kept encrypted.

    With LOGIN 'xoauth2' that is a client and its refresh token; on standard input a JSON object of client_id,
    client_secret, refresh_token and token_url.
    """
    with reporting_errors(as_json=as_json):
        secret = _read_secret(lambda: _row_of(home, name))
        _act(home, operations.password, MailboxPasswordParams(name[:40], secret), as_json=as_json)


def _row_of(home: Path | None, name: str) -> MailboxRow | None:
    return next((row for row in run_operation(home, operations.listing, NoParams()) if row.name == name), None)


def _read_secret(row_of: Callable[[], MailboxRow | None]) -> str:
    if sys.stdin.isatty():
        row = row_of()
        if row is not None and row.login == "xoauth2":
            return _ask_grant(row.host)
        text = str(typer.prompt("Password (an app password, at Gmail)", hide_input=True)).strip()
    else:
        text = sys.stdin.read(6_000).strip()
    if not text:
        raise NoPassword("there is no password", hint="type it, or give it on standard input")
    return text


def _ask_grant(host: str) -> str:
    """Ask for what access tokens are got with; one line each."""
    url = token_url_of(host) or str(typer.prompt("Token URL")).strip()
    return written_grant(
        client_id=str(typer.prompt("Client ID")).strip(),
        client_secret=str(typer.prompt("Client secret", hide_input=True, default="", show_default=False)).strip(),
        refresh_token=str(typer.prompt("Refresh token", hide_input=True)).strip(),
        token_url=url,
    )


@mailbox.command("pause")
def pause(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop watching a mailbox; what comes meanwhile is seen when it is resumed."""
    _act(home, operations.pause, MailboxParams(name[:40]), as_json=as_json)


@mailbox.command("resume")
def resume(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Watch a mailbox again that was paused, or whose login was refused."""
    _act(home, operations.resume, MailboxParams(name[:40]), as_json=as_json)


@mailbox.command("again")
def again(
    mail: Annotated[str, typer.Argument(metavar="ID", help="Of `fleet mailbox mails`, or how it begins.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Act on a mail again about which something failed, or of which nobody can tell whether it was done."""
    with reporting_errors(as_json=as_json):
        done = run_operation(home, operations.again, MailParams(mail[:26]))
        if as_json:
            print_json(done)
            return
        console.print(one_line(f"mail {done.id} is acted on again: {visible(done.subject)}"), soft_wrap=True)


def _act(home: Path | None, operation: Any, parameters: Any, *, as_json: bool) -> None:
    with reporting_errors(as_json=as_json):
        done: MailboxRow = run_operation(home, operation, parameters)
        if as_json:
            print_json(done)
            return
        detail = f": {visible(done.detail)}" if done.detail else ""
        console.print(one_line(f"mailbox {visible(done.name)} is {done.state}{detail}"), soft_wrap=True)
