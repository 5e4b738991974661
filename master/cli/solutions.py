"""``solutions``: what the fleet knows to do about errors; testing, switching and changing it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, ClassVar

import typer
from msgspec import structs

from master.cli.context import HomeOption, JsonOption, YesOption, client_of, reporting_errors, run_operation
from master.cli.group import CommandGroup
from master.errors import ExitCode, FleetError
from master.operations import solutions as operations
from master.operations.parameters import (
    NoParams,
    SolutionChangeParams,
    SolutionDraftParams,
    SolutionEnableParams,
    SolutionParams,
    SolutionSaveParams,
    SolutionTestParams,
    SolutionVersionParams,
)
from master.services.core.solution_views import ReadingProgress, SolutionSaved, SolutionsView, SolutionTest, VersionView
from master.terminal import confirm, console, errors, is_terminal, one_line, print_json, print_lines, terminal_width
from master.terminal.solutions import details_lines, found_lines, history_lines, mode_text, solutions_lines

TIMEOUT_S = 30.0
TEST_TIMEOUT_S = 300.0
_EDITORS = ("sensible-editor", "nano", "vim", "vi")

solutions = typer.Typer(cls=CommandGroup, help="What is done about errors by itself.", no_args_is_help=True)


class NoEditor(FleetError):
    """There is no editor, or it failed."""

    code: ClassVar[str] = "no_editor"


class NoSuchVersion(FleetError):
    """The solution has no such version."""

    code: ClassVar[str] = "no_such_version"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


def complete_solutions(incomplete: str) -> list[str]:
    """Complete a solution's id; without a master that answers quickly there are no completions."""
    try:
        found = client_of(None).run(operations.listing, NoParams(), timeout_s=1.0)
    except FleetError:
        return []
    return [view.id for view in found.solutions if view.id.startswith(incomplete)]


IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Id of a solution.", autocompletion=complete_solutions, show_default=False)
]
WhyOption = Annotated[str, typer.Option("--why", "-m", help="Why, for its history and the audit log.")]


