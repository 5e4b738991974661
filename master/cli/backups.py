"""``backup`` and ``restore``: the ledger alone, or the whole home, to keep it or to move it to another box."""

from __future__ import annotations

import os
import shlex
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from master.cli.context import (
    HomeOption,
    JsonOption,
    YesOption,
    home_of,
    refuse_beside_master,
    reporting_errors,
    run_operation,
    settings_of,
    state_dir,
)
from master.cli.ledger import LONG_TIMEOUT_S, ArchiveArgument, FileOption, back_up_ledger, say_restored
from master.configuration.home import CONFIG_NAME
from master.configuration.settings import ENV_NAME
from master.errors import FleetError
from master.operations import ledger as operations
from master.operations.parameters import ArchiveParams, BackupParams
from master.services.upkeep import home_archive
from master.terminal import confirm, console, megabytes, one_line, print_json

_PARTS = ("bots", "config")
_KEPT = 5
_SHOWN = 8


class HomeBackup(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a backup of the home."""

    path: str
    bytes: int
    rows: int
    files: int
    parts: tuple[str, ...]
    left_out: tuple[str, ...]


def backup(
    path: FileOption = None,
    parts: Annotated[str, typer.Option("--with", help="Also these: bots, config, or both with a comma.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="The same as --with bots,config.")] = False,
    secret: Annotated[
        bool, typer.Option("--with-secret", help="Also .env: whoever has the file then has the fleet.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back the ledger up while the fleet goes on, with --all bots and config too. Keep .env as well: the secret."""
    wanted = _parts(parts, everything=everything)
    if not wanted and not secret:
        back_up_ledger(path, home, as_json=as_json)
        return
    with reporting_errors(as_json=as_json):
        made = _back_up(path, home, wanted, secret=secret)
        if as_json:
            print_json(made)
            return
        facts = f"{made.rows} rows, {made.files} files of {', '.join(made.parts)}, {megabytes(made.bytes)} MB"
        console.print(one_line(f"{made.path}: {facts}"), soft_wrap=True)
        for folder in made.left_out[:_SHOWN]:
            console.print(one_line(f"  left out, to be installed anew: {folder}", style="bright_black"), soft_wrap=True)
        if secret:
            warning = "it has MASTER_SECRET and MASTER_TOKEN: whoever gets it has every bot. Keep it like a password"
            console.print(one_line(("! ", "bold yellow"), warning), soft_wrap=True)
        else:
            note = f"not in it: {ENV_NAME}, without which no token in it can be read. Keep a copy of that elsewhere"
            console.print(one_line(f"  {note}", style="bright_black"), soft_wrap=True)


def _parts(text: str, *, everything: bool) -> tuple[str, ...]:
    named = tuple(filter(None, (part.strip() for part in text.split(","))))
    unknown = [part for part in named if part not in _PARTS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is neither bots nor config")
    return _PARTS if everything else named


def _back_up(path: Path | None, home: Path | None, wanted: tuple[str, ...], *, secret: bool) -> HomeBackup:
    settings = settings_of(home)
    now = datetime.now(UTC)
    folder = settings.backups_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = folder / f"fleet-{now:%Y%m%d-%H%M%S}.tar.gz" if path is None else path.expanduser().absolute()
    if target.exists():
        raise FleetError(f"{target} is there already", hint="name a new file")
    sources = _targets(home, settings.identity.bots_base_path)
    chosen = {home_archive.BOTS} if "bots" in wanted else set()
    chosen |= {CONFIG_NAME, home_archive.ENVIRONMENTS} if "config" in wanted else set()
    chosen |= {ENV_NAME} if secret else set()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".home-") as scratch:
        _leave_to_master(scratch, folder)
        ledger_path = Path(scratch) / home_archive.LEDGER
        params = BackupParams(path=str(ledger_path), part_of=str(target))
        made = run_operation(home, operations.backup, params, timeout_s=LONG_TIMEOUT_S)
        with console.status("packing"):
            packed = home_archive.pack_home(
                target, ledger_path, {name: where for name, where in sources.items() if name in chosen}
            )
    if path is None:
        home_archive.keep_newest(folder, "fleet-*.tar.gz", _KEPT)
    return HomeBackup(
        path=str(target),
        bytes=target.stat().st_size,
        rows=made.rows,
        files=packed.files - 1,
        parts=(*wanted, *((ENV_NAME,) if secret else ())),
        left_out=tuple(packed.left_out),
    )


def _leave_to_master(scratch: str, folder: Path) -> None:
    """Let a folder that root made belong to the user of the master, who is to write into it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(scratch, owner.st_uid, owner.st_gid)


def _targets(home: Path | None, bots: Path) -> dict[str, Path]:
    folder = home_of(home)
    return {
        CONFIG_NAME: folder / CONFIG_NAME,
        ENV_NAME: folder / ENV_NAME,
        home_archive.ENVIRONMENTS: folder / home_archive.ENVIRONMENTS,
        home_archive.BOTS: bots,
    }


def restore(
    path: ArchiveArgument, home: HomeOption = None, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Put a backup back: the ledger, and what else is in it. What is replaced is kept. No master may run."""
    with reporting_errors(as_json=as_json):
        if not path.is_file():
            raise FleetError(f"there is no file {path}", hint="`ls state/backups` shows the backups")
        if home_archive.is_home_archive(path):
            _restore_home(path.absolute(), home, yes=yes, as_json=as_json)
            return
        refuse_beside_master(home)
        confirm(f"Replace the current ledger by {path.name}?", yes=yes)
        say_restored(run_operation(home, operations.restore, ArchiveParams(path=str(path.absolute()))), as_json=as_json)


def _restore_home(path: Path, home: Path | None, *, yes: bool, as_json: bool) -> None:
    folder = home_of(home)
    is_new = not (folder / CONFIG_NAME).exists()
    if not is_new:
        refuse_beside_master(home)
    # Where bots go may be for the config in the archive to say, so that comes first.
    first = {name: where for name, where in _targets(home, folder).items() if name != home_archive.BOTS}
    early = home_archive.plan(path, first)
    if is_new and CONFIG_NAME not in early.parts:
        raise FleetError(
            f"there is no config.py in {folder}, nor in the backup", hint=f"put config.py and {ENV_NAME} there first"
        )
    if not (folder / ENV_NAME).exists() and ENV_NAME not in early.parts:
        raise FleetError(
            f"there is no {ENV_NAME} in {folder}, nor in the backup",
            hint="copy the old one there: without its MASTER_SECRET nothing of the ledger can be read",
        )
    _say_plan(early, folder)
    confirm(f"Replace the ledger in {folder}, and these files?", yes=yes)
    aside = folder / f"replaced-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    count = home_archive.unpack(path, first, aside=aside)
    bots = {home_archive.BOTS: settings_of(home).identity.bots_base_path}
    if home_archive.BOTS in early.parts:
        late = home_archive.plan(path, bots)
        if late.overwritten:
            _say_plan(late, folder)
            confirm("Replace these files of bots?", yes=yes)
    (state := state_dir(home)).mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=state, prefix=".restore-") as scratch:
        ledger_path = Path(scratch) / home_archive.LEDGER
        home_archive.ledger_of(path, ledger_path)
        found = run_operation(home, operations.restore, ArchiveParams(path=str(ledger_path)), timeout_s=LONG_TIMEOUT_S)
    count += home_archive.unpack(path, bots, aside=aside)
    say_restored(found, as_json=as_json)
    if not as_json:
        console.print(one_line(f"{count} files are back in {folder}"), soft_wrap=True)
        if aside.exists():
            console.print(one_line(f"what they replaced is in {aside}"), soft_wrap=True)
        where = "" if home is None else f" --home {shlex.quote(str(home))}"
        steps = (f"fleet doctor{where}", "bold"), ", ", (f"fleet up{where}", "bold")
        console.print(one_line("next: ", *steps), soft_wrap=True)


def _say_plan(found: home_archive.Plan, folder: Path) -> None:
    for paths, what, style in (
        (found.newer, "NEWER than in the backup, and replaced", "bold yellow"),
        (found.replaced, "replaced", "yellow"),
    ):
        for path in paths[:_SHOWN]:
            name = path.relative_to(folder) if path.is_relative_to(folder) else path
            console.print(one_line((f"{what}: ", style), os.fspath(name)), soft_wrap=True)
        if len(paths) > _SHOWN:
            console.print(one_line((f"... and {len(paths) - _SHOWN} more {what}", style)))
    if found.new:
        console.print(one_line(f"{len(found.new)} new files"))
