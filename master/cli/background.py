"""``up`` and ``down``: the master in the background, without a terminal; and where its log is."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
import typer

from master.cli import service
from master.cli.context import HomeOption, JsonOption, YesOption, client_of, home_of, reporting_errors, state_dir
from master.control.client import ControlBroken, ControlClient, NoMaster
from master.durable import open_private
from master.errors import ExitCode, FleetError
from master.instance import AlreadyRunning, InstanceLock
from master.operations import kernel, nodes
from master.operations.parameters import NoParams, ShutdownParams, StatusParams
from master.terminal import confirm, console, one_line, print_json
from master.wording import visible

if TYPE_CHECKING:
    from master.services.core.views import FleetStatus, MasterStatus

LOG_NAME = "master.log"
START_TIMEOUT_S, STOP_TIMEOUT_S, DISCORD_TIMEOUT_S, OTHER_TIMEOUT_S = 120.0, 120.0, 5.0, 30.0
_LOOK_EVERY_S = 0.05
_ASK_EVERY_S = 0.3
_FORCE_S = 5.0
"""What it may take beyond the time after which it ends by force."""
_NAMED = 3
_OTHER_EVERY_S = 0.5
"""Between two starts beside a master that holds the lock: each is a process."""
_LINES = 8


class MasterFailed(FleetError):
    """The master ended while it started; the exit code is its own."""

    code: ClassVar[str] = "master_failed"

    def __init__(self, message: str, *, hint: str, exit_code: ExitCode) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code  # type: ignore[misc]


class TookTooLong(FleetError):
    """The master did not come up, or did not end, in time; it goes on with it."""

    code: ClassVar[str] = "took_too_long"
    exit_code: ClassVar[ExitCode] = ExitCode.TIMED_OUT


class MasterView(msgspec.Struct, frozen=True, kw_only=True):
    """What ``up`` and ``down`` print as JSON."""

    home: str
    running: bool
    changed: bool
    """False if it was so already."""
    pid: int | None = None
    discord: str = ""
    nodes: int = 0
    log: str = ""


def log_path_of(home: Path | None) -> Path:
    """Return the log of a master that ``up`` started."""
    return state_dir(home) / LOG_NAME


def up(
    home: HomeOption = None,
    no_service: Annotated[
        bool, typer.Option("--no-service", help="Without systemd, even where the service is installed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the master in the background, and say when it is up; it outlives this terminal."""
    with reporting_errors(as_json=as_json):
        from master.configuration.loading import load_settings

        folder = home_of(home)
        settings = load_settings(folder, os.environ)
        client = ControlClient(settings.control_socket_path)
        log_path = settings.state_dir / LOG_NAME
        running = _ping(client)
        if running is not None and running.ending:
            with console.status("waiting for the master that is ending"):
                running = _wait_for_end(client)
        changed = running is None
        if running is None:
            with console.status("starting the master"):
                if service.unit_of(folder) is not None and not no_service:
                    service.start_unit()
                    running = _wait_until_up(client, None, log_path, 0)
                else:
                    running = _start(client, folder, log_path)
        status = _wait_for_discord(client)
        if as_json:
            print_json(_view(folder, status, log_path, changed=changed))
        else:
            _say_up(status, changed=changed)


def _ping(client: ControlClient) -> MasterStatus | None:
    try:
        return _asked(client)
    except NoMaster:
        return None
    except ControlBroken:
        # A master that ends cuts off who just connected: then none runs a moment later, and else this is told.
        time.sleep(_LOOK_EVERY_S)
    try:
        return _asked(client)
    except NoMaster:
        return None


def _asked(client: ControlClient) -> MasterStatus:
    return client.run(nodes.ping, NoParams(), timeout_s=10.0)


