"""Output of the command line: tables, colours, errors, JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NoReturn

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from master.errors import FleetError
from master.services.core.views import FleetStatus, NodeHistoryView, NodeStatus, ReloadView
from master.wording import duration, json_visible, moment, visible, visible_lines

_PIPE_COLUMNS = 200
"""Into a file or a pipe nothing is cut to the 80 columns that rich assumes there."""


class FleetConsole(Console):
    """A console on which nothing foreign acts: no text is markup, and control characters are shown as escapes.

    Texts of one line are made with :func:`one_line`, before their widths are measured; what forgets it is caught here.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        # Rich follows NO_COLOR by itself: https://no-color.org.
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render; the text of each segment is escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Go on without output when its reader is gone (``fleet stop --all | head -1``): the exit code stays true."""
        discard_output()
        self.quiet = True


def discard_output() -> None:
    """Point standard output at nothing; the interpreter would otherwise fail when it flushes at its end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)
    os.close(nothing)


def _console() -> FleetConsole:
    """Return a console as wide as the terminal, as COLUMNS, or wide enough for a whole line."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return FleetConsole(width=None if known else _PIPE_COLUMNS)


console = _console()
errors = FleetConsole(stderr=True)


def one_line(*parts: str | tuple[str, str] | Text, style: str = "") -> Text:
    """Return one line of text; parts are strings, or strings with a style, and are made visible."""
    shown = [part if isinstance(part, Text) else _visible_part(part) for part in parts]
    return Text.assemble(*shown, style=style)


def _visible_part(part: str | tuple[str, str]) -> str | tuple[str, str]:
    return visible(part) if isinstance(part, str) else (visible(part[0]), part[1])


def local_time(moment: float, pattern: str) -> str:
    """Return a moment in the box's own time; ``?`` if there is no such moment."""
    try:
        return datetime.fromtimestamp(moment).astimezone().strftime(pattern)
    except (ValueError, OverflowError, OSError):
        return "?"


STATE_STYLES = {
    "ready": ("●", "green"),
    "starting": ("◐", "yellow"),
    "stopping": ("◐", "yellow"),
    "degraded": ("◍", "dark_orange"),
    "backoff": ("◌", "red"),
    "offline": ("◇", "dark_orange"),
    "quarantined": ("✖", "red"),
    "missing": ("?", "red"),
    "stopped": ("○", "bright_black"),
}


_COLUMNS = (
    ("NODE", 0),
    ("STATE", 0),
    ("PID", 0),
    ("UP", 0),
    ("CPU %", 0),
    ("MB", 0),
    ("RST", 0),
    ("PULSE", 0),
    ("PING", 100),
    ("GUILDS", 120),
    ("VERSION", 120),
)
"""The columns before the note, with the width of the terminal from which each is shown."""

_JUSTIFIED: dict[str, JustifyMethod] = {"NODE": "left", "STATE": "left", "VERSION": "left"}
_SHORTEST_NAME, _LONGEST_NAME, _SHORTEST_NOTE, _LONGEST_VERSION, _ROOMY = 8, 24, 8, 16, 100


def print_json(value: Any) -> None:
    """Print one JSON document."""
    write_out(json_text(value, indent=2))


def json_text(value: Any, *, indent: int = 0) -> str:
    """Return a JSON document; characters that a terminal would obey are escaped in it."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        # A file's name that is not UTF-8 has halves of characters, which only an escape can carry.
        encoded = json.dumps(msgspec.to_builtins(value)).encode()
    return json_visible(msgspec.json.format(encoded, indent=indent).decode() if indent else encoded.decode())


def write_out(text: str) -> None:
    """Write a line to standard output; a reader that is gone is no error."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        console.on_broken_pipe()


def fail(error: FleetError, *, as_json: bool = False) -> NoReturn:
    """Print an error and exit with its exit code."""
    if as_json:
        print_json(
            {
                "error": {
                    "code": error.code,
                    "message": error.message,
                    "hint": error.hint,
                    "exit_code": int(error.exit_code),
                }
            }
        )
    else:
        errors.print(one_line(("error: ", "bold red"), error.message), soft_wrap=True)
        for hint in error.hint.splitlines():
            errors.print(one_line(("hint:  ", "cyan"), hint), soft_wrap=True)
    raise typer.Exit(int(error.exit_code))


