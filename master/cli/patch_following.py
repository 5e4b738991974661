"""A roll-out as it goes on: a live line for each wave at a terminal, plain lines in a pipe."""

from __future__ import annotations

import time

from rich.console import Group
from rich.live import Live
from rich.text import Text

from master.control.client import ControlClient
from master.errors import ExitCode, FleetError
from master.operations import patches as operations
from master.operations.parameters import PatchParams
from master.services.core.patch_views import PatchDetails, PatchNodeView, PatchView
from master.terminal import console, local_time, one_line, print_json, terminal_width
from master.terminal.patches import (
    ENDED,
    counts_text,
    details_lines,
    node_state_text,
    patch_state_text,
    wave_lines,
    waves_of,
    words,
)

LOOK_EVERY_S = 0.3
REST_EVERY_S = 2.0
"""Once nothing has changed for a while: a wave is watched for minutes."""
_LIVELY_S = 10.0
PATIENCE_S = 120.0
"""How long a master may be away: another one takes the roll-out up."""
_AWAY = frozenset({ExitCode.NO_MASTER, ExitCode.TIMED_OUT})
_OVER_ON_A_NODE = frozenset({"good", "failed", "rolled_back", "rollback_failed", "skipped", "absent"})
_BAD_SHOWN = 5


def follow(client: ControlClient, patch: PatchView, *, as_json: bool, wants: str = "done") -> ExitCode:
    """Show a roll-out until it is over, and return the exit code.

    Parameters
    ----------
    wants
        The state in which it has ended well.
    """
    following = _Following(client, patch.id)
    try:
        if as_json or not console.is_terminal:
            found = following.until_over(_Lines() if not as_json else None)
        else:
            found = following.until_over_live()
    except KeyboardInterrupt:
        going_on = one_line(f"\n{patch.label} goes on without you: ", (f"fleet patch status {patch.label}", "cyan"))
        console.print(going_on, soft_wrap=True)
        return ExitCode.INTERRUPTED
    if as_json:
        print_json(found)
    else:
        _show_end(found)
    if found.patch.state == "asking":
        return ExitCode.TIMED_OUT
    return ExitCode.OK if found.patch.state == wants else ExitCode.FAILED


class _Following:
    def __init__(self, client: ControlClient, patch_id: str) -> None:
        self._client = client
        self._params = PatchParams(patch_id)
        self._changed_at = time.monotonic()
        self._last: PatchDetails | None = None
        self.away_since: float | None = None

    def look(self) -> PatchDetails | None:
        """Return how far it is; None while the master is away.

        Raises
        ------
        FleetError
            It was away for too long, or answers with an error.
        """
        try:
            found = self._client.run(operations.show, self._params, timeout_s=15.0)
        except FleetError as error:
            if error.exit_code not in _AWAY and error.code != "control_broken":
                raise
            self.away_since = self.away_since or time.monotonic()
            if time.monotonic() - self.away_since > PATIENCE_S:
                raise
            return None
        self.away_since = None
        if found != self._last:
            self._last, self._changed_at = found, time.monotonic()
        return found

    def rest(self) -> None:
        """Wait until it is worth to look again."""
        is_lively = time.monotonic() - self._changed_at < _LIVELY_S
        time.sleep(LOOK_EVERY_S if is_lively else REST_EVERY_S)

    def until_over(self, lines: _Lines | None) -> PatchDetails:
        """Follow in plain lines, or in silence."""
        while True:
            found = self.look()
            if lines is not None:
                lines.show(found)
            if found is not None and _is_over(found):
                return found
            self.rest()

    def until_over_live(self) -> PatchDetails:
        """Follow on a terminal."""
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                found = self.look()
                shown = found or self._last
                live.update(_frame(shown, away=found is None), refresh=True)
                if found is not None and _is_over(found):
                    return found
                self.rest()


def _is_over(found: PatchDetails) -> bool:
    return found.patch.state in ENDED or found.patch.state == "asking"


def _frame(found: PatchDetails | None, *, away: bool) -> Group:
    note = [Text("the master is away; the next one goes on with it", style="yellow")] if away else []
    if found is None:
        return Group(*note)
    view, width = found.patch, terminal_width()
    head = one_line((view.label, "bold"), "  ", patch_state_text(view.state), f"  {view.wave}")
    if view.reason:
        head.append_text(one_line((f"  {view.reason}", "bright_black")))
    head.truncate(width or 200, overflow="ellipsis")
    bad = [_bad_line(node) for node in found.nodes if _is_bad(node)]
    for line in bad:
        line.truncate(width or 200, overflow="ellipsis")
    more = [Text(f"and {len(bad) - _BAD_SHOWN} more", style="red")] if len(bad) > _BAD_SHOWN else []
    waves = wave_lines(found, width=width, now=time.time())
    leave = Text("Ctrl-C leaves it running", style="bright_black")
    return Group(head, *waves, *bad[:_BAD_SHOWN], *more, *note, leave)


def _is_bad(node: PatchNodeView) -> bool:
    return node.state in ("failed", "rollback_failed")


def _bad_line(node: PatchNodeView) -> Text:
    lines = [line.strip() for line in node.detail.splitlines() if line.strip()]
    reason = f": {lines[-1]}" if lines else ""
    return one_line((f"{node.node} ", "bold"), node_state_text(node.state), reason)


class _Lines:
    """Plain lines: one for each change of the roll-out, each wave that has come to its end, each node that failed."""

    def __init__(self) -> None:
        self._told = set[str]()
        self._state = ""

    def show(self, found: PatchDetails | None) -> None:
        """Print what is new."""
        if found is None:
            self._once("away", Text("the master is away; the next one goes on with it"))
            return
        self._told.discard("away")
        for node in found.nodes:
            if _is_bad(node):
                self._once(f"{node.node} {node.state}", _bad_line(node))
        for name, states in waves_of(found).items():
            if set(states) <= _OVER_ON_A_NODE | {"healthy"} and found.patch.state != "rolling_back":
                self._once(f"{name} {sorted(states.items())}", one_line(f"{name}: ", counts_text(states)))
        view = found.patch
        state = f"{view.state} {view.wave}"
        # How it ended is told at the end, with all that there is to it.
        if state != self._state and not _is_over(found):
            self._state = state
            wave = f", {view.wave}" if view.wave else ""
            self._print(one_line(f"{view.label} is {words(view.state)}{wave}"))

    def _once(self, key: str, line: Text) -> None:
        if key not in self._told:
            self._told.add(key)
            self._print(line)

    def _print(self, line: Text) -> None:
        console.print(one_line(f"{local_time(time.time(), '%H:%M:%S')} ", line), soft_wrap=True)


def _show_end(found: PatchDetails) -> None:
    view = found.patch
    if view.state in ("rolled_back", "failed", "asking"):
        for line in details_lines(found, width=terminal_width()):
            console.print(line, soft_wrap=True)
    else:
        line = one_line((view.label, "bold"), "  ", patch_state_text(view.state), ": ", counts_text(view.counts))
        console.print(line, soft_wrap=True)
        if view.reason:
            console.print(one_line(f"  {view.reason}"), soft_wrap=True)
    if view.state == "asking":
        choices = one_line(
            ("fleet patch resume ", "cyan"), (view.label, "cyan"), " goes on, ", (f"rollback {view.label}", "cyan")
        )
        console.print(Text.assemble(choices, " takes it back"), soft_wrap=True)
