"""Shared by all commands: options, the home, the client, and error handling."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import msgspec
import typer

from master.control.client import ControlClient, NoMaster
from master.errors import ExitCode, FleetError
from master.operations import nodes
from master.operations.operation import Needs, Operation
from master.operations.parameters import StatusParams
from master.terminal import discard_output, fail

if TYPE_CHECKING:
    from master.configuration.home import Home
    from master.configuration.settings import Settings

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R")


_used_home: ContextVar[Home | None] = ContextVar("used_home", default=None)
"""The home that this command looked at, for messages."""


class FileFailed(FleetError):
    """The system refused to open, read or write something."""

    code: ClassVar[str] = "file_failed"


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="The fleet's folder.", show_default="FLEET_HOME, this folder if it is one, or `fleet home`"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def found_home(given: Path | None) -> Home:
    """Return the fleet's home, and how it was found."""
    from master.configuration.home import find_home

    found = find_home(given, os.environ)
    _used_home.set(found)
    return found


def home_of(given: Path | None) -> Path:
    """Return the fleet's home."""
    return found_home(given).path


def state_dir(given: Path | None) -> Path:
    """Return the state folder of the home."""
    from master.configuration.loading import state_dir_of

    return state_dir_of(home_of(given), os.environ)


def client_of(given: Path | None) -> ControlClient:
    """Return a client for the home's master."""
    return ControlClient(state_dir(given) / "control.sock")


@contextmanager
def reporting_errors(*, as_json: bool = False) -> Iterator[None]:
    """Run a command's body; a ``FleetError`` is printed, and sets the exit code."""
    _used_home.set(None)
    try:
        yield
    except FleetError as error:
        error.hint = "\n".join(filter(None, (error.hint, _which_home(error))))
        fail(error, as_json=as_json)
    except BrokenPipeError:
        # Its reader had enough (`fleet status | head -1`); what it asked for was done by then.
        discard_output()
        raise typer.Exit(ExitCode.OK) from None
    except OSError as error:
        fail(_file_error(error), as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _which_home(error: FleetError) -> str:
    """Return which home was looked at, for an error that may well be about the wrong one."""
    home = _used_home.get()
    if home is None or home.found_by == "--home" or error.exit_code not in (ExitCode.CONFIG, ExitCode.NO_MASTER):
        return ""
    return f"the home is {home.path}: {home.found_by}"


def _file_error(error: OSError) -> FleetError:
    """Return what the system refused, in words: a folder without its permissions, a full disk, a looped link."""
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return FileFailed(f"{where}{error.strerror or error}", hint="check the path, who may use it, and the disk's room")


def complete_nodes(incomplete: str) -> list[str]:
    """Complete a node's name; without a master that answers quickly there are no completions."""
    try:
        status = client_of(None).run(nodes.status, StatusParams(), timeout_s=1.0)
    except FleetError:
        return []
    return [node.name for node in status.nodes if node.name.casefold().startswith(incomplete.casefold())]


NodesArgument = Annotated[
    list[str] | None, typer.Argument(help="Names of nodes.", autocompletion=complete_nodes, show_default=False)
]


def settings_of(home: Path | None) -> Settings:
    """Read the fleet's settings, for commands that need no master."""
    from master.configuration.loading import load_settings

    return load_settings(home_of(home), os.environ)


def refuse_beside_master(home: Path | None) -> None:
    """Fail early, before any question, if a master runs.

    Raises
    ------
    AlreadyRunning
    """
    from master.instance import InstanceLock

    lock = InstanceLock(settings_of(home).lock_path)
    lock.acquire()
    lock.release()


def run_operation(home: Path | None, operation: Operation[P, R, Any], parameters: P, *, timeout_s: float = 60.0) -> R:
    """Run an operation in the master, or in this process if none runs and the operation does not need one.

    Raises
    ------
    FleetError
    """
    if operation.needs is not Needs.STOPPED:
        try:
            return client_of(home).run(operation, parameters, timeout_s=timeout_s)
        except NoMaster:
            if operation.needs is Needs.MASTER:
                raise
    import asyncio

    from master.operations.alone import run_alone
    from master.services.core.actors import unix_actor

    return asyncio.run(run_alone(settings_of(home), operation, unix_actor(os.getuid()), parameters))
