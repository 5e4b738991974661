"""The Typer application; commands are registered in the order of ``fleet --help``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Annotated, ClassVar

import typer

from master import __version__
from master.cli import (
    background,
    backups,
    changing,
    checkout,
    command_link,
    home,
    ledger,
    logs,
    moving,
    onboarding,
    running,
    sandbox,
    secrets,
    service,
    setup,
    steering,
    telling,
    top,
    uninstall,
)
from master.cli.bill import bill_of_materials
from master.cli.group import CommandGroup
from master.errors import ExitCode, FleetError
from master.terminal import discard_output, fail
from master.wording import visible_lines


class UsageFailed(FleetError):
    """The command line was not understood."""

    code: ClassVar[str] = "usage"
    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


app = typer.Typer(
    cls=CommandGroup,
    name="fleet",
    help="Supervises a fleet of Discord bots: spawn, watch, repair, clone.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 config, 6 no master, 7 already running, "
    "8 ledger, 9 timed out, 10 Discord, 130 interrupted. docs/operations.md explains them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_FIRST, _DAILY, _NODES, _LEDGER, _WORK = "First steps", "Every day", "Nodes", "The ledger", "This checkout"

app.command("demo", rich_help_panel=_FIRST)(running.demo)
app.command("init", rich_help_panel=_FIRST)(setup.init)
app.command("doctor", rich_help_panel=_FIRST)(setup.doctor)
app.command("up", rich_help_panel=_FIRST)(background.up)
app.command("down", rich_help_panel=_FIRST)(background.down)
app.command("run", rich_help_panel=_FIRST)(running.run)
app.command("home", rich_help_panel=_FIRST)(home.home)
app.command("install-service", rich_help_panel=_FIRST)(service.install_service)
app.command("install-command", rich_help_panel=_FIRST)(command_link.install_command)
app.command("uninstall", rich_help_panel=_FIRST)(uninstall.uninstall)
app.command("status", rich_help_panel=_DAILY)(steering.status)
app.command("top", rich_help_panel=_DAILY)(top.top)
app.command("describe", rich_help_panel=_DAILY)(telling.describe)
app.command("why", rich_help_panel=_DAILY)(telling.why)
app.command("history", rich_help_panel=_DAILY)(steering.history)
app.command("logs", rich_help_panel=_DAILY)(logs.logs)
app.command("flush", rich_help_panel=_DAILY)(logs.flush)
app.command("events", rich_help_panel=_DAILY)(logs.events)
app.command("start", rich_help_panel=_DAILY)(steering.start)
app.command("stop", rich_help_panel=_DAILY)(steering.stop)
app.command("restart", rich_help_panel=_DAILY)(steering.restart)
app.command("kill", rich_help_panel=_DAILY)(steering.kill)
app.command("release", rich_help_panel=_DAILY)(steering.release)
app.command("clear", rich_help_panel=_DAILY)(steering.clear)
app.command("reload", rich_help_panel=_DAILY)(steering.reload)
app.command("shutdown", rich_help_panel=_DAILY)(steering.shutdown)
app.command("register", rich_help_panel=_NODES)(onboarding.register)
app.command("import", rich_help_panel=_NODES)(moving.import_programs)
app.command("dup", rich_help_panel=_NODES)(onboarding.dup)
app.command("edit", rich_help_panel=_NODES)(changing.edit)
app.command("rename", rich_help_panel=_NODES)(changing.rename)
app.command("set-token", rich_help_panel=_NODES)(changing.set_token)
app.command("remove", rich_help_panel=_NODES)(changing.remove)
app.command("revoke", rich_help_panel=_NODES)(steering.revoke)
app.command("reinstate", rich_help_panel=_NODES)(steering.reinstate)
app.add_typer(ledger.audit, name="audit", rich_help_panel=_LEDGER)
app.add_typer(ledger.ledger, name="ledger", rich_help_panel=_LEDGER)
app.command("backup", rich_help_panel=_LEDGER)(backups.backup)
app.command("restore", rich_help_panel=_LEDGER)(backups.restore)
app.command("rotate-secret", rich_help_panel=_LEDGER)(secrets.rotate_secret)
app.command("sandbox", rich_help_panel=_WORK)(sandbox.sandbox)
app.command("lock", rich_help_panel=_WORK)(checkout.lock)
app.command("check", rich_help_panel=_WORK)(checkout.check)
app.command(
    "test",
    rich_help_panel=_WORK,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(checkout.test)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    sbom: Annotated[
        bool, typer.Option("--sbom", help="With --version: all that is installed, as CycloneDX JSON.")
    ] = False,
) -> None:
    """Supervises a fleet of Discord bots: spawn, watch, repair, clone."""
    if sbom:
        typer.echo(json.dumps(bill_of_materials(), indent=1))
    elif version:
        typer.echo(f"fleetmaster {__version__}")
    if sbom or version:
        raise typer.Exit


def run() -> int:
    """Run the command line; returns the exit code."""
    # Errors are printed once, by the command itself; log output is for the master.
    logging.getLogger("master").addHandler(logging.NullHandler())
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # `fleet status | head -1`: its reader had enough, which is no failure.
        discard_output()
        return ExitCode.OK
    return code


def _run() -> int:
    try:
        result = app(standalone_mode=False, prog_name="fleet")
    except typer.Exit as ending:
        return ending.exit_code
    except FleetError as error:
        return _error(error)
    except SystemExit as ending:
        if isinstance(ending.__context__, BrokenPipeError):
            return ExitCode.OK  # `fleet --help | head -1`: Typer's own console ends the program
        raise
    except (KeyboardInterrupt, asyncio.CancelledError):
        return ExitCode.INTERRUPTED
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        return _usage(error)
    return result if isinstance(result, int) else ExitCode.OK


def _usage(error: Exception) -> int:
    """Print a usage error as Typer does; re-raises any other exception."""
    show = getattr(error, "show", None)
    if show is None:
        raise error
    code = int(getattr(error, "exit_code", ExitCode.USAGE))
    message = getattr(error, "format_message", lambda: str(error))()
    if _wants_json() and message:
        context = getattr(error, "ctx", None)
        hint = f"`{context.command_path} --help` shows how it is typed" if context is not None else ""
        return _error(UsageFailed(message, hint=hint))
    # It quotes what was typed, such as a name from another program.
    error.message = visible_lines(getattr(error, "message", ""))  # type: ignore[attr-defined]
    show()
    return code


def _error(error: FleetError) -> int:
    """Print an error that no command printed; returns its exit code."""
    try:
        fail(error, as_json=_wants_json())
    except typer.Exit as ending:
        return ending.exit_code


def _wants_json() -> bool:
    """Tell whether JSON was asked for, also where the command line was not understood."""
    typed = sys.argv[1:]
    return "--json" in (typed[: typed.index("--")] if "--" in typed else typed)
