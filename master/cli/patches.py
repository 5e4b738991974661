"""The group ``fleet patch``: what its modules hold is mounted here, in the order of ``fleet patch --help``."""

from __future__ import annotations

import typer

from master.cli import patch_authoring
from master.cli.group import CommandGroup

AUTHORS = "For authors: no fleet is needed"

patch = typer.Typer(cls=CommandGroup, help="New code for bots: made, signed, tried, rolled out.", no_args_is_help=True)
patch.command("show", rich_help_panel=AUTHORS)(patch_authoring.show)
