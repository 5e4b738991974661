"""``check``, ``test`` and ``lock``: the config of a home, and the code of a source checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import typer
from rich.text import Text

from master.cli.context import HomeOption, home_of, reporting_errors
from master.errors import ExitCode, FleetError
from master.terminal import console, one_line

_STEPS: dict[str, list[str]] = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "layers": ["lint-imports"],
}
_FIXES: dict[str, list[str]] = {
    # Lint first: its fixes may need to be formatted.
    "fixing lint": ["ruff", "check", "--fix", "."],
    "fixing format": ["ruff", "format", "."],
}
STEP_TIMEOUT_S = 900.0


class NoCheckout(FleetError):
    """The command needs a source checkout."""

    code: ClassVar[str] = "no_checkout"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


def _checkout() -> Path | None:
    named = os.environ.get("FLEET_CHECKOUT")
    root = Path(named) if named else Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "tests").is_dir() else None


def check(
    what: Annotated[
        Literal["all", "config", "code"], typer.Argument(help="The config, the code of this checkout, or both.")
    ] = "all",
    fix: Annotated[bool, typer.Option("--fix", help="First fix what can be fixed automatically in the code.")] = False,
    home: HomeOption = None,
) -> None:
    """Check the config of the home, and the code of this checkout (format, lint, types, layers)."""
    with reporting_errors():
        folder = home_of(home)
        root = _checkout()
        has_config = (folder / "config.py").is_file()
        if what == "config" or (what == "all" and has_config):
            _check_config(folder)
        if what == "code" or (what == "all" and root is not None):
            _check_code(root, fix=fix)
        if what == "all" and not has_config and root is None:
            raise NoCheckout(f"{folder} has neither a config.py nor a source checkout", hint="run `fleet init`")


def _check_config(folder: Path) -> None:
    import asyncio

    from master.configuration.loading import load_settings

    settings = load_settings(folder, os.environ)
    console.print(one_line(("✓ ", "green"), f"config of {folder}"))
    if not settings.nodes:
        return
    # Imported only if nodes are named: it loads the database modules, which takes half a second.
    from master.services.upkeep.node_names import unknown_names_in

    for problem in asyncio.run(unknown_names_in(settings)):
        console.print(one_line(("! ", "yellow"), str(problem)), soft_wrap=True)


def _check_code(root: Path | None, *, fix: bool) -> None:
    if root is None:
        raise NoCheckout("this is not a source checkout", hint="clone the repository to work on the code")
    if fix:
        for name, step in _FIXES.items():
            # The last line is the count of fixes; the checks report what could not be fixed.
            told = _run_step(root, name, step).stdout.strip().splitlines()
            console.print(one_line(("· ", "yellow"), f"{name}: {told[-1] if told else 'nothing to do'}"))
    failed = [name for name, step in _STEPS.items() if not _passes(root, name, step)]
    if not _has_current_lock(root) or failed:
        raise typer.Exit(ExitCode.FAILED)


def _run_step(root: Path, name: str, step: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a tool of the checkout's environment, with a spinner."""
    tool, *arguments = step
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    with console.status(f"{name} ..."):
        return subprocess.run(  # noqa: S603 - our own tools
            command, cwd=root, capture_output=True, text=True, timeout=STEP_TIMEOUT_S, check=False
        )


def _passes(root: Path, name: str, step: list[str]) -> bool:
    began = time.monotonic()
    done = _run_step(root, name, step)
    passed = done.returncode == 0
    mark = ("✓ ", "green") if passed else ("✗ ", "red")
    console.print(one_line(mark, name, (f"  {time.monotonic() - began:.1f} s", "bright_black")))
    if not passed:
        console.print(Text(done.stdout + done.stderr), soft_wrap=True)
    return passed


def _has_current_lock(root: Path) -> bool:
    """Compare the lock with pyproject.toml and with what is installed; a checkout without a lock is let be."""
    from master.cli import locking

    if not (root / locking.FOLDER).is_dir():
        return True
    found = locking.problems(root)
    console.print(Text.assemble(("✗ ", "red") if found else ("✓ ", "green"), "lock"))
    for problem in found:
        console.print(Text(f"  {problem}"), soft_wrap=True)
    if found:
        console.print(Text("  -> ./fleet lock", "cyan"))
    return not found


def lock(
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Take the newest versions that pyproject.toml allows.")
    ] = False,
) -> None:
    """Write locks/ anew from pyproject.toml: the versions and hashes that ./fleet installs. Needs uv."""
    from master.cli import locking

    with reporting_errors():
        root = _checkout()
        if root is None:
            raise NoCheckout("this is not a source checkout", hint="clone the repository to work on the code")
        before = locking.pins_of(root)
        with console.status("lock ..."):
            locking.make_lock(root, upgrade=upgrade)
        changes = locking.changes(before, locking.pins_of(root))
        console.print(Text.assemble(("✓ ", "green"), f"{locking.FOLDER}/: ", changes or "no version has changed"))


def test(context: typer.Context) -> None:
    """Run the tests of this checkout but the slow ones; what follows goes to pytest (`-m slow` runs those)."""
    with reporting_errors():
        root = _checkout()
        if root is None:
            raise NoCheckout("this is not a source checkout", hint="clone the repository to run its tests")
    command = [sys.executable, "-m", "pytest", *_defaults(context.args), *context.args]
    raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)  # noqa: S603 - our own tests


def _defaults(arguments: list[str]) -> list[str]:
    """Return pytest's default arguments, unless the caller overrides them."""
    workers = ["-n", str(min(os.cpu_count() or 1, 4))]
    # A test that is given by name runs even if it is slow.
    chosen = any(argument.startswith(("-m", "-k")) or "::" in argument for argument in arguments)
    return [
        *([] if any(argument.startswith("-n") for argument in arguments) else workers),
        *([] if chosen else ["-m", "not slow"]),
    ]
