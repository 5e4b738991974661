"""What an author does with a patch file: nothing here needs a master, a config or a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from handshake.patch_document import PatchDocument
from master.cli.context import JsonOption, reporting_errors
from master.services.patches.differences import FileDifference, differences
from master.services.patches.files import read_patch_file
from master.services.patches.trees import folder_tree
from master.terminal import print_json, print_lines, terminal_width
from master.terminal.patch_diffs import diff_lines, stat_lines
from master.terminal.patch_files import patch_file_lines

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A patch file.", show_default=False)]


class ShownPatch(msgspec.Struct, frozen=True, kw_only=True):
    """A patch file, for programs."""

    file: str
    bytes: int
    signed: bool
    """It carries a signature, which was not checked."""
    document: PatchDocument


def show(file: FileArgument, as_json: JsonOption = False) -> None:
    """Show what a patch file says of itself. Nothing of it is proved: `verify` does that."""
    with reporting_errors(as_json=as_json):
        found = read_patch_file(file)
        if as_json:
            shown = ShownPatch(file=str(file), bytes=found.size, signed=found.is_signed, document=found.document)
            print_json(shown)
        else:
            print_lines(patch_file_lines(found))


class ChangedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a difference, for programs."""

    path: str
    sign: str
    """``A`` added, ``M`` changed, ``D`` removed."""
    added: int | None
    """Lines; null for a binary file."""
    removed: int | None
    base_differs: bool
    """The folder has another content than the patch was made for."""


def diff(
    file: FileArgument,
    base: Annotated[Path, typer.Option(help="The bot as it is now: its node's folder.", show_default=False)],
    stat: Annotated[bool, typer.Option("--stat", help="Only how much changes, for each file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a patch changes in a bot's folder, line by line. The folder stays as it is."""
    with reporting_errors(as_json=as_json):
        patch = read_patch_file(file)
        found = list(differences(patch.document, patch.contents(), folder_tree(base)))
        if as_json:
            print_json([_for_programs(one) for one in found])
        elif stat:
            print_lines(stat_lines(found, width=terminal_width()))
        else:
            for one in found:
                print_lines(diff_lines(one))


def _for_programs(one: FileDifference) -> ChangedFile:
    return ChangedFile(
        path=one.path, sign=one.sign, added=one.added, removed=one.removed, base_differs=one.base_differs
    )
