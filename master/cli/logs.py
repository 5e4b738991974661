"""``logs``, ``flush`` and ``events``: what nodes print, and what happens in the fleet."""

from __future__ import annotations

import errno
import heapq
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import typer

from handshake.files import open_regular
from master.cli.context import HomeOption, JsonOption, NodesArgument, YesOption, client_of, reporting_errors, state_dir
from master.cli.moments import moment_of
from master.cli.steering import AllOption, act, chosen_of
from master.configuration.programs import ProgramRefused, compile_pattern
from master.control.client import NoMaster
from master.errors import ExitCode, FleetError
from master.operations import kernel, nodes
from master.operations.parameters import EventsParams, NamesParams
from master.services.core.views import FleetEvent, LogPaths
from master.supervision.log_reading import LogFile, LogLine, Stream, read_back, stamp_of
from master.terminal import (
    beside_or_below,
    confirm,
    console,
    errors,
    json_text,
    local_time,
    one_line,
    print_json,
    print_lines,
    terminal_width,
    write_out,
)

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta", "bright_green")
POLL_S = 0.25
_READ_BYTES = 256 * 1024
_LINES = 20

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
"""A change of colour (SGR, ECMA-48 8.3.117): taken out of logs. Any other escape sequence is shown, not obeyed."""


class NoSuchLog(FleetError):
    """A node has no log."""

    code: ClassVar[str] = "no_such_log"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class UnreadableLog(FleetError):
    """A log is no regular file, or may not be read."""

    code: ClassVar[str] = "unreadable_log"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


