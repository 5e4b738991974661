"""The master's cogs in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from master.services.core.cog_views import CogState, CogView
from master.terminal.columns import Column, Row, lay_out
from master.terminal.output import local_time, one_line
from master.wording import duration, visible

_STYLES = {
    CogState.LOADED: ("●", "green"),
    CogState.FAILED: ("✗", "red"),
    CogState.DISABLED: ("○", "bright_black"),
    CogState.LOADING: ("◐", "cyan"),
    CogState.WAITING: ("◌", "yellow"),
}
_COLUMNS = (Column("COG"), Column("STATE"), Column("ERRORS"), Column("COMMANDS", 1))


def cog_lines(cogs: Sequence[CogView], *, width: int | None) -> list[Text]:
    """Return cogs as a table, with what is to be said of one below it."""
    rows = []
    for cog in cogs:
        commands = " ".join(f"/{name}" for name in cog.commands) or "-"
        cells: list[str | Text] = [visible(cog.name), cog_state(cog), str(cog.failures or "-"), visible(commands)]
        rows.append(Row(cells, one_line(visible(cog_note(cog))), whole=True))
    return lay_out(_COLUMNS, rows, width=width).lines


def cog_state(cog: CogView) -> Text:
    """Return a cog's state with its mark."""
    mark, style = _STYLES[cog.state]
    return one_line((f"{mark} {cog.state}", style))


def cog_note(cog: CogView) -> str:
    """Return what is to be said of a cog beside its state; empty if nothing is."""
    notes = [cog.why] if cog.why else []
    if cog.next_try_in_s is not None:
        times = "once" if cog.tries == 1 else f"{cog.tries} times"
        notes.append(f"tried {times}, again in {duration(cog.next_try_in_s)}")
    if cog.failures and cog.last_failure_at is not None:
        notes.append(f"last error {local_time(cog.last_failure_at, '%H:%M:%S')}: {cog.last_failure}")
    return "; ".join(notes)
