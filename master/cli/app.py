"""The Typer application; commands are registered in the order of ``fleet --help``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, ClassVar

import typer

from master import __version__
from master.cli.group import CommandGroup
from master.errors import ExitCode, FleetError
from master.terminal import discard_output, fail
from master.wording import visible_lines


class UsageFailed(FleetError):
    """The command line was not understood."""

    code: ClassVar[str] = "usage"
    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


_EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 config, 6 no master, 7 already running, "
    "8 ledger, 9 timed out, 10 Discord, 130 interrupted. docs/operations.md explains them."
)
_FIRST, _DAILY, _NODES, _PEOPLE = "First steps", "Every day", "Nodes", "People"
_LEDGER, _WORK = "The ledger", "This checkout"


@dataclass(frozen=True, slots=True)
class _Command:
    """A command, and where it is.

    Parameters
    ----------
    at
        Module below ``master.cli`` and function; with ``is_group`` a Typer of its own.
    passes_on
        It takes whatever is typed, for another program.
    is_alias
        Another spelling of a command: it works, and is not listed.
    """

    name: str
    at: str
    panel: str
    is_group: bool = False
    passes_on: bool = False
    is_alias: bool = False

    def add_to(self, app: typer.Typer) -> None:
        """Load the command, and register it."""
        module, _, attribute = self.at.partition(":")
        found = getattr(import_module(f"master.cli.{module}"), attribute)
        if self.is_group:
            app.add_typer(found, name=self.name, rich_help_panel=self.panel)
            return
        settings = {"allow_extra_args": True, "ignore_unknown_options": True} if self.passes_on else None
        app.command(self.name, rich_help_panel=self.panel, context_settings=settings)(found)


_COMMANDS = (
    _Command("demo", "running:demo", _FIRST),
    _Command("init", "setup:init", _FIRST),
    _Command("doctor", "setup:doctor", _FIRST),
    _Command("up", "background:up", _FIRST),
    _Command("down", "background:down", _FIRST),
    _Command("run", "running:run", _FIRST),
    _Command("home", "home:home", _FIRST),
    _Command("install-service", "service:install_service", _FIRST),
    _Command("install-command", "command_link:install_command", _FIRST),
    _Command("uninstall", "uninstall:uninstall", _FIRST),
    _Command("status", "steering:status", _DAILY),
    _Command("top", "top:top", _DAILY),
    _Command("describe", "telling:describe", _DAILY),
    _Command("why", "telling:why", _DAILY),
    _Command("lineage", "lineage:lineage", _DAILY),
    _Command("history", "steering:history", _DAILY),
    _Command("logs", "logs:logs", _DAILY),
    _Command("flush", "logs:flush", _DAILY),
    _Command("events", "logs:events", _DAILY),
    _Command("errors", "errors:errors", _DAILY, is_group=True),
    _Command("repairs", "repairs:repairs", _DAILY, is_group=True),
    _Command("solutions", "solutions:solutions", _DAILY, is_group=True),
    _Command("patch", "patches:patch", _DAILY, is_group=True),
    _Command("licence", "licences:licence", _PEOPLE, is_group=True),
    _Command("license", "licences:licence", _PEOPLE, is_group=True, is_alias=True),
    _Command("licences", "licences:licence", _PEOPLE, is_group=True, is_alias=True),
    _Command("licenses", "licences:licence", _PEOPLE, is_group=True, is_alias=True),
    _Command("tickets", "tickets:tickets", _PEOPLE, is_group=True),
    _Command("announce", "announcements:announce", _PEOPLE),
    _Command("announcements", "announcements:announcements", _PEOPLE, is_group=True),
    _Command("ticket", "tickets:tickets", _PEOPLE, is_group=True, is_alias=True),
    _Command("channels", "channels:channels", _PEOPLE, is_group=True),
    _Command("start", "steering:start", _DAILY),
    _Command("stop", "steering:stop", _DAILY),
    _Command("restart", "steering:restart", _DAILY),
    _Command("kill", "steering:kill", _DAILY),
    _Command("release", "steering:release", _DAILY),
    _Command("clear", "steering:clear", _DAILY),
    _Command("reload", "steering:reload", _DAILY),
    _Command("cogs", "cogs:cogs", _DAILY, is_group=True),
    _Command("shutdown", "steering:shutdown", _DAILY),
    _Command("register", "onboarding:register", _NODES),
    _Command("import", "moving:import_programs", _NODES),
    _Command("dup", "onboarding:dup", _NODES),
    _Command("edit", "changing:edit", _NODES),
    _Command("rename", "changing:rename", _NODES),
    _Command("set-token", "changing:set_token", _NODES),
    _Command("remove", "changing:remove", _NODES),
    _Command("revoke", "steering:revoke", _NODES),
    _Command("reinstate", "steering:reinstate", _NODES),
    _Command("giveaway", "giveaways:giveaway", _PEOPLE, is_group=True),
    _Command("mailbox", "mailbox:mailbox", _PEOPLE, is_group=True),
    _Command("giveaways", "giveaways:giveaway", _PEOPLE, is_group=True, is_alias=True),
    _Command("audit", "ledger:audit", _LEDGER, is_group=True),
    _Command("ledger", "ledger:ledger", _LEDGER, is_group=True),
    _Command("backup", "backups:backup", _LEDGER),
    _Command("restore", "backups:restore", _LEDGER),
    _Command("rotate-secret", "secrets:rotate_secret", _LEDGER),
    _Command("sandbox", "sandbox:sandbox", _WORK),
    _Command("lock", "checkout:lock", _WORK),
    _Command("check", "checkout:check", _WORK),
    _Command("test", "checkout:test", _WORK, passes_on=True),
)


def build_app(typed: Sequence[str] = ()) -> typer.Typer:
    """Return the command line.

    Parameters
    ----------
    typed
        The arguments. If the first of them names a command, that one alone is loaded: all of them take 0.3 CPU-seconds.
    """
    app = typer.Typer(
        cls=CommandGroup,
        name="fleet",
        help="Supervises a fleet of Discord bots: spawn, watch, repair, clone.",
        epilog=_EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_options)
    name = next((word for word in typed if not word.startswith("-")), "")
    if not name and "--version" in typed:
        return app
    every = [command for command in _COMMANDS if not command.is_alias]
    for command in [command for command in _COMMANDS if command.name == name] or every:
        command.add_to(app)
    return app


def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    sbom: Annotated[
        bool, typer.Option("--sbom", help="With --version: all that is installed, as CycloneDX JSON.")
    ] = False,
) -> None:
    """Supervises a fleet of Discord bots: spawn, watch, repair, clone."""
    if sbom:
        from master.cli.bill import bill_of_materials

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
        # A shell that asks for completions asks by a variable, and for all commands.
        completes = any(name.endswith("_COMPLETE") for name in os.environ)
        result = build_app(() if completes else sys.argv[1:])(standalone_mode=False, prog_name="fleet")
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
