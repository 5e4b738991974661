"""``home``: which folder a command means when none is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from master.cli.context import HomeOption, JsonOption, found_home, reporting_errors
from master.configuration.home import NoHome, forget_home, is_home, remember_home, remembered_home
from master.configuration.reading import expanded, resolved
from master.terminal import console, is_terminal, one_line, print_json, write_out
from master.wording import visible


class HomeView(msgspec.Struct, frozen=True, kw_only=True):
    """Which home is used, and why."""

    home: str
    found_by: str
    remembered: str = ""
    """What is used where nothing else is named; empty if nothing is."""


def home(
    folder: Annotated[
        Path | None, typer.Argument(help="The fleet's folder, to remember it from now on.", show_default=False)
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Remember none.")] = False,
    given: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the fleet's home, or remember another for each terminal and folder that names none."""
    with reporting_errors(as_json=as_json):
        if folder is not None and forget:
            raise typer.BadParameter("name a folder, or give --forget")
        if folder is not None:
            remember_home(resolved(expanded(folder)), os.environ)
        if forget:
            forgotten = forget_home(os.environ)
            if as_json:
                print_json(HomeView(home="", found_by="", remembered=""))
            else:
                console.print(
                    one_line(f"{forgotten} is forgotten" if forgotten else "none was remembered"), soft_wrap=True
                )
            return
        _show(given, as_json=as_json)


def _show(given: Path | None, *, as_json: bool) -> None:
    found = found_home(given)
    if not is_home(found.path):
        raise NoHome(
            f"{found.path} is no fleet's home ({found.found_by})",
            hint="`fleet init` makes one, and `fleet home FOLDER` remembers where one is",
        )
    remembered = str(remembered_home(os.environ) or "")
    if as_json:
        print_json(HomeView(home=str(found.path), found_by=found.found_by, remembered=remembered))
        return
    # Alone on its line, so that a script can use it.
    write_out(visible(str(found.path)))
    if not is_terminal():
        return
    notes = [found.found_by]
    if remembered != str(found.path):
        notes.append(f"remembered is {remembered}" if remembered else "none is remembered: `fleet home FOLDER`")
    console.print(one_line("; ".join(notes), style="bright_black"), soft_wrap=True)
