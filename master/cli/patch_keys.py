"""``patch keys``: whose patches this fleet accepts; also without a master."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, YesOption, client_of, reporting_errors, run_operation
from master.cli.group import CommandGroup
from master.errors import ExitCode, FleetError
from master.operations import patch_keys as operations
from master.operations.parameters import NoParams, PatchKeyAddParams, PatchKeyRevokeParams
from master.services.core.patch_key_views import DeployedPatch, PatchKeysView, PatchKeyView
from master.terminal import (
    Column,
    Row,
    confirm,
    console,
    lay_out,
    one_line,
    print_json,
    print_lines,
    terminal_width,
)
from master.wording import moment, visible

TIMEOUT_S = 20.0
MAX_FILE_CHARACTERS = 16_384
_SHOWN_NODES = 3
_ID = 50
"""Characters of a key's id."""
_KINDS = {
    "ssh-ed25519": "ed25519",
    "sk-ssh-ed25519@openssh.com": "ed25519-sk",
    "ecdsa-sha2-nistp256": "ecdsa",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ecdsa-sk",
    "ssh-rsa": "rsa",
}
"""As ``ssh-keygen -t`` calls them."""

keys = typer.Typer(cls=CommandGroup, help="Authors' keys: whose patches are accepted.", no_args_is_help=True)


class KeyFileRefused(FleetError):
    """The file cannot hold a public key."""

    code: ClassVar[str] = "key_file_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


