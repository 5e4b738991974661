"""``logs`` and ``events``: what nodes print, and what happens in the fleet."""

from __future__ import annotations

import os
import re
import stat
import time
from collections import deque
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from master.cli.context import HomeOption, JsonOption, NodesArgument, client_of, reporting_errors, state_dir
from master.control.client import NoMaster
from master.errors import ExitCode, FleetError
from master.operations import kernel, nodes
from master.operations.parameters import EventsParams, NamesParams
from master.services.core.views import FleetEvent, LogPaths
from master.terminal import console, json_text, local_time, one_line, print_json, write_out

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta", "bright_green")
POLL_S = 0.25
_TAIL_BYTES = 256 * 1024


_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
"""A change of colour (SGR, ECMA-48 8.3.117): taken out of logs. Any other escape sequence is shown, not obeyed."""


class NoSuchLog(FleetError):
    """A node has no log."""

    code: ClassVar[str] = "no_such_log"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


def logs(
    names: NodesArgument = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=100_000, help="Lines of the past.")] = 20,
    stdout: Annotated[bool, typer.Option("--stdout", help="Standard output only.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Standard error only.")] = False,
    master: Annotated[bool, typer.Option("--master", help="The master's own, where `fleet up` started it.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what nodes print; reads their files, also when no master runs."""
    with reporting_errors(as_json=as_json):
        found = [master_log(home)] if master else _find(home, tuple(names or ()))
        stderr = stderr or master
        if not found and not as_json:
            console.print("there are no logs yet", style="bright_black")
        if as_json and not follow:
            print_json([{"node": p.node, "lines": _last(p, lines, stdout=stdout, stderr=stderr)} for p in found])
            return
        tails = [
            _Tail(paths.node, Path(path), _COLOURS[index % len(_COLOURS)])
            for index, paths in enumerate(found)
            for path in _chosen(paths, stdout=stdout, stderr=stderr)
        ]
        width = max((len(paths.node) for paths in found), default=0)
        for tail in tails:
            tail.show_past(lines, width)
        while follow:
            if not any([tail.show_new(width) for tail in tails]):
                time.sleep(POLL_S)
            _stop_unread()


def _find(home: Path | None, names: tuple[str, ...]) -> list[LogPaths]:
    try:
        params = NamesParams(names=names, all=not names)
        return client_of(home).run(nodes.logs, params, timeout_s=10.0)
    except NoMaster:
        folder = state_dir(home) / "logs"
    known = sorted({path.name.removesuffix(".err.log") for path in folder.glob("*.err.log")})
    for name in names:
        if name not in known:
            hint = f"there are logs of {', '.join(known)}" if known else f"{folder} is empty"
            raise NoSuchLog(f"there is no log of {name!r}, and no master runs", hint=hint)
    return [
        LogPaths(node=n, stdout_path=str(folder / f"{n}.out.log"), stderr_path=str(folder / f"{n}.err.log"))
        for n in names or known
    ]


def master_log(home: Path | None) -> LogPaths:
    """Return where the master's own log is.

    Raises
    ------
    NoSuchLog
    """
    path = state_dir(home) / "master.log"
    if not path.exists():
        raise NoSuchLog(
            f"there is no {path}: the master was not started by `fleet up`",
            hint="`fleet run` logs to its terminal, a service to `journalctl --user -u fleetmaster`",
        )
    return LogPaths(node="master", stdout_path=str(path), stderr_path=str(path))


def _chosen(paths: LogPaths, *, stdout: bool, stderr: bool) -> list[str]:
    both = stdout == stderr
    return ([paths.stdout_path] if stdout or both else []) + ([paths.stderr_path] if stderr or both else [])


def _last(paths: LogPaths, count: int, *, stdout: bool, stderr: bool) -> list[str]:
    return [line for path in _chosen(paths, stdout=stdout, stderr=stderr) for line in _last_lines(Path(path), count)[0]]


def _plain(line: str) -> str:
    return _COLOUR.sub("", line.removesuffix("\r")).expandtabs()


def _open_regular(path: str, flags: int) -> int:
    """Open a log; an ``opener`` that does not wait for a writer, should a node have put a FIFO there.

    Raises
    ------
    NoSuchLog
        It is no regular file.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoSuchLog(f"{path} is no regular file", hint="a node's log is a file: remove what is there")
    return descriptor


def _last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """Return the last lines of a file, and its end position."""
    try:
        with open(path, "rb", opener=_open_regular) as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(end - _TAIL_BYTES, 0))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return [], 0
    return list(deque(text.removesuffix("\n").split("\n"), maxlen=count)) if count and text else [], end


class _Tail:
    """Follows one growing file; a file that became shorter was rotated, and is read from its start."""

    def __init__(self, node: str, path: Path, colour: str) -> None:
        self._node = node
        self._path = path
        self._colour = colour
        self._offset = 0
        self._rest = b""

    def show_past(self, count: int, width: int) -> None:
        """Print the last lines."""
        lines, self._offset = _last_lines(self._path, count)
        for line in lines:
            self._print(line, width)

    def show_new(self, width: int) -> bool:
        """Print new lines; returns whether there were any."""
        try:
            size = self._path.stat().st_size
            if size < self._offset:
                self._offset, self._rest = 0, b""
            if size == self._offset:
                return False
            with open(self._path, "rb", opener=_open_regular) as stream:
                stream.seek(self._offset)
                added = stream.read(_TAIL_BYTES)
        except FileNotFoundError:
            return False
        self._offset += len(added)
        *whole, self._rest = (self._rest + added).split(b"\n")
        for line in whole:
            self._print(line.decode("utf-8", "replace"), width)
        return bool(added)

    def _print(self, line: str, width: int) -> None:
        console.print(one_line((f"{self._node:<{width}} │ ", self._colour), _plain(line)), soft_wrap=True)


def events(
    home: HomeOption = None,
    as_json: JsonOption = False,
    lines: Annotated[bool, typer.Option("--stderr", help="Also what nodes write to standard error.")] = False,
) -> None:
    """Follow what happens in the fleet; Ctrl-C leaves."""
    with reporting_errors(as_json=as_json):
        show = _print_json_event if as_json else _print_event
        client_of(home).follow(kernel.events, EventsParams(stderr=lines), event=FleetEvent, on_event=show)


def _print_json_event(event: FleetEvent) -> None:
    write_out(json_text(event))
    _stop_unread()


def _print_event(event: FleetEvent) -> None:
    at = local_time(event.at, "%H:%M:%S")
    console.print(
        one_line((at, "bright_black"), f"  {event.node:<20} ", (f"{event.kind:<12} ", "bold"), event.detail),
        soft_wrap=True,
    )
    _stop_unread()


def _stop_unread() -> None:
    """End a command that would go on for ever, when nobody reads its output any more.

    Raises
    ------
    typer.Exit
        With 0, as `fleet logs -f | head` has shown what was wanted.
    """
    if console.quiet:
        raise typer.Exit(ExitCode.OK)