def is_terminal() -> bool:
    """Tell whether both standard input and output are terminals."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation.

    Raises
    ------
    typer.Exit
        With 0 if the answer is no; with 2 without a terminal.
    """
    if yes:
        return
    if not is_terminal():
        errors.print(one_line(("error: ", "bold red"), "there is no terminal to ask at; give --yes"))
        raise typer.Exit(2)
    if not typer.confirm(visible(question)):
        raise typer.Exit(0)


def megabytes(size: float | None) -> str:
    """Format a size in MB."""
    return "-" if size is None else f"{size / 2**20:.1f}"


def state_text(state: str) -> Text:
    """Return a state with its symbol, in colour."""
    symbol, style = STATE_STYLES.get(state, ("?", "white"))
    return one_line(f"{symbol} {state}", style=style)


def fleet_table(nodes: Sequence[NodeStatus], *, width: int) -> Table:
    """Render nodes as a table; narrow terminals get fewer columns, and only the note is shortened.

    Parameters
    ----------
    width
        Columns of the terminal.
    """
    headers = [name for name, from_width in _COLUMNS if width >= from_width]
    rows = [_row(node)[: len(headers)] for node in nodes]
    notes = [_note(node) for node in nodes]
    # As wide as the longest cell of each: rich would otherwise shorten every column alike.
    needed = [max((cell_len(str(row[i])) for row in rows), default=0) for i in range(len(headers))]
    widths = [max(cells, len(header)) for cells, header in zip(needed, headers, strict=True)]
    gap = 1 if width < _ROOMY else 2
    others = sum(widths[1:]) + gap * len(widths)
    widths[0] = min(widths[0], _LONGEST_NAME, max(width - others - _SHORTEST_NOTE, _SHORTEST_NAME))
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold", expand=False)
    for header, cells in zip(headers, widths, strict=True):
        table.add_column(
            header, justify=_JUSTIFIED.get(header, "right"), no_wrap=True, min_width=cells, max_width=cells
        )
    left = max(width - others - widths[0], _SHORTEST_NOTE)
    table.add_column("NOTE", overflow="ellipsis", no_wrap=True, max_width=left)
    for row, note in zip(rows, notes, strict=True):
        table.add_row(*row, note)
    return table


def _row(node: NodeStatus) -> list[Text | str]:
    """Return a node's cells, in the order of ``_COLUMNS``."""
    return [
        visible(node.name),
        state_text(node.state),
        str(node.pid or "-"),
        duration(node.uptime_s),
        "-" if node.cpu_percent is None else f"{node.cpu_percent:.1f}",
        megabytes(node.pss_bytes or node.rss_bytes),
        str(node.restarts),
        "-" if node.last_pulse_s_ago is None else f"{node.last_pulse_s_ago:.0f}s",
        "-" if node.latency_ms is None else f"{node.latency_ms:.0f}ms",
        _count(node.guilds),
        visible(node.version)[:_LONGEST_VERSION] or "-",
    ]


def _note(node: NodeStatus) -> Text:
    """Return the most severe condition of a node, for the operator."""
    if node.licence_revoked:
        # Before its flag, which may well be of what it said afterwards: only this has it start again.
        return one_line(f"licence revoked: fleet reinstate {node.name}", style="red")
    if node.flag_reason:
        return one_line(f"⚑ flagged: {node.flag_reason}", style="red")
    if node.todo:
        return one_line(node.todo, style="red")
    if node.state == "missing":
        # Before its next start, which only looks whether it is there again.
        return one_line(node.detail, style="red")
    if node.offline_since is not None:
        held = "" if node.pid else ", held"
        return one_line(f"offline since {moment(node.offline_since)}{held}", style="dark_orange")
    if node.next_start_in_s is not None:
        return one_line(f"next start in {duration(node.next_start_in_s)}: {node.last_exit}", style="yellow")
    if node.state == "starting" and node.detail:
        return one_line(node.detail, style="yellow")
    if node.state in ("degraded", "missing", "quarantined"):
        return one_line(node.detail or node.last_exit, style="red")
    if node.desired == "running" and node.state == "stopped":
        return one_line("should be running", style="yellow")
    return one_line(node.last_exit, style="bright_black")


