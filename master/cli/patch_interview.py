"""``fleet patch new``: asks what has changed, builds, shows and signs. For authors who do it for the first time."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from master.cli.context import reporting_errors
from master.cli.patch_building import Source, make, show_built
from master.cli.patch_signing import sign
from master.services.patches.building import BuildRequest
from master.terminal import NoTerminal, console, is_terminal, one_line

_DAYS = 30
_RANGE = re.compile(r"\.\.|[~^@]")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it: a-z, 0-9, - and _.")],
) -> None:
    """Make a patch step by step: asks what has changed, builds it, shows it, and signs it."""
    if _NAME.fullmatch(name) is None:
        raise typer.BadParameter(
            "a-z, 0-9, - and _, at most 40, and it begins with a letter or digit", param_hint="NAME"
        )
    with reporting_errors():
        if not is_terminal():
            raise NoTerminal(
                "there is no terminal to ask at", hint="`fleet patch build --help` has options for all of it"
            )
        source = _ask_source()
        created = int(time.time())
        note = typer.prompt("What is it good for, in a line", default="", show_default=False)
        request = BuildRequest(
            name=name, version=0, created=created, expires=created + _DAYS * 86_400, note=note.strip()
        )
        path, built = make(source, request)
        show_built(path, built)
        if typer.confirm("Sign it now?", default=True):
            # As somebody types it, with all that it says.
            sign(path)
        if source.base is not None:
            console.print(one_line(("→ ", "cyan"), f"fleet patch try {path} {source.base}"), soft_wrap=True)


def _ask_source() -> Source:
    """Ask where the changes are: in commits, or in a folder beside the original."""
    folder = Path(typer.prompt("The folder with the changed bot", default=".")).expanduser()
    said = "the bot as it runs now: its folder, or commits such as v1..v2"
    while True:
        original = typer.prompt(f"What it is compared with, {said}", default="HEAD~1..HEAD")
        given = Path(original).expanduser()
        if given.is_dir():
            return Source(folder, base=given)
        if _RANGE.search(original) and not original.startswith((".", "/")):
            return Source(folder, git=original)
        console.print(one_line(("! ", "yellow"), f"{original} is neither a folder nor a range of commits"))
