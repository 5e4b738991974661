"""``run`` and ``demo``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from master.cli.context import HomeOption, home_of, reporting_errors
from master.errors import ExitCode
from master.terminal import console, print_json


def run(
    home: HomeOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details.")] = False,
) -> None:
    """Run the master in the foreground; Ctrl-C stops it and its nodes, SIGHUP leaves the nodes running."""
    with reporting_errors():
        from master.configuration.loading import load_settings

        folder = home_of(home)
        load_settings(folder, os.environ)
        # Re-execute: a long-running master does not need the command line's modules (25 MB).
        sys.stdout.flush()
        options = ["--verbose"] if verbose else []
        # One malloc arena: with several, memory freed by one thread is not reused by others (4 MB, mallopt(3)).
        environment = {**os.environ, "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "1")}
        command = [sys.executable, "-m", "master", "--home", str(folder), *options]
        os.execve(sys.executable, command, environment)  # noqa: S606 - ourselves


def demo(
    nodes: Annotated[int, typer.Option(min=1, max=200, help="Nodes to begin with.")] = 8,
    once: Annotated[bool, typer.Option("--once", help="End after the summary.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; implies --once.")] = False,
    keep: Annotated[Path | None, typer.Option("--keep", help="Use this new folder, and keep it.")] = None,
) -> None:
    """Show a live fleet on a local Discord: no token, no server, nothing left behind."""
    with reporting_errors(as_json=as_json):
        from master.demonstration.story import run_demo

        outcome = asyncio.run(
            run_demo(nodes=nodes, stay=not (once or as_json), quiet=as_json, keep=keep, console=console)
        )
        if as_json:
            print_json(outcome)
        raise typer.Exit(ExitCode.OK if outcome.ok else ExitCode.FAILED)