def logs(
    names: NodesArgument = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            min=0,
            max=1_000_000,
            help="Latest lines of each node.",
            show_default="20; all with --since",
        ),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", help="Only from then on: 90s, 10m, 2h, 3d ago, or 2026-11-22T10:00.")
    ] = "",
    grep: Annotated[str, typer.Option("--grep", "-g", help="Only lines with this text.")] = "",
    regex: Annotated[bool, typer.Option("--regex", help="--grep is a regular expression, as RE2 reads it.")] = False,
    ignore_case: Annotated[bool, typer.Option("--ignore-case", "-i", help="--grep takes a for A.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Standard output only.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Standard error only.")] = False,
    master: Annotated[bool, typer.Option("--master", help="The master's own, where `fleet up` started it.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what nodes print, in the order of time; reads their files, rotated ones too, also when no master runs."""
    wanted = _Wanted(
        lines=lines,
        since=moment_of(since) if since else None,
        matches=_matcher(grep, regex=regex, ignore_case=ignore_case) if grep else None,
        # The master has one log for both.
        streams=("stderr",) if master else _streams(stdout=stdout, stderr=stderr),
    )
    with reporting_errors(as_json=as_json):
        found = [master_log(home)] if master else _find(home, tuple(names or ()))
        tails = [_Tail(paths, stream) for paths in found for stream in wanted.streams] if follow else []
        if as_json and not follow:
            print_json([NodeLines(node=paths.node, lines=_logged(_past(paths, wanted))) for paths in found])
            return
        if not found:
            console.print("there are no logs yet", style="bright_black")
        printer = _Printer(found, as_json=as_json)
        _show_past(found, wanted, printer, {(tail.node, tail.stream): tail.offset for tail in tails})
        while follow:
            new = [(tail.node, line) for tail in tails for line in tail.read_new()]
            # Sorted by time alone, and stable: lines without one stay behind those that they follow.
            for node, line in sorted(new, key=lambda item: item[1].order):
                if wanted.admits(line):
                    printer.show(node, line)
            if not new:
                time.sleep(POLL_S)
            _stop_unread()


class LoggedLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line, as ``--json`` prints it."""

    at: float | None
    """Unix seconds, as the line or one before it says; None if they do not."""
    stream: Stream
    text: str


class StreamedLine(LoggedLine, frozen=True, kw_only=True):
    """One line, as ``--follow --json`` prints it."""

    node: str


class NodeLines(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one node."""

    node: str
    lines: list[LoggedLine]


def _logged(lines: list[LogLine]) -> list[LoggedLine]:
    return [LoggedLine(at=line.at, stream=line.stream, text=line.text) for line in lines]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which lines are wanted."""

    lines: int | None
    since: float | None
    matches: Callable[[str], Any] | None
    streams: tuple[Stream, ...]

    @property
    def most(self) -> int | None:
        """The largest number of lines of a node; None for all."""
        return _LINES if self.lines is None and self.since is None else self.lines

    def admits(self, line: LogLine) -> bool:
        """Tell whether the line's text is wanted."""
        return self.matches is None or bool(self.matches(_plain(line.text)))


def _matcher(text: str, *, regex: bool, ignore_case: bool) -> Callable[[str], Any]:
    if not regex:
        wanted = text.casefold() if ignore_case else text
        return lambda line: wanted in (line.casefold() if ignore_case else line)
    try:
        return compile_pattern(f"(?i){text}" if ignore_case else text).search
    except ProgramRefused as error:
        raise typer.BadParameter(f"{error.message}; {error.hint}", param_hint="--grep") from None


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


def _streams(*, stdout: bool, stderr: bool) -> tuple[Stream, ...]:
    if stdout == stderr:
        return "stdout", "stderr"
    return ("stdout",) if stdout else ("stderr",)


def _path(paths: LogPaths, stream: Stream) -> Path:
    return Path(paths.stdout_path if stream == "stdout" else paths.stderr_path)


def _past(paths: LogPaths, wanted: _Wanted, ends: dict[tuple[str, Stream], int] | None = None) -> list[LogLine]:
    """Return the latest wanted lines of a node, the oldest first."""
    files = [LogFile(_path(paths, stream), stream, (ends or {}).get((paths.node, stream))) for stream in wanted.streams]
    found = list(islice(_wanted_of(files, wanted), wanted.most))
    return found[::-1]


def _wanted_of(files: list[LogFile], wanted: _Wanted) -> Iterator[LogLine]:
    with _naming_unreadable(files[0].path.parent):
        for line in read_back(files):
            if wanted.since is not None and line.at is not None and line.at < wanted.since:
                return
            if wanted.admits(line):
                yield line


@contextmanager
def _naming_unreadable(path: Path | str) -> Iterator[None]:
    """Turn what the system refuses into an error that names the file.

    Raises
    ------
    UnreadableLog
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ELOOP):
            hint = "a node's log is a file: remove what is there"
            raise UnreadableLog(f"{path} is no regular file", hint=hint) from error
        raise UnreadableLog(f"{path} cannot be read: {error.strerror}") from error


def _show_past(found: list[LogPaths], wanted: _Wanted, printer: _Printer, ends: dict[tuple[str, Stream], int]) -> None:
    each = {paths.node: _past(paths, wanted, ends) for paths in found}
    pairs = [[(node, line) for line in lines] for node, lines in each.items()]
    for node, line in heapq.merge(*pairs, key=lambda pair: pair[1].order):
        printer.show(node, line)
    if found and not any(each.values()) and not printer.as_json:
        narrowed = wanted.since is not None or wanted.matches is not None or len(wanted.streams) == 1
        told = "no line is like that" if narrowed else "nothing was printed yet"
        errors.print(one_line(told, style="bright_black"))
    timeless = [node for node, lines in each.items() if lines and all(line.at is None for line in lines)]
    if wanted.since is not None and timeless:
        told = f"the lines of {', '.join(timeless)} begin with no time: --since leaves none of them out"
        errors.print(one_line(told, style="yellow"), soft_wrap=True)


def _plain(line: str) -> str:
    return _COLOUR.sub("", line.removesuffix("\r")).expandtabs()


class _Printer:
    """Prints lines, each behind its node's name; those of standard error have a red rule."""

    def __init__(self, found: list[LogPaths], *, as_json: bool) -> None:
        self.as_json = as_json
        self._width = max((len(paths.node) for paths in found), default=0)
        self._colours = {paths.node: _COLOURS[index % len(_COLOURS)] for index, paths in enumerate(found)}

    def show(self, node: str, line: LogLine) -> None:
        """Print one line."""
        if self.as_json:
            write_out(json_text(StreamedLine(node=node, at=line.at, stream=line.stream, text=line.text)))
            return
        colour = self._colours[node]
        rule = ("│ ", "red" if line.stream == "stderr" else colour)
        console.print(one_line((f"{node:<{self._width}} ", colour), rule, _plain(line.text)), soft_wrap=True)


class _Tail:
    """Follows one growing file; a file that became shorter was rotated or flushed, and is read from its start."""

    def __init__(self, paths: LogPaths, stream: Stream) -> None:
        self.node, self.stream = paths.node, stream
        self._path = _path(paths, stream)
        self._at: float | None = None
        with _naming_unreadable(self._path):
            self.offset = _end_of_lines(self._path)

    def read_new(self) -> list[LogLine]:
        """Return the whole lines that were added."""
        with _naming_unreadable(self._path):
            try:
                if not (added := self._read()):
                    return []
            except FileNotFoundError:
                return []
        return [self._line(text) for text in added.decode("utf-8", "replace").removesuffix("\n").split("\n")]

    def _read(self) -> bytes:
        size = self._path.lstat().st_size
        if size < self.offset:
            self.offset = 0
        if size == self.offset:
            return b""
        with open(open_regular(self._path, os.O_RDONLY), "rb") as stream:
            added = os.pread(stream.fileno(), _READ_BYTES, self.offset)
        # A line without its end is left for the next time, unless it fills everything.
        whole = added.rfind(b"\n") + 1 or (len(added) if len(added) == _READ_BYTES else 0)
        self.offset += whole
        return added[:whole]

    def _line(self, text: str) -> LogLine:
        stamp = stamp_of(text)
        if stamp is not None:
            same = self._at is not None and stamp.fraction is None and int(self._at) == int(stamp.second)
            self._at = self._at if same else stamp.at
        return LogLine(self._at, self._at or 0.0, self.stream, text)


def _end_of_lines(path: Path) -> int:
    """Return where the last whole line of a file ends."""
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            begin = max(size - _READ_BYTES, 0)
            return begin + os.pread(stream.fileno(), size - begin, begin).rfind(b"\n") + 1
    except FileNotFoundError:
        return 0


def flush(
    names: NodesArgument = None,
    everyone: AllOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Empty the logs of nodes, and remove their rotated files."""
    chosen_of(names, everyone=everyone)
    what = "every node" if everyone else ", ".join(names or [])
    confirm(f"Empty the logs of {what}?", yes=yes)
    act(nodes.flush, names, everyone=everyone, home=home, as_json=as_json)


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
    head = one_line((at, "bright_black"), f"  {event.node:<20} ", (f"{event.kind:<12} ", "bold"))
    print_lines(beside_or_below(head, one_line(event.detail), width=terminal_width()))
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
