"""The server's channels in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from master.services.core.channel_views import ChannelRepairRow, ChannelsView, DriftRow
from master.terminal.columns import Column, Row, lay_out
from master.terminal.output import local_time, one_line
from master.wording import visible

SHOWN_ID = 12
_STYLES = {
    **{"ok": "green", "drift": "yellow", "gone": "red", "left": "dim", "asked": "yellow", "failed": "red"},
    **{"unknown": "red", "due": "yellow", "repaired": "green", "repairing": "cyan", "undone": "dim"},
    **{"undoing": "cyan", "found": "yellow"},
}
_COLUMNS = (Column("KEY"), Column("NAME", 1, 20), Column("STATE"), Column("CATEGORY", 3, 16), Column("ID", 2))
_HISTORY = (Column("ID"), Column("WHEN", 2), Column("STATE"), Column("WHO", 1, 20))


def channel_lines(view: ChannelsView, *, width: int | None) -> Iterator[Text]:
    """Return the channels as a table, with what differs below; then what config.py has to say."""
    laid = []
    for row in view.channels:
        cells: list[str | Text] = [
            visible(row.key),
            visible(row.name),
            one_line((row.state, _STYLES.get(row.state, ""))),
            visible(row.category) or "-",
            str(row.channel_id) if row.channel_id else "-",
        ]
        laid.append(Row(cells, one_line(visible(row.detail))))
    if laid:
        yield from lay_out(_COLUMNS, laid, width=width).lines
    else:
        yield Text("the fleet wants no channels: CHANNELS and TICKETS in config.py, or channels.toml beside it")
    old = [row for row in view.channels if row.config_id]
    if old:
        yield Text()
        yield one_line(("config.py still has the old ids; everybody follows the new ones:", "yellow"))
        for row in old:
            yield one_line(f"  {visible(row.key)}: {row.config_id} is {row.channel_id} now")
    for trouble in view.troubles:
        yield one_line((visible(trouble), "red"))
    if view.mode != "repair":
        yield one_line((f"SELFFIX['MODE'] is '{view.mode}': nothing is put right by itself", "yellow"))


def drift_lines(rows: Sequence[DriftRow]) -> Iterator[Text]:
    """Return what differs, and what would be done."""
    for row in rows:
        mark, style = ("+", "green") if row.drift == "gone" else ("~", "yellow")
        who = f" (by {visible(row.culprit) or row.culprit_id})" if row.culprit_id else ""
        state = "" if row.state == "due" else f" [{row.state}]"
        yield one_line((f"{mark} ", style), visible(row.words), (f"{who}{state}", "dim"))
        if row.obstacle:
            yield one_line(("  cannot be done: ", "red"), visible(row.obstacle))
    due = [row for row in rows if not row.obstacle]
    made = sum(row.drift == "gone" for row in due)
    yield one_line(
        (f"{made} to make anew, {len(due) - made} to change in place, {len(rows) - len(due)} impossible", "bold")
    )


def repair_lines(rows: Sequence[ChannelRepairRow], *, width: int | None) -> list[Text]:
    """Return repairs as a table, with what each was about below."""
    laid = []
    for row in rows:
        cells: list[str | Text] = [
            row.id[:SHOWN_ID] if sum(other.id[:SHOWN_ID] == row.id[:SHOWN_ID] for other in rows) == 1 else row.id,
            local_time(row.at, "%m-%d %H:%M"),
            one_line((row.state, _STYLES.get(row.state, ""))),
            visible(row.culprit) or (str(row.culprit_id) if row.culprit_id else "-"),
        ]
        laid.append(Row(cells, one_line(visible(f"{row.words}{f': {row.detail}' if row.detail else ''}"))))
    return lay_out(_HISTORY, laid, width=width).lines