@keys.command("list")
def list_keys(
    home: HomeOption = None,
    wide: Annotated[bool, typer.Option("--wide", "-w", help="All columns, however wide the terminal is.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the keys whose patches are accepted, and those that were revoked."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.listing, NoParams(), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
        else:
            print_lines(list_lines(found, width=None if wide else terminal_width()))


def list_lines(found: PatchKeysView, *, width: int | None) -> Iterator[Text]:
    """Return the keys as a table, a line at a time.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    """
    if found.keys:
        columns = [
            Column("NAME"),
            Column("STATE"),
            Column("DEPLOYED", 1, _ID, align="right"),
            Column("KIND", 2, _ID),
            Column("ADDED", 3, _ID),
        ]
        rows = [Row(_cells(key), one_line(key.id), whole=True) for key in found.keys]
        table = lay_out(columns, rows, width=width, note="KEY")
        yield from table.lines
        if table.hidden:
            yield one_line((f"no room for {', '.join(table.hidden)}: --wide shows all", "bright_black"))
    else:
        yield one_line("no key is trusted: no patch is accepted until `fleet patch keys add FILE.pub`")
    for key in found.keys:
        if not key.is_trusted:
            at = "" if key.revoked_at is None else f" {moment(key.revoked_at)}"
            yield one_line((f"{key.name} was revoked{at} by {key.revoked_by}", "bright_black"))
            if key.why:
                yield from _indented(key.why, width=width)
            yield from _deployed_lines(key)
    yield one_line((f"this fleet is {found.fleet_id}", "bright_black"))


def _indented(text: str, *, width: int | None) -> list[Text]:
    line = one_line((text, "bright_black"))
    wrapped = [line] if width is None else line.wrap(console, max(width - 2, _ID), overflow="fold")
    return [Text.assemble("  ", part) for part in wrapped]


def _cells(key: PatchKeyView) -> list[str | Text]:
    state = Text("trusted", style="green") if key.is_trusted else Text("revoked", style="red")
    return [
        visible(key.name),
        state,
        str(len(key.deployed)),
        visible(_KINDS.get(key.kind, key.kind)),
        moment(key.added_at),
    ]


@keys.command()
def add(
    file: Annotated[
        str,
        typer.Argument(
            help="The author's .pub file, or a line as in authorized_keys; - reads it.",
            metavar="FILE.pub",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="Whose key it is.", show_default="its comment")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accept patches that are signed with a key: an SSH key, in a file or on a FIDO token."""
    with reporting_errors(as_json=as_json):
        params = PatchKeyAddParams(line=_public_line(file), name=name)
        added = run_operation(home, operations.add, params, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(added)
        else:
            print_lines(added_lines(added))


def added_lines(added: PatchKeyView) -> Iterator[Text]:
    """Say which key is trusted now, and how its id is compared."""
    yield one_line(("✓ ", "green"), f"patches signed by {added.name} are accepted from now on")
    yield one_line(f"  {added.id} ({_KINDS.get(added.kind, added.kind)})")
    yield one_line(("  compare the id: `ssh-keygen -lf FILE.pub` prints it at the author's", "bright_black"))


def _public_line(file: str) -> str:
    """Return what a file or standard input holds, unless it is no public key at first sight.

    Raises
    ------
    KeyFileRefused
        It is missing, too large, no text, or a private key, which is not sent anywhere.
    """
    try:
        content = _read(file)
    except FileNotFoundError as error:
        hint = "give the author's .pub file; an author without a key: `fleet patch sign FILE --new-key PATH` makes one"
        raise KeyFileRefused(f"there is no file {file}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise KeyFileRefused(f"{file} is no text", hint="give the author's .pub file") from error
    if "PRIVATE KEY-----" in content:
        public = f"{file}.pub" if file != "-" and Path(f"{file}.pub").is_file() else "the file that ends in .pub"
        raise KeyFileRefused("this is a private key, which nobody but its author must see", hint=f"give {public}")
    if len(content) > MAX_FILE_CHARACTERS or not content.strip():
        what = "is empty" if not content.strip() else f"is longer than {MAX_FILE_CHARACTERS} characters"
        raise KeyFileRefused(f"{file} {what}, which no public key is", hint="give the author's .pub file")
    return content


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read(MAX_FILE_CHARACTERS + 1)
    with Path(file).open(encoding="utf-8") as stream:
        return stream.read(MAX_FILE_CHARACTERS + 1)


def complete_keys(incomplete: str) -> list[str]:
    """Complete the name of a key that is trusted; without a master that answers quickly there are no completions."""
    try:
        found = client_of(None).run(operations.listing, NoParams(), timeout_s=1.0)
    except FleetError:
        return []
    return [key.name for key in found.keys if key.is_trusted and key.name.startswith(incomplete)]


@keys.command()
def revoke(
    key: Annotated[
        str,
        typer.Argument(
            help="Its name or its id, as `fleet patch keys list` has it.",
            metavar="KEY",
            autocompletion=complete_keys,
            show_default=False,
        ),
    ],
    why: Annotated[str, typer.Option("--why", "-m", help="Why, for the list and the audit log.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Accept nothing more that is signed with a key, for good; what is deployed of it stays, and is named."""
    with reporting_errors(as_json=as_json):
        confirm(f"Revoke the key {key}, for good? What is deployed of it stays.", yes=yes)
        params = PatchKeyRevokeParams(key=key, why=why)
        revoked = run_operation(home, operations.revoke, params, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(revoked)
        else:
            print_lines(revoked_lines(revoked))


def revoked_lines(revoked: PatchKeyView) -> Iterator[Text]:
    """Say that nothing more is accepted of a key, and what is in force of it."""
    yield one_line(("✓ ", "green"), f"nothing more is accepted of {revoked.name}'s key")
    yield one_line(f"  {revoked.id}")
    if not revoked.deployed:
        yield one_line("  no node has a patch of it")
    yield from _deployed_lines(revoked)


def _deployed_lines(key: PatchKeyView) -> Iterator[Text]:
    for patch in key.deployed:
        yield one_line(("! ", "yellow"), f"{patch.name} {patch.version} stays on {_nodes_text(patch)}")
        yield one_line((f"  `fleet patch rollback {patch.id}` takes it away", "bright_black"))


def _nodes_text(patch: DeployedPatch) -> str:
    more = len(patch.nodes) - _SHOWN_NODES
    return ", ".join(patch.nodes[:_SHOWN_NODES]) + (f" and {more} more" if more > 0 else "")
