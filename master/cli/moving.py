"""``import``: programs of PM2, supervisord, docker compose and systemd become nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from master.cli.context import HomeOption, JsonOption, YesOption, reporting_errors


def import_programs(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="ecosystem.config.js, dump.pm2, supervisord.conf, docker-compose.yml or NAME.service.",
            show_default="~/.pm2/dump.pm2, what `pm2 save` wrote",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this program; may be given several times.")
    ] = None,
    variant: Annotated[
        str, typer.Option("--env", help="PM2: the variables of env_NAME too, as for `pm2 start --env`.")
    ] = "",
    without_token: Annotated[
        list[str] | None,
        typer.Option("--no-token", help="This program is no bot, whatever its variables are called."),
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start each that does not run elsewhere.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")] = False,
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring programs of PM2, supervisord, docker compose or systemd into the fleet; their files stay as they are."""
    with reporting_errors(as_json=as_json):
        if as_json and not (yes or dry_run):
            raise typer.BadParameter("it cannot ask: give --yes or --dry-run too", param_hint="--json")
        # Imported here: no other command needs the readers of all those files.
        from master.cli.importing import Wishes, bring_in

        wishes = Wishes(
            files=tuple(files or ()),
            only=tuple(only or ()),
            variant=variant,
            without_token=frozenset(without_token or ()),
            start=start,
            dry_run=dry_run,
            yes=yes,
        )
        bring_in(wishes, home, as_json=as_json)