def summary_line(status: FleetStatus) -> Text:
    """Return a one-line summary of the fleet."""
    counts: dict[str, int] = {}
    for node in status.nodes:
        counts[node.state] = counts.get(node.state, 0) + 1
    line = Text()
    line.append(f"{len(status.nodes)} nodes", style="bold")
    for state, (symbol, style) in STATE_STYLES.items():
        if counts.get(state):
            line.append("  ")
            line.append(f"{symbol} {counts[state]} {state}", style=style)
    master = status.master
    if master.merged_bytes:
        line.append(f"  {master.merged_bytes / 2**20:.0f} MB saved by merging", style="bright_black")
    line.append("\n")
    line.append(
        f"master {master.pid}  up {duration(master.uptime_s)}  cpu {master.cpu_percent:.1f} %  "
        f"{megabytes(master.rss_bytes)} MB  ",
        style="bright_black",
    )
    discord = "dark_orange" if master.discord == "offline" else "bright_black"
    line.append(f"discord {visible(master.discord)}  ", style=discord)
    line.append(f"ledger {visible(master.ledger)}", style="red" if master.ledger.endswith("away") else "bright_black")
    for state in master.box:
        line.append(f"  {state}", style="bold red")
    if master.isolation:
        walled = master.isolation.startswith("landlock")
        line.append(f"  isolation {visible(master.isolation)}", style="bright_black" if walled else "yellow")
    if master.commands:
        line.append(f"\nslash commands are not registered: {visible(master.commands)}", style="red")
    if master.start_trouble:
        line.append(f"\n{visible(master.start_trouble)}", style="yellow")
    if master.old_keys is not None:
        line.append(f"  {master.old_keys} nodes wait for their new keys", style="yellow")
    for trouble in master.troubles:
        line.append(f"\n{visible(trouble)}", style="red")
    if master.offline_since is not None:
        away = f"offline since {moment(master.offline_since)} ({duration(status.at - master.offline_since)})"
        line.append(
            f"\n{away}: {visible(master.offline_why)}" if master.offline_why else f"\n{away}", style="dark_orange"
        )
    return line


_BARS = " ▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], *, width: int) -> str:
    """Draw values as a row of bars, the newest at the right; each bar is the maximum of its values.

    Parameters
    ----------
    width
        Largest number of columns.
    """
    if not values:
        return ""
    step = -(-len(values) // max(width, 1))
    # Counted from the right, so that the newest bar covers as many values as the others.
    heights = [max(values[max(end - step, 0) : end]) for end in range(len(values), 0, -step)][::-1]
    highest = max(heights)
    if highest <= 0:
        return _BARS[1] * len(heights)
    return "".join(_BARS[1 + round(height / highest * (len(_BARS) - 2))] for height in heights)


def history_text(found: NodeHistoryView, *, width: int) -> Group:
    """Render a node's history."""
    node = found.node
    facts = one_line(
        (node.name, "bold"), "  ", state_text(node.state), f"  pid {node.pid or '-'}  up {duration(node.uptime_s)}"
    )
    memory = Text(
        f"memory {megabytes(node.pss_bytes)} MB of its own share (PSS), {megabytes(node.rss_bytes)} MB with what it "
        f"shares (RSS)\n{_count(node.threads)} threads, {_count(node.open_files)} open files, "
        f"{_count(node.connections)} connections",
        style="bright_black",
    )
    rows: list[Text] = []
    for title, series in (("five minutes", found.seconds), ("a day", found.minutes), ("a week", found.week)):
        for what, values, unit in (("CPU", series.cpu_percent, "%"), ("RSS", series.rss_mb, "MB")):
            if values:
                label, last = f"{title + ', ' + what:<18}", f" now {values[-1]:.1f} {unit}, most {max(values):.1f}"
                line = sparkline(values, width=width - len(label) - len(last) - 1)
                rows.append(one_line(label, (line, "green"), (last, "bright_black")))
    return Group(facts, memory, *(rows or [Text("no history yet")]))


def reload_text(found: ReloadView) -> Group:
    """Render the result of a reload, one setting per line."""
    lines = [one_line(("✓ ", "green"), key) for key in found.applied]
    lines += [one_line(("◐ ", "yellow"), f"{key}: from each node's next start on") for key in found.at_node_start]
    lines += [one_line(("! ", "yellow"), f"{key}: needs a restart of the master") for key in found.needs_restart]
    lines += [one_line(("! ", "yellow"), warning) for warning in found.warnings]
    if found.needs_restart:
        lines.append(Text("`fleet shutdown --keep-nodes`, then `fleet run`: the nodes run on", style="bright_black"))
    return Group(*(lines or [Text("nothing changed")]))


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