@solutions.command("list")
def show_all(
    own: Annotated[bool, typer.Option("--own", help="Only yours.")] = False,
    used: Annotated[bool, typer.Option("--used", help="Only those that acted, or would have.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all solutions, what they did, and whether it helped; those in trouble first."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.listing, NoParams(), timeout_s=TIMEOUT_S)
        found = chosen_of(found, own=own, used=used)
        if as_json:
            print_json(found)
        else:
            print_lines(solutions_lines(found, width=terminal_width()))


def chosen_of(found: SolutionsView, *, own: bool, used: bool) -> SolutionsView:
    """Return a list with what was asked for; files that are refused stay in it."""
    wanted = [
        view
        for view in found.solutions
        if (not own or view.origin != "shipped") and (not used or view.runs or view.detected)
    ]
    return structs.replace(found, solutions=tuple(wanted))


@solutions.command()
def show(
    solution: IdArgument,
    version: Annotated[
        int, typer.Option("--version", min=0, help="Print the text of that version alone.", show_default=False)
    ] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one solution: mode and why, what it did, its versions, its text."""
    with reporting_errors(as_json=as_json):
        if version:
            kept = _version(home, solution, version)
            print_json(kept) if as_json else print_lines(map(one_line, kept.content.splitlines()))
            return
        found = run_operation(home, operations.show, SolutionParams(id=solution), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
        else:
            print_lines(details_lines(found, width=terminal_width()))


@solutions.command("test")
def look_back(
    solution: Annotated[
        str,
        typer.Argument(
            metavar="ID|FILE",
            help="Id of a solution, or a file that is not installed yet (with a / or .toml).",
            autocompletion=complete_solutions,
            show_default=False,
        ),
    ],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test a solution on all logs and errors that the fleet has stored; nothing is done about what it finds."""
    with reporting_errors(as_json=as_json):
        is_file = "/" in solution or solution.endswith(".toml")
        params = SolutionTestParams(text=_read(Path(solution))) if is_file else SolutionTestParams(id=solution)
        found = _test(home, params)
        if as_json:
            print_json(found)
        else:
            print_lines(found_lines(found, width=terminal_width()))


def _test(home: Path | None, params: SolutionTestParams) -> SolutionTest:
    with errors.status("reading the logs") as status:

        def show_progress(progress: ReadingProgress) -> None:
            read, everything = progress.read_bytes / 1e6, progress.all_bytes / 1e6
            status.update(f"reading the logs: {read:.0f} of {everything:.0f} MB, {progress.matched} lines matched")

        return client_of(home).follow(
            operations.test, params, event=ReadingProgress, on_event=show_progress, timeout_s=TEST_TIMEOUT_S
        )


@solutions.command()
def enable(
    solution: IdArgument,
    now: Annotated[
        bool, typer.Option("--now", help="It acts at once; otherwise one of your own only detects at first.")
    ] = False,
    why: WhyOption = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch a solution on."""
    with reporting_errors(as_json=as_json):
        params = SolutionEnableParams(id=solution, now=now, why=why)
        _show_saved(run_operation(home, operations.enable, params, timeout_s=TIMEOUT_S), as_json=as_json)


@solutions.command()
def disable(solution: IdArgument, why: WhyOption = "", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Switch a solution off: it neither acts nor detects, until it is enabled."""
    with reporting_errors(as_json=as_json):
        params = SolutionChangeParams(id=solution, why=why)
        _show_saved(run_operation(home, operations.disable, params, timeout_s=TIMEOUT_S), as_json=as_json)


@solutions.command()
def draft(
    fingerprint: Annotated[
        str,
        typer.Argument(help="Fingerprint of an error in `fleet errors list`, or its beginning.", metavar="FINGERPRINT"),
    ],
    edit: Annotated[bool, typer.Option("--edit", "-e", help="Finish it in your editor, then save it.")] = False,
    why: WhyOption = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose a solution for an error that none knows; printed, and not active until it is saved."""
    with reporting_errors(as_json=as_json):
        params = SolutionDraftParams(fingerprint=fingerprint)
        found = run_operation(home, operations.draft, params, timeout_s=TIMEOUT_S)
        for note in found.notes:
            errors.print(one_line((note, "yellow")), soft_wrap=True)
        if edit:
            _edit_and_save(home, found.id, found.content, why or f"from error {found.fingerprint}", as_json=as_json)
        elif as_json:
            print_json(found)
        else:
            print_lines(map(one_line, found.content.splitlines()))


@solutions.command()
def edit(
    solution: IdArgument,
    why: WhyOption = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a solution in your editor (VISUAL, EDITOR); it is checked, and kept as a version."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.show, SolutionParams(id=solution), timeout_s=TIMEOUT_S)
        _edit_and_save(home, solution, found.content, why, as_json=as_json, may_be_same=False)


@solutions.command()
def save(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A solution's TOML file.")],
    why: WhyOption = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Install a file: a new solution, or the newest version of the one with its id. It only detects at first."""
    with reporting_errors(as_json=as_json):
        params = SolutionSaveParams(text=_read(file), why=why)
        _show_saved(run_operation(home, operations.save, params, timeout_s=TIMEOUT_S), as_json=as_json)


@solutions.command()
def history(solution: IdArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the versions of a solution with who and why, and each time that it knew an error."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.history, SolutionParams(id=solution), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
        else:
            print_lines(history_lines(found, width=terminal_width()))


@solutions.command("take-back")
def take_back(
    solution: IdArgument,
    version: Annotated[int, typer.Argument(min=1, help="Its number in `fleet solutions history`.")],
    why: WhyOption = "",
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier text the newest version; `fleet solutions show ID --version N` shows it."""
    with reporting_errors(as_json=as_json):
        kept = _version(home, solution, version)
        confirm(f"Make version {version} of {solution} the newest ({kept.why or 'no reason given'})?", yes=yes)
        params = SolutionVersionParams(id=solution, version=version, why=why)
        _show_saved(run_operation(home, operations.take_back, params, timeout_s=TIMEOUT_S), as_json=as_json)


@solutions.command()
def remove(
    solution: IdArgument,
    why: WhyOption = "",
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a solution of your own; its history stays, and it can be taken back."""
    with reporting_errors(as_json=as_json):
        run_operation(home, operations.show, SolutionParams(id=solution), timeout_s=TIMEOUT_S)
        confirm(f"Remove {solution}?", yes=yes)
        params = SolutionChangeParams(id=solution, why=why)
        _show_saved(run_operation(home, operations.remove, params, timeout_s=TIMEOUT_S), as_json=as_json)


# Shared


def _show_saved(done: SolutionSaved, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    version = f", version {done.version}" if done.version else ""
    if done.mode == "removed":
        back = f"fleet solutions take-back {done.id} {done.version - 1}"
        console.print(one_line(("✓ ", "green"), f"{done.id} is removed"))
        console.print(one_line("  ", (f"back again: {back}", "bright_black")), soft_wrap=True)
        return
    why = f"  ({done.why})" if done.why else ""
    line = one_line(("✓ ", "green"), f"{done.id}{version}  ", mode_text(done.mode), (why, "bright_black"))
    console.print(line, soft_wrap=True)
    for note in done.notes:
        console.print(one_line("  ", (note, "yellow")), soft_wrap=True)


def _version(home: Path | None, solution: str, version: int) -> VersionView:
    found = run_operation(home, operations.history, SolutionParams(id=solution), timeout_s=TIMEOUT_S)
    for kept in found.versions:
        if kept.version == version:
            return kept
    raise NoSuchVersion(
        f"{solution} has no version {version}", hint=f"`fleet solutions history {solution}` shows which it has"
    )


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise NoEditor(f"{file} is no text in UTF-8: {error.reason} at byte {error.start}") from error


def _edit_and_save(
    home: Path | None, solution: str, text: str, why: str, *, as_json: bool, may_be_same: bool = True
) -> None:
    """Have a text edited and save it; one that is refused is shown again with the reason, and never lost."""
    handle, name = tempfile.mkstemp(prefix=f"fleet-{solution}-", suffix=".toml")
    file = Path(name)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    while True:
        _open_editor(file)
        edited = _read(file)
        if not edited.strip() or (edited == text and not may_be_same):
            file.unlink()
            console.print("nothing was changed")
            return
        try:
            params = SolutionSaveParams(text=edited, why=why)
            done = run_operation(home, operations.save, params, timeout_s=TIMEOUT_S)
        except FleetError as error:
            error.hint = "\n".join(filter(None, (error.hint, f"your text is kept in {file}")))
            if not is_terminal() or error.exit_code != ExitCode.REFUSED:
                raise
            errors.print(one_line(("error: ", "bold red"), error.message), soft_wrap=True)
            if not typer.confirm("Edit it again?", default=True):
                raise
            continue
        file.unlink()
        _show_saved(done, as_json=as_json)
        return


def _open_editor(file: Path) -> None:
    """Wait until the operator has edited a file.

    Raises
    ------
    NoEditor
    """
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    found = chosen or next((name for name in _EDITORS if shutil.which(name)), "")
    if not found:
        raise NoEditor("there is no editor", hint=f"set EDITOR; the text is in {file}")
    try:
        # The operator's own choice, as for crontab -e.
        ended = subprocess.run([*shlex.split(found), str(file)], check=False)  # noqa: S603
    except (OSError, ValueError) as error:
        raise NoEditor(f"the editor {found!r} could not be started: {error}", hint=f"the text is in {file}") from error
    if ended.returncode:
        raise NoEditor(f"the editor {found!r} ended with {ended.returncode}", hint=f"the text is in {file}")
