"""What ``fleet import`` does: read, plan, show, ask, register, and say what is left to do."""

from __future__ import annotations

import getpass
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import typer
from msgspec import structs
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from master.cli.context import client_of, home_of
from master.control.client import NoMaster
from master.errors import ExitCode, FleetError
from master.operations import nodes as operations
from master.operations import onboarding
from master.operations.parameters import RegisterParams, StatusParams
from master.services.core.views import FleetEvent, NodeStatus
from master.services.moving.plan import PlannedNode, make_plan
from master.services.moving.programs import ImportedProgram
from master.services.moving.reading import Reader
from master.services.moving.views import ImportView, ProgramView, stop_commands, view_of
from master.terminal import confirm, console, errors, one_line, print_json
from master.wording import visible

REGISTER_TIMEOUT_S = 120.0
_MOST_NAMES = 4
_MARGIN = "  "
_SIZES = frozenset(("MEMORY_LIMIT_BYTES", "MEMORY_HARD_LIMIT_BYTES"))
_CARRIED = {
    "MEMORY_LIMIT_BYTES": "memory limit",
    "MEMORY_HARD_LIMIT_BYTES": "hard memory limit",
    "CRON_RESTART": "restart at",
    "WATCH": "watch",
    "AFTER": "after",
    "PRIORITY": "priority",
    "ENV_FILE": "the variables in",
    "OPEN_FILES_LIMIT": "open files",
    "CPU_WEIGHT": "CPU weight",
}


