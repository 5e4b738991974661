"""``top``: the fleet live, with sorting, a filter, and patience while the master is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.text import Text

from master.cli.context import HomeOption, client_of, reporting_errors
from master.cli.steering import status_lines
from master.control.client import ControlClient
from master.errors import FleetError
from master.operations import nodes
from master.operations.parameters import StatusParams
from master.services.core.views import FleetStatus, NodeStatus
from master.terminal import flow, lay_out_fleet, local_time, one_line, print_lines, summary_lines, troubled_first
from master.terminal.output import terminal_width
from master.terminal.screen import Screen, can_draw

_TIMEOUT_S = 15.0

_HELP = "q quit  ↑↓ PgUp PgDn scroll  / filter  sort by: s state  n name  c CPU  m memory  u uptime  r restarts"
_SHORT_HELP = "q quit  ↑↓ scroll  / filter  sort: s n c m u r"


@dataclass(frozen=True, slots=True)
class _Order:
    """One order of the rows.

    Parameters
    ----------
    key
        None for the order of trouble.
    """

    word: str
    key: Callable[[NodeStatus], float] | None = None


_ORDERS = {
    "s": _Order("trouble"),
    "n": _Order("name", lambda node: 0.0),
    "c": _Order("CPU", lambda node: -(node.cpu_percent or 0.0)),
    "m": _Order("memory", lambda node: -(node.pss_bytes or node.rss_bytes or 0)),
    "u": _Order("uptime", lambda node: -(node.uptime_s or 0.0)),
    "r": _Order("restarts", lambda node: -node.restarts),
}


def top(
    home: HomeOption = None,
    interval: Annotated[float, typer.Option(min=0.2, max=60.0, help="Seconds between updates.")] = 1.0,
) -> None:
    """Watch the fleet live: nodes in trouble first; q or Ctrl-C leaves, other keys are shown below."""
    with reporting_errors():
        client = client_of(home)
        found = client.run(nodes.status, StatusParams(), timeout_s=_TIMEOUT_S)
        if not can_draw():
            print_lines(status_lines(found, width=terminal_width()))
            return
        with Screen() as screen:
            source = _Source(client, found, interval, screen.wake)
            _watch(screen, source)


class _Source:
    """Asks the master again and again, in a thread of its own: keys are obeyed while it does not answer."""

    def __init__(
        self, client: ControlClient, status: FleetStatus, interval: float, changed: Callable[[], None]
    ) -> None:
        self._client = client
        self._interval = interval
        self._changed = changed
        self.status = status
        """The last answer."""
        self.away: tuple[float, str] | None = None
        """Since when the master does not answer (Unix seconds), and why; None while it does."""
        self.failure: BaseException | None = None
        """What ended the asking."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                time.sleep(self._interval)
                self._ask()
                self._changed()
        except BaseException as error:
            self.failure = error
            self._changed()

    def _ask(self) -> None:
        try:
            self.status = self._client.run(nodes.status, StatusParams(), timeout_s=_TIMEOUT_S)
        except FleetError as error:
            since = self.away[0] if self.away else time.time()
            self.away = (since, error.message)
        else:
            self.away = None


@dataclass(slots=True)
class View:
    """What the operator chose to see."""

    order: str = "s"
    reverse: bool = False
    filter: str = ""
    typing: bool = False
    """Whether keys go into the filter."""
    first: int = 0
    """The first row that is shown."""
    page: int = field(default=1)
    """Rows of the last frame."""

    def press(self, key: str) -> bool:
        """Obey a key; returns False for the one that leaves."""
        if self.typing:
            self._type(key)
        elif key in ("q", "Q"):
            return False
        elif key in _ORDERS:
            self.reverse = key == self.order and not self.reverse
            self.order, self.first = key, 0
        elif key == "/":
            self.typing = True
        elif key == "escape":
            self.filter, self.first = "", 0
        else:
            self._scroll(key)
        return True

    def _type(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.typing = False
            self.filter = "" if key == "escape" else self.filter
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif key == "clear":
            self.filter = ""
        elif len(key) == 1:
            self.filter += key
        else:
            self._scroll(key)
            return
        self.first = 0

    def _scroll(self, key: str) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self.page, "page down": self.page, " ": self.page}
        if key in ("home", "g"):
            self.first = 0
        elif key in ("end", "G"):
            self.first = 1 << 30
        else:
            self.first += steps.get(key, 0)

    def choose(self, status: FleetStatus) -> list[NodeStatus]:
        """Return the nodes that match the filter, in order."""
        wanted = self.filter.casefold()
        matching = [node for node in status.nodes if wanted in " ".join((node.name, node.state, *node.tags)).casefold()]
        key = _ORDERS[self.order].key
        chosen = (
            troubled_first(matching)
            if key is None
            else sorted(matching, key=lambda node: (key(node), node.name.casefold()))
        )
        return chosen[::-1] if self.reverse else chosen


def _watch(screen: Screen, source: _Source) -> None:
    view = View()
    while True:
        if source.failure is not None:
            raise source.failure
        width, height = screen.size
        screen.draw(frame(view, source.status, source.away, width=width, height=height))
        if not all([view.press(key) for key in screen.wait_for_keys()]):
            return


def frame(
    view: View, status: FleetStatus, away: tuple[float, str] | None = None, *, width: int, height: int
) -> list[Text]:
    """Return the lines of one frame: the summary, as many rows as there is room for, and the keys."""
    head = summary_lines(status, width=width)[: max(1, height // 4)]
    if away is not None:
        since = local_time(away[0], "%H:%M:%S")
        head.insert(1, one_line(f"the master is away since {since}, trying again: {away[1]}", style="bold red"))
    chosen = view.choose(status)
    view.page = max(height - len(head) - 2, 1)
    view.first = max(min(view.first, len(chosen) - view.page), 0)
    window = slice(view.first, view.first + view.page)
    table = lay_out_fleet(chosen, width=width, whole_notes=False, window=window)
    shown = [line for row in table.rows for line in row]
    if not chosen:
        shown = [Text("no node matches the filter" if view.filter else "no nodes yet", style="bright_black")]
    lines = [*head, table.header, *shown][: max(height - 1, 1)]
    lines += [Text()] * (height - 1 - len(lines))
    if height > 1:
        lines.append(_footer(view, len(chosen), len(status.nodes), width))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _footer(view: View, matching: int, everyone: int, width: int) -> Text:
    if view.typing:
        return one_line(
            ("/", "bold"), view.filter, ("▏", "bold"), ("  Enter keeps, Esc ends the filter", "bright_black")
        )
    last = min(view.first + view.page, matching)
    where = f"{view.first + 1 if matching else 0}-{last} of {matching}"
    if view.filter:
        where += f" (of {everyone}) with {view.filter!r}"
    order = f"by {_ORDERS[view.order].word}{', reversed' if view.reverse else ''}"
    facts = [one_line(where, style="bold"), one_line(order)]
    for text in (_HELP, _SHORT_HELP):
        lines = flow([*facts, one_line(text, style="bright_black")], width=width)
        if len(lines) == 1:
            return lines[0]
    return flow([*facts, Text("q quit", style="bright_black")], width=None)[0]