def _wait_for_end(client: ControlClient) -> MasterStatus | None:
    """Wait until a master that was asked to stop is gone; returns one that runs instead, started by somebody else.

    Raises
    ------
    TookTooLong
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        status = _ping(client)
        if status is None or not status.ending:
            return status
        time.sleep(_LOOK_EVERY_S)
    raise TookTooLong(f"the master is ending, and not gone after {START_TIMEOUT_S:.0f} s", hint="try again")


def _start(client: ControlClient, home: Path, log_path: Path) -> MasterStatus:
    """Start a master, and wait for it; one that another `up` started a moment before is as good."""
    deadline = time.monotonic() + OTHER_TIMEOUT_S
    while True:
        try:
            return _start_once(client, home, log_path)
        except MasterFailed as error:
            if error.exit_code != ExitCode.ALREADY_RUNNING or time.monotonic() > deadline:
                raise
        # It does not answer yet, or no more: one that ends stops its nodes first.
        time.sleep(_OTHER_EVERY_S)
        status = _ping(client)
        if status is not None and not status.ending:
            return status


def _start_once(client: ControlClient, home: Path, log_path: Path) -> MasterStatus:
    """Start a master of its own session, with its log as standard error, and wait for it."""
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # -P: nothing of the home, where it runs for the sake of relative paths in config.py, is a module of it.
    command = [sys.executable, "-P", "-m", "master", "--home", str(home), "--log-file", str(log_path)]
    with open(log_path, "ab", opener=open_private) as log:
        begins_at = log.tell()
        process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=home,
            # One malloc arena, as `fleet run` has it.
            env={"MALLOC_ARENA_MAX": "1", **os.environ},
        )
    return _wait_until_up(client, process, log_path, begins_at)


def _wait_until_up(
    client: ControlClient, process: subprocess.Popen[bytes] | None, log_path: Path, begins_at: int
) -> MasterStatus:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        # In this order: one that has ended now has said all that it will.
        ended = None if process is None else process.poll()
        status = _ping(client)
        if status is not None and not status.ending:
            return status
        if ended is not None:
            raise MasterFailed(
                f"the master ended while it started ({_ending(ended)})",
                hint=_last_lines(log_path, begins_at),
                exit_code=_exit_code(ended),
            )
        time.sleep(_LOOK_EVERY_S)
    raise TookTooLong(
        f"the master is not up after {START_TIMEOUT_S:.0f} s", hint=f"it goes on trying; its log is {log_path}"
    )


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _exit_code(code: int) -> ExitCode:
    known = {each.value for each in ExitCode} - {ExitCode.OK.value}
    return ExitCode(code) if code in known else ExitCode.FAILED


def _last_lines(path: Path, begins_at: int) -> str:
    """Return the end of what the master wrote to its log since it was started, and the log's path."""
    with path.open("rb") as log:
        log.seek(begins_at)
        lines = log.read().decode("utf-8", "replace").splitlines()
    return "\n".join([*lines[-_LINES:], f"its log is {path}"])


def _wait_for_discord(client: ControlClient) -> FleetStatus:
    """Return the status once the master knows how it stands with Discord, or has not learned it for a while."""
    deadline = time.monotonic() + DISCORD_TIMEOUT_S
    with console.status("connecting to Discord"):
        while True:
            status = client.run(nodes.status, StatusParams(), timeout_s=15.0)
            if status.master.discord != "connecting" or time.monotonic() > deadline:
                return status
            time.sleep(_LOOK_EVERY_S)


def _view(home: Path, status: FleetStatus, log_path: Path, *, changed: bool) -> MasterView:
    return MasterView(
        home=str(home),
        running=True,
        changed=changed,
        pid=status.master.pid,
        discord=status.master.discord,
        nodes=len(status.nodes),
        log=str(log_path) if log_path.exists() else "",
    )


def _say_up(status: FleetStatus, *, changed: bool) -> None:
    master = status.master
    what = "the master is up" if changed else "the master is running already"
    console.print(one_line(("✓ ", "green"), f"{what}: pid {master.pid}, home {master.home}"), soft_wrap=True)
    troubled = master.discord.startswith("refused")
    mark = ("! ", "yellow") if troubled else "  "
    console.print(one_line(mark, f"discord {master.discord}"), soft_wrap=True)
    wanted = [node for node in status.nodes if node.desired == "running"]
    if not status.nodes:
        console.print(one_line("  no nodes yet: ", ("fleet dup NAME", "bold"), " makes one"))
    else:
        started = f"{len(wanted)} of {len(status.nodes)} nodes are to run"
        console.print(one_line(f"  {started}: ", ("fleet status", "bold"), " shows them"))
    console.print(one_line("  its log: ", ("fleet logs --master", "bold")))