class NothingToImport(FleetError):
    """There is no file, or none of its programs can become a node."""

    code: ClassVar[str] = "nothing_to_import"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NoSuchProgram(FleetError):
    """The files name no such program."""

    code: ClassVar[str] = "no_such_program"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was typed."""

    files: tuple[Path, ...]
    only: tuple[str, ...]
    variant: str
    without_token: frozenset[str]
    start: bool
    dry_run: bool
    yes: bool


def bring_in(wishes: Wishes, home: Path | None, *, as_json: bool) -> None:
    """Register what the files name, after a look at it.

    Raises
    ------
    FleetError
    typer.Exit
        With 1 if a program was not registered, for what is in its way or as it was tried.
    """
    # Without a master there is nothing to ask about, but much to look at.
    known = _nodes(home, needed=not wishes.dry_run)
    programs = _read(wishes)
    planned = make_plan(programs, known, home_of(home), without_token=wishes.without_token)
    if not wishes.start:
        planned = [structs.replace(node, start=False) for node in planned]
    if not as_json:
        _show_plan(planned)
    if wishes.dry_run:
        _finish(planned, [view_of(node) for node in planned], as_json=as_json)
        if not as_json:
            errors.print()
            errors.print(one_line("Nothing was changed: this only looked.", style="bright_black"))
        return
    wanted = [node for node in planned if node.is_wanted]
    if wanted:
        if not as_json:
            console.print()
        confirm(f"Register {_count(wanted, 'program')}?", yes=wishes.yes)
    elif not any(node.present for node in planned):
        raise NothingToImport("none of these programs can become a node", hint="`--dry-run` says what is in their way")
    views = [_register(node, home, quiet=as_json) if node.is_wanted else view_of(node) for node in planned]
    _finish(planned, views, as_json=as_json)
    if any(view.outcome in ("failed", "impossible") for view in views):
        raise typer.Exit(ExitCode.FAILED)


def _nodes(home: Path | None, *, needed: bool) -> tuple[NodeStatus, ...]:
    """Return the nodes of the fleet.

    Raises
    ------
    NoMaster
    """
    try:
        return tuple(client_of(home).run(operations.status, StatusParams()).nodes)
    except NoMaster:
        if needed:
            raise
        return ()


def _read(wishes: Wishes) -> list[ImportedProgram]:
    """Return the programs that are wanted of some files.

    Raises
    ------
    FileNotUnderstood, NothingToImport, NoSuchProgram
    """
    reader = Reader(
        environment=os.environ,
        home=Path.home(),
        user=getpass.getuser(),
        variant=wishes.variant,
        announce=lambda text: errors.print(one_line(text, style="bright_black"), soft_wrap=True),
    )
    default = reader.default_file()
    chosen = list(wishes.files) or ([default] if default else [])
    if not chosen:
        raise NothingToImport(
            "there is no ~/.pm2/dump.pm2", hint="run `pm2 save`, or name a file: see `fleet import --help`"
        )
    programs = [program for file in chosen for program in reader.read(file)]
    for name in wishes.only:
        if not any(program.name == name for program in programs):
            known = ", ".join(program.name for program in programs)
            raise NoSuchProgram(f"no program is called {name!r}", hint=f"there are: {known}")
    return [program for program in programs if not wishes.only or program.name in wishes.only]


def _register(node: PlannedNode, home: Path | None, *, quiet: bool) -> ProgramView:
    """Register one program; its failure is its outcome."""
    params = RegisterParams(
        name=node.name,
        token=node.found.token.reveal() if node.found else "",
        no_token=node.found is None,
        folder=node.folder,
        entry=node.command.entry or "bot.py",
        readiness="process",
        options=node.options,
        environment=node.environment,
        tags=node.tags,
        start=node.start and not node.running,
    )
    view = view_of(node)
    with console.status(one_line(f"{node.name}: asking the master")) as spinner:

        def show(step: FleetEvent) -> None:
            spinner.update(one_line(f"{node.name}: {step.detail}"))

        try:
            done = client_of(home).follow(
                onboarding.register, params, event=FleetEvent, on_event=show, timeout_s=REGISTER_TIMEOUT_S
            )
        except FleetError as error:
            view = structs.replace(view, outcome="failed", error=error.message, hint=_hint(error, node))
        else:
            view = structs.replace(
                view,
                outcome="registered",
                error=done.trouble,
                node_id=done.node_id,
                bot_user_id=done.bot_user_id if node.found else "",
                state=done.state,
                notes=done.notes,
            )
    if not quiet:
        _show_outcome(view)
    return view


def _hint(error: FleetError, node: PlannedNode) -> str:
    """Return what to do about a program that was not registered."""
    if node.found is None or error.code != "token_refused":
        return error.hint
    other = f"if {node.token_place} is another service's: --no-token {shlex.quote(node.program.name)}"
    return f"{error.hint}\n{other}"


def _finish(planned: Sequence[PlannedNode], views: Sequence[ProgramView], *, as_json: bool) -> None:
    """Say what is left to do: to stop the copies that run elsewhere, and then to start the nodes."""
    running = [
        node
        for node, view in zip(planned, views, strict=True)
        if node.running and view.outcome in ("planned", "registered")
    ]
    stops = stop_commands(running)
    begin = " ".join(["fleet start", *(node.name for node in running)]) if running else ""
    if as_json:
        print_json(ImportView(programs=tuple(views), stop=stops, start=begin))
    elif running:
        console.print()
        console.print(
            one_line("Still running elsewhere, so not started: a bot that runs twice answers twice.", style="yellow")
        )
        for node in running:
            copies = ", ".join(f"pid {copy.pid}" + (f" ({copy.by})" if copy.by else "") for copy in node.running)
            console.print(one_line(f"{_MARGIN}{node.name}: {copies}"), soft_wrap=True)
        for command in (*stops, begin):
            console.print(one_line(_MARGIN, (command, "cyan")), soft_wrap=True)


# How it looks


def _show_plan(planned: Sequence[PlannedNode]) -> None:
    wanted = [node for node in planned if node.is_wanted]
    rows = [_cells(node) for node in wanted]
    if wanted:
        widths = _widths(rows)
        console.print(_row(("NODE", "PROGRAM", "FOLDER", "BOT"), widths, style="bold"), soft_wrap=True)
        for node, cells in zip(wanted, rows, strict=True):
            console.print(_row(cells, widths), soft_wrap=True)
            if carried := _carried(node):
                _print_indented(f"with {carried}", style="bright_black")
    for title, remarks in (("Not carried over", _losses(wanted)), ("In the way", _obstacles(planned))):
        if remarks:
            console.print(Text(f"\n{title}", style="bold"))
            for remark in remarks:
                _print_indented(remark)
    present = [node.name for node in planned if node.present]
    if present:
        console.print(Text("\nIn the fleet already", style="bold"))
        _print_indented(", ".join(present))


def _print_indented(text: str, style: str = "") -> None:
    """Print a text below a title; its further lines are indented too."""
    for line in one_line(text, style=style).wrap(console, max(console.width - len(_MARGIN), 20)):
        line.rstrip()
        console.print(Text.assemble(_MARGIN, line), soft_wrap=True)


def _cells(node: PlannedNode) -> tuple[str, str, str, str]:
    folder = Path(node.folder)
    home = Path.home()
    short = f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) and folder != home else node.folder
    return node.name, visible(node.command.shown), visible(short), visible(node.token_place) or "no token"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the widths of the columns; where there is no room for all, program and folder give way."""
    needed = [max(cell_len(row[at]) for row in rows) for at in range(4)]
    needed = [
        max(width, cell_len(title)) for width, title in zip(needed, ("NODE", "PROGRAM", "FOLDER", "BOT"), strict=True)
    ]
    room = console.width - needed[0] - needed[3] - 6
    if needed[1] + needed[2] > room:
        half = max(room // 2, 12)
        program = max(room - needed[2], half) if needed[2] < half else half
        needed[1] = min(needed[1], program)
        needed[2] = min(needed[2], max(room - needed[1], 12))
    return needed


def _row(cells: Sequence[str], widths: Sequence[int], style: str = "") -> Text:
    name, program, folder, bot = cells
    return one_line(
        _MARGIN.join((_fit(name, widths[0]), _fit(program, widths[1]), _fit(folder, widths[2], keep_end=True), bot)),
        style=style,
    )


def _fit(text: str, width: int, *, keep_end: bool = False) -> str:
    """Return a text as wide as its column; of a path the end says most."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return "…" + text[-(width - 1) :] if keep_end else set_cell_size(text, width - 1).rstrip() + "…"


def _carried(node: PlannedNode) -> str:
    """Return what is carried over, in a few words."""
    number = len(node.environment)
    parts = [f"{number} variable{'' if number == 1 else 's'}"] if number else []
    for key, value in node.options.items():
        if key in node.command.options:
            continue
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        if key in _SIZES:
            shown = f"{value / 2**20:.0f} MB"
        parts.append(f"{_CARRIED.get(key, key)} {shown}")
    if not node.start:
        parts.append("stopped, as it was")
    return ", ".join(parts)


def _losses(planned: Iterable[PlannedNode]) -> list[str]:
    """Return what is not carried over; what is the same for several programs is said once."""
    names: dict[tuple[str, str], list[str]] = {}
    for node in planned:
        for lost in node.lost:
            names.setdefault((lost.key, lost.instead), []).append(node.name)
    return [f"{key} ({_few(found)}): {instead}" for (key, instead), found in names.items()]


def _obstacles(planned: Iterable[PlannedNode]) -> list[str]:
    return [f"{node.name}: {node.trouble}" for node in planned if node.trouble]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _count(wanted: Sequence[PlannedNode], what: str) -> str:
    return f"1 {what} as a node" if len(wanted) == 1 else f"{len(wanted)} {what}s as nodes"


def _show_outcome(view: ProgramView) -> None:
    if view.outcome == "failed":
        console.print(one_line(("✖ ", "red"), f"{view.name}: {view.error}"), soft_wrap=True)
        for hint in view.hint.splitlines():
            console.print(one_line(f"{_MARGIN}{hint}", style="bright_black"), soft_wrap=True)
        return
    note = f"not started: {view.error}" if view.error else view.state
    console.print(one_line(("✓ ", "green"), f"{view.name} is in the fleet, {note}"), soft_wrap=True)
    for text in view.notes:
        console.print(one_line(f"{_MARGIN}{text}", style="yellow"), soft_wrap=True)
