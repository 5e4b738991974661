"""One node's figures: its history; and the result of a reload."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from master.services.core.views import NodeHistoryView, ReloadView
from master.terminal.columns import flow
from master.terminal.fleet import megabytes, state_text
from master.terminal.output import one_line
from master.wording import duration

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
    facts = flow(
        [
            one_line(node.name, style="bold"),
            state_text(node.state),
            Text(f"pid {node.pid or '-'}"),
            Text(f"up {duration(node.uptime_s)}"),
        ],
        width=width,
    )
    memory = flow(
        [
            Text(fact, style="bright_black")
            for fact in (
                f"memory {megabytes(node.pss_bytes)} MB of its own share (PSS),",
                f"{megabytes(node.rss_bytes)} MB with what it shares (RSS)",
                f"{_count(node.threads)} threads",
                f"{_count(node.open_files)} open files",
                f"{_count(node.connections)} connections",
            )
        ],
        width=width,
    )
    rows: list[Text] = []
    for title, series in (("five minutes", found.seconds), ("a day", found.minutes), ("a week", found.week)):
        for what, values, unit in (("CPU", series.cpu_percent, "%"), ("RSS", series.rss_mb, "MB")):
            if values:
                label, last = f"{title + ', ' + what:<18}", f" now {values[-1]:.1f} {unit}, most {max(values):.1f}"
                line = sparkline(values, width=width - len(label) - len(last) - 1)
                rows.append(one_line(label, (line, "green"), (last, "bright_black")))
    return Group(*facts, *memory, *(rows or [Text("no history yet")]))


def reload_text(found: ReloadView) -> Group:
    """Render the result of a reload, one setting per line."""
    lines = [one_line(("✓ ", "green"), key) for key in found.applied]
    lines += [one_line(("◐ ", "yellow"), f"{key}: from each node's next start on") for key in found.at_node_start]
    lines += [one_line(("! ", "yellow"), f"{key}: needs a restart of the master") for key in found.needs_restart]
    lines += [one_line(("! ", "yellow"), warning) for warning in found.warnings]
    if found.needs_restart:
        lines.append(Text("`fleet down --keep-nodes`, then `fleet up`: the nodes run on", style="bright_black"))
    return Group(*(lines or [Text("nothing changed")]))


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