def down(
    home: HomeOption = None,
    keep_nodes: Annotated[
        bool, typer.Option("--keep-nodes", help="Let the nodes run on; `fleet up` takes them back.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """End the master and all of its nodes, and wait until they are gone; `fleet up` brings them back."""
    with reporting_errors(as_json=as_json):
        folder = home_of(home)
        try:
            status = client_of(home).run(nodes.status, StatusParams(), timeout_s=15.0)
        except NoMaster:
            _refuse_beside_silent_master(state_dir(home))
            if as_json:
                print_json(MasterView(home=str(folder), running=False, changed=False))
            else:
                console.print(one_line(f"no master is running in {folder}"), soft_wrap=True)
            return
        if not as_json and not keep_nodes:
            confirm(f"End the master in {folder} and its {_running(status)} running nodes?", yes=yes)
        if as_json:
            _end(client_of(home), status.master.pid, _running(status), stop_nodes=not keep_nodes)
            print_json(MasterView(home=str(folder), running=False, changed=True, pid=status.master.pid))
            return
        end_master(home, status, keep_nodes=keep_nodes)
        if service.unit_of(folder) is not None:
            note = "the service is installed: it starts again at the next boot, or with `fleet up`"
            console.print(one_line(f"  {note}", style="bright_black"), soft_wrap=True)


def end_master(home: Path | None, status: FleetStatus, *, keep_nodes: bool = False) -> None:
    """End a master, with its nodes or without them, and say so once it is gone."""
    count = _running(status)
    _end(client_of(home), status.master.pid, count, stop_nodes=not keep_nodes)
    told = f"{count} nodes run on" if keep_nodes else f"so are its nodes ({count} were running)"
    console.print(one_line(("✓ ", "green"), f"the master is gone, and {told}"))


def _running(status: FleetStatus) -> int:
    return sum(node.pid is not None for node in status.nodes)


def _refuse_beside_silent_master(folder: Path) -> None:
    """Do not take a master for gone that is starting, ending, or has lost its socket.

    Raises
    ------
    FleetError
    """
    path = folder / "master.lock"
    if not path.exists():
        return
    lock = InstanceLock(path)
    try:
        lock.acquire()
    except AlreadyRunning as error:
        error.hint = "it does not answer: it is starting or ending; try again, and end it by its pid if it stays so"
        raise
    lock.release()


def _end(client: ControlClient, pid: int, count: int, *, stop_nodes: bool) -> None:
    """Ask the master to end, and wait for its process."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        process = -1  # of another pid namespace: a container's
    try:
        client.run(kernel.shutdown, ShutdownParams(stop_nodes=stop_nodes), timeout_s=15.0)
        told = f"ending the master and {count} nodes" if stop_nodes else "ending the master"
        with console.status(told) as status:
            waited = _wait_for_ending(client, process, lambda what: status.update(f"{told}: waits for {what}"))
        if waited is not None:
            raise TookTooLong(
                f"the master (pid {pid}) has not ended" + (f": it waits for {waited}" if waited else ""),
                hint="`fleet logs --master` has more; a second SIGTERM to it ends it without waiting",
            )
    finally:
        if process >= 0:
            os.close(process)


def _wait_for_ending(client: ControlClient, process: int, tell: Callable[[str], None]) -> str | None:
    """Wait until a master is gone; None if it is, and otherwise what it waits for.

    Parameters
    ----------
    process
        A descriptor of its process; -1 for none: then it is gone when it does not answer.
    """
    deadline = time.monotonic() + STOP_TIMEOUT_S
    what = ""
    while time.monotonic() < deadline:
        if process >= 0 and _is_gone(process, _ASK_EVERY_S):
            return None
        try:
            status = _ping(client)
        except FleetError:
            status = None  # its socket is closed already, or it has no time
        if status is None:
            if process < 0:
                return None
            continue
        if status.waits_for:
            what = _listed(status.waits_for)
            tell(what)
        if status.ends_within_s is not None:
            # It knows best: a grace period may be long.
            deadline = max(deadline, time.monotonic() + status.ends_within_s + _FORCE_S)
        time.sleep(_LOOK_EVERY_S)
    return what


def _is_gone(process: int, within_s: float) -> bool:
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    return bool(waiting.poll(within_s * 1000))


def _listed(names: Sequence[str]) -> str:
    """Return names for a line of a terminal, with the number of those that are left out."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return visible(", ".join(names[:_NAMED])) + more
