"""The group ``fleet patch``: what its modules hold is mounted here, in the order of ``fleet patch --help``."""

from __future__ import annotations

import typer

from master.cli import patch_authoring, patch_building, patch_keys, patch_rollouts, patch_signing
from master.cli.group import CommandGroup

AUTHORS = "For authors: no fleet is needed"

patch = typer.Typer(cls=CommandGroup, help="New code for bots: made, signed, tried, rolled out.", no_args_is_help=True)
patch.command("build", rich_help_panel=AUTHORS)(patch_building.build)
patch.command("show", rich_help_panel=AUTHORS)(patch_authoring.show)
patch.command("diff", rich_help_panel=AUTHORS)(patch_authoring.diff)
patch.command("sign", rich_help_panel=AUTHORS)(patch_signing.sign)
patch.command("verify", rich_help_panel=AUTHORS)(patch_signing.verify)
patch_rollouts.mount(patch)
patch.add_typer(patch_keys.keys, name="keys", rich_help_panel=patch_rollouts.ROLLOUTS)
