"""Nodes as a phone shows them: one short line each, and below it why the node is in trouble."""

from __future__ import annotations

from collections.abc import Sequence

from master.bot.embeds import DESCRIPTION_CHARACTERS, shortened, state_emoji
from master.configuration.settings import EmojiSettings
from master.services.core.views import NodeStatus
from master.wording import as_markdown, duration

LINE_CHARACTERS = 45
"""Of a phone's width; figures are left out beyond it, the node's name and state never."""
_REASON_CHARACTERS = (90, 45, 0)
"""Two lines of a phone; less if a page of them does not fit into an embed."""
_MOMENT = 22
"""Characters of a shown moment, with its words and a dot before it."""
_WORST_FIRST = ("quarantined", "missing", "backoff", "degraded", "offline")
_QUIET = ("starting", "stopping", "ready", "stopped")


def is_troubled(node: NodeStatus) -> bool:
    """Tell whether a node wants its operator."""
    stays_away = node.desired == "running" and node.state == "stopped"
    return bool(node.state in _WORST_FIRST or node.flag_reason or node.licence_revoked or stays_away)


def troubled_first(nodes: Sequence[NodeStatus]) -> list[NodeStatus]:
    """Return nodes by how much they want their operator; those alike stay in the order of the fleet."""
    return sorted(nodes, key=_rank)


def _rank(node: NodeStatus) -> tuple[int, int]:
    states = (*_WORST_FIRST, *_QUIET)
    at = states.index(node.state) if node.state in states else 0
    return (0 if is_troubled(node) else 1, at)


def node_lines(emojis: EmojiSettings, nodes: Sequence[NodeStatus], now: float) -> str:
    """Return nodes as the description of an embed; reasons give way if it would not fit.

    Parameters
    ----------
    now
        Unix time of the figures.
    """
    text = ""
    for longest in _REASON_CHARACTERS:
        text = "\n".join(_node(emojis, node, now, longest) for node in nodes)
        if len(text) <= DESCRIPTION_CHARACTERS:
            break
    return text


def _node(emojis: EmojiSettings, node: NodeStatus, now: float, longest: int) -> str:
    line = f"{state_emoji(emojis, node.state)} **{as_markdown(node.name)}** {node.state}"
    # The emoji counts as two, and the marks around the name are not shown.
    width = 3 + len(node.name) + 1 + len(node.state)
    for figure in _figures(node):
        width += len(figure) + 3
        if width <= LINE_CHARACTERS:
            line += f" · {figure}"
    reason, moment = _reason(node, now)
    reason = as_markdown(shortened(reason, max(longest - (_MOMENT if moment else 0), 1))) if longest else ""
    told = " · ".join(part for part in (reason, moment if longest else "") if part)
    return f"{line}\n└ {told}" if told else line


def _figures(node: NodeStatus) -> list[str]:
    """Return what is known of a node that runs, the most wanted first."""
    if node.pid is None:
        return []
    found = [] if node.uptime_s is None else [duration(node.uptime_s)]
    memory = node.pss_bytes or node.rss_bytes
    if memory is not None:
        found.append(f"{memory / 2**20:.0f} MB")
    if node.restarts:
        found.append(f"↻{node.restarts}")
    return found


def _reason(node: NodeStatus, now: float) -> tuple[str, str]:
    """Return why a node is in trouble: words, and a moment in Discord's own format, which counts by itself."""
    if node.licence_revoked:
        return f"licence revoked: /fleet reinstate {node.name}", ""
    flag = f"⚑ {node.flag_reason}" if node.flag_reason else ""
    said, moment = _of_state(node, now)
    return ", ".join(part for part in (flag, said) if part), moment


def _of_state(node: NodeStatus, now: float) -> tuple[str, str]:
    if node.todo:
        return node.todo.replace(": fleet ", ": /fleet "), ""
    if node.state == "missing":
        # Before its next start, which only looks whether it is there again.
        return node.detail, ""
    if node.offline_since is not None:
        return "" if node.pid else "held", f"offline since <t:{int(node.offline_since)}:t>"
    if node.next_start_in_s is not None:
        return node.last_exit or node.detail, f"again <t:{int(now + node.next_start_in_s)}:R>"
    if node.state in _WORST_FIRST or node.state == "starting":
        return node.detail or node.last_exit, ""
    return "should be running" if node.desired == "running" and node.state == "stopped" else "", ""
