"""The fleet as a table, and its summary."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from master.services.core.views import FleetStatus, MasterStatus, NodeStatus
from master.terminal.columns import Column, Laid, Row, flow, lay_out
from master.terminal.output import one_line
from master.wording import duration, moment, visible

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


def megabytes(size: float | None) -> str:
    """Format a size in MB."""
    return "-" if size is None else f"{size / 2**20:.1f}"


def state_text(state: str) -> Text:
    """Return a state with its symbol, in colour."""
    symbol, style = STATE_STYLES.get(state, ("?", "white"))
    return one_line(f"{symbol} {state}", style=style)


_COLUMNS = (
    Column("NODE"),
    Column("STATE"),
    Column("PID", 5, 30, "right"),
    Column("UP", 1, 12, "right"),
    Column("CPU %", 4, 12, "right"),
    Column("MB", 3, 12, "right"),
    Column("RST", 2, 12, "right"),
    Column("PULSE", 7, 36, "right"),
    Column("PING", 6, 36, "right"),
    Column("GUILDS", 8, 40, "right"),
    Column("VERSION", 9, 40),
)
"""The columns before the note. Restarts tell more of a node in trouble than its figures; a pid is for other tools."""

_LONGEST_VERSION = 16
_EVERY_NODE = slice(None)

_SEVERITY = {"quarantined": 0, "missing": 1, "backoff": 2, "degraded": 3, "offline": 4}


def troubled_first(nodes: Sequence[NodeStatus]) -> list[NodeStatus]:
    """Return nodes in the order in which one wants to read them: those in trouble, the worst first, then by name."""
    return sorted(nodes, key=lambda node: (_severity(node), node.name.casefold()))


def is_troubled(node: NodeStatus) -> bool:
    """Tell whether somebody should look at a node."""
    return _severity(node) <= _FLAGGED


_FLAGGED, _CALM = 6, 7


def _severity(node: NodeStatus) -> int:
    if node.state in _SEVERITY:
        return _SEVERITY[node.state]
    if node.desired == "running" and node.state == "stopped" and not node.licence_revoked:
        return 5
    return _FLAGGED if node.flag_reason else _CALM


def lay_out_fleet(
    nodes: Sequence[NodeStatus], *, width: int | None, whole_notes: bool = True, window: slice = _EVERY_NODE
) -> Laid:
    """Lay out nodes as a table, in their order.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    whole_notes
        Whether a note that tells what is wrong, or what to type, stands below its row when it does not fit beside it.
    window
        The rows that are wanted.
    """
    rows = [
        Row(_cells(node), _note(node), whole=whole_notes and (is_troubled(node) or node.licence_revoked))
        for node in nodes
    ]
    return lay_out(_COLUMNS, rows, width=width, window=window)


def fleet_table(nodes: Sequence[NodeStatus], *, width: int | None) -> Group:
    """Render nodes as a table; narrow terminals get fewer columns.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    """
    return Group(*lay_out_fleet(nodes, width=width).lines)


def _cells(node: NodeStatus) -> list[str | Text]:
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
        "-" if node.guilds is None else str(node.guilds),
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
    if node.state in ("degraded", "quarantined"):
        return one_line(node.detail or node.last_exit, style="red")
    if node.desired == "running" and node.state == "stopped":
        return one_line("should be running", style="yellow")
    return one_line(node.last_exit, style="bright_black")


def summary_line(status: FleetStatus, *, width: int | None = None) -> Text:
    """Return a summary of the fleet, on a few lines."""
    return Text("\n").join(summary_lines(status, width=width))


def summary_lines(status: FleetStatus, *, width: int | None = None) -> list[Text]:
    """Return a summary of the fleet: what its nodes do, what the master does, and what is wrong.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    """
    lines = [flow(_node_counts(status), width=width), flow(_master_facts(status.master), width=width)]
    lines += [flow([sentence], width=width) for sentence in _sentences(status)]
    return [line for some in lines for line in some]


def _node_counts(status: FleetStatus) -> list[Text]:
    counts: dict[str, int] = {}
    for node in status.nodes:
        counts[node.state] = counts.get(node.state, 0) + 1
    items = [Text(f"{len(status.nodes)} node{'' if len(status.nodes) == 1 else 's'}", style="bold")]
    for state, (symbol, style) in STATE_STYLES.items():
        if counts.get(state):
            items.append(Text(f"{symbol} {counts[state]} {state}", style=style))
    if flagged := sum(1 for node in status.nodes if node.flag_reason):
        items.append(Text(f"⚑ {flagged} flagged", style="red"))
    if status.master.merged_bytes and status.nodes:
        items.append(Text(f"{status.master.merged_bytes / 2**20:.0f} MB saved by merging", style="bright_black"))
    return items


def _master_facts(master: MasterStatus) -> list[Text]:
    items = [
        Text(fact, style="bright_black")
        for fact in (
            f"master {master.pid}",
            f"up {duration(master.uptime_s)}",
            f"cpu {master.cpu_percent:.1f} %",
            f"{megabytes(master.rss_bytes)} MB",
        )
    ]
    discord = "dark_orange" if master.discord == "offline" else "bright_black"
    items.append(one_line(f"discord {master.discord}", style=discord))
    items.append(one_line(f"ledger {master.ledger}", style="red" if master.ledger.endswith("away") else "bright_black"))
    items += [one_line(state, style="bold red") for state in master.box]
    if master.isolation:
        walled = master.isolation.startswith("landlock")
        items.append(one_line(f"isolation {master.isolation}", style="bright_black" if walled else "yellow"))
    for mailbox in master.mailboxes:
        state = mailbox.partition(":")[0].rpartition(" ")[2]
        style = STATE_STYLES.get(state, ("", "yellow"))[1]
        items.append(one_line(f"mailbox {mailbox}", style="bright_black" if state == "ready" else style))
    if master.old_keys is not None:
        items.append(Text(f"{master.old_keys} nodes wait for their new keys", style="yellow"))
    return items


def _sentences(status: FleetStatus) -> list[Text]:
    master = status.master
    found = []
    if master.commands:
        found.append(one_line(f"slash commands are not registered: {master.commands}", style="red"))
    if master.start_trouble:
        found.append(one_line(master.start_trouble, style="yellow"))
    found += [one_line(trouble, style="red") for trouble in master.troubles]
    if master.offline_since is not None:
        away = f"offline since {moment(master.offline_since)} ({duration(status.at - master.offline_since)})"
        why = f": {master.offline_why}" if master.offline_why else ""
        found.append(one_line(away, why, style="dark_orange"))
    return found
