"""What is the matter with a node now, in one sentence, and what to do next. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from master.ledger.rows.records import SolutionRun
from master.services.core.telling_views import UNWATCHED, TimelineEntry
from master.services.core.views import NodeStatus
from master.wording import duration

RECENT_S = 3600.0
"""What happened longer ago is not the matter with a node that is ready."""
OPEN_S = 86_400.0
"""How long a repair that asks waits for an answer."""
_LEFT_TO_PEOPLE = frozenset({"told", "did_not_help", "failed", "skipped"})
_DOWN = frozenset({"exited", "backoff", "quarantined"})


def conclude(
    status: NodeStatus, entries: Sequence[TimelineEntry], now: float, *, has_master: bool = True
) -> tuple[str, str]:
    """Return what is the matter, and what to do; the latter is empty if there is nothing to do.

    Parameters
    ----------
    entries
        What happened, the newest last.
    now
        Unix time in seconds.
    """
    name = status.name
    trouble = next((entry for entry in reversed(entries) if entry.kind == "exited"), None)
    trouble = trouble or next((entry for entry in reversed(entries) if entry.kind in _DOWN), None)
    if not has_master:
        return _without_master(status)
    if status.licence_revoked:
        return (
            f"the licence of {name} is revoked: it starts no more",
            f"`fleet reinstate {name}`, then `fleet start {name}`",
        )
    if status.state in ("backoff", "quarantined"):
        return _keeps_crashing(status, trouble)
    if status.state == "stopped":
        return _stopped(status, entries, now)
    if status.state == "missing":
        return status.detail or f"the folder of {name} is gone", "put it back: it starts by itself"
    if status.state == "offline":
        return f"{name} has no connection to Discord", "nothing: it comes back with Discord; `fleet status` says more"
    if status.state == "degraded" and status.cogs_failed:
        them = "it" if len(status.cogs_failed) == 1 else "them"
        return f"{name} runs without {', '.join(status.cogs_failed)}", f"mend {them}, then `fleet restart {name}`"
    if status.state == "degraded":
        return (
            f"{name} is degraded: {status.detail or 'its pulses are missing'}",
            "nothing yet: it is replaced by itself if it stays silent",
        )
    if status.flag_reason:
        return (
            f"{name} is {status.state}, but flagged: {status.flag_reason}",
            f"find out who wrote in its name, then `fleet clear {name}`",
        )
    return _running(status, trouble, _reported(status, entries, now), now)


def with_repairs(todo: str, runs: Sequence[SolutionRun], now: float) -> str:
    """Return what to do with what solutions leave to people: a question that is open, or advice.

    Parameters
    ----------
    todo
        Empty if nothing is to be done: then nothing is added.
    runs
        The node's, newest first.
    now
        Unix time in seconds.
    """
    of_now = [run for run in runs if now - run.at.timestamp() <= (OPEN_S if run.outcome == "asked" else RECENT_S)]
    asked = next((run for run in of_now if run.outcome == "asked"), None)
    left = next((run for run in of_now if run.outcome in _LEFT_TO_PEOPLE), None)
    if not todo or (asked is None and left is None):
        return todo
    if asked is not None:
        return f"`fleet repairs do {asked.id[:10]}` has {asked.solution_id} do it ({asked.action}); or {todo}"
    return f"{todo}; `fleet solutions show {left.solution_id}` has advice" if left is not None else todo


def _without_master(status: NodeStatus) -> tuple[str, str]:
    name = status.name
    if status.state == UNWATCHED:
        return f"no master runs; {name} does, and nobody watches it", "`fleet up` takes it back"
    wanted = f"{name} starts with the master" if status.desired == "running" else f"{name} is stopped"
    return f"no master runs; {wanted}", "`fleet up`"


def _keeps_crashing(status: NodeStatus, trouble: TimelineEntry | None) -> tuple[str, str]:
    why = trouble.text if trouble is not None else status.last_exit or status.detail
    times = f" ({trouble.count} times)" if trouble is not None and trouble.count > 1 else ""
    wait = "" if status.next_start_in_s is None else f"; the next start is in {duration(status.next_start_in_s)}"
    state = "is quarantined" if status.state == "quarantined" else "waits before its next start"
    act = f"`fleet release {status.name}`" if status.state == "quarantined" else f"`fleet start {status.name}`"
    todo = trouble.todo if trouble is not None else ""
    return f"{status.name} {state}: it {why}{times}{wait}", f"{todo}; then {act}" if todo and act not in todo else (
        todo or act
    )


def _stopped(status: NodeStatus, entries: Sequence[TimelineEntry], now: float) -> tuple[str, str]:
    name = status.name
    if status.desired == "running":
        return f"{name} should be running, and is not", f"`fleet start {name}`"
    by = next((entry for entry in reversed(entries) if entry.kind == "action" and "start" not in entry.text), None)
    who = f": it {by.text} by {by.actor} {duration(now - by.at)} ago" if by is not None else ", as it should be"
    return f"{name} is stopped{who}", f"`fleet start {name}` starts it"


def _reported(status: NodeStatus, entries: Sequence[TimelineEntry], now: float) -> TimelineEntry | None:
    """Return the last error that the running process reported lately."""
    since = now - min(RECENT_S, status.uptime_s or 0.0)
    return next((entry for entry in reversed(entries) if entry.kind == "error" and entry.at >= since), None)


def _running(
    status: NodeStatus, trouble: TimelineEntry | None, reported: TimelineEntry | None, now: float
) -> tuple[str, str]:
    up = "" if status.uptime_s is None else f", up {duration(status.uptime_s)}"
    if trouble is None or now - trouble.at > RECENT_S:
        if reported is not None:
            ago = duration(now - reported.at)
            return f"{status.name} is {status.state}{up}; {ago} ago it {reported.text}", f"`fleet logs {status.name}`"
        if status.state == "ready":
            return f"nothing is the matter: {status.name} is ready{up}", ""
        detail = f", {status.detail}" if status.detail else ""
        return f"nothing is the matter yet: {status.name} is {status.state}{up}{detail}", ""
    ago = f"{duration(now - trouble.at)} ago"
    often = (
        f"; {ago} it {trouble.text}"
        if trouble.count == 1
        else (f"; {trouble.count} times, last {ago}, it {trouble.text}")
    )
    again = " again" if status.state == "ready" else ""
    return f"{status.name} is {status.state}{again}{up}{often}", trouble.todo
