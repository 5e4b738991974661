"""What an author does with a patch file: nothing here needs a master, a config or a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from handshake.patch_document import PatchDocument
from master.cli.context import JsonOption, reporting_errors
from master.services.patches.files import read_patch_file
from master.terminal import print_json, print_lines
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
