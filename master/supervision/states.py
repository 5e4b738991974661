"""The states of a node's process, the legal transitions between them, and the events they cause."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NodeState(StrEnum):
    """What the supervisor observes of a node."""

    STOPPED = "stopped"
    STARTING = "starting"
    """Spawned, not yet ready by its own word."""
    READY = "ready"
    DEGRADED = "degraded"
    """Running, but not whole: its pulse is missing, or says itself what failed."""
    STOPPING = "stopping"
    BACKOFF = "backoff"
    """Exited; the next start waits."""
    QUARANTINED = "quarantined"
    """Exits too often; retried slowly until it holds or is released."""
    MISSING = "missing"
    """Its folder or entry file is gone."""


class ProcessEventKind(StrEnum):
    """What happened to a node's process."""

    SPAWNED = "spawned"
    READY = "ready"
    DEGRADED = "degraded"
    RECOVERED = "recovered"
    CONTINUED = "continued"
    """A signal had stopped it (SIGSTOP); it was continued at once."""
    EXITED = "exited"
    STOPPED = "stopped"
    KILLED = "killed"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEvent:
    """One step in a node's life, given to the supervisor's listeners in order."""

    node_id: str
    kind: ProcessEventKind
    at: datetime
    host: str = ""
    """The host whose supervision saw it."""
    pid: int | None = None
    pid_started_at: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    uptime_s: float | None = None
    detail: str = ""


_MAY_FOLLOW: dict[NodeState, frozenset[NodeState]] = {
    NodeState.STOPPED: frozenset({NodeState.STARTING, NodeState.MISSING, NodeState.BACKOFF, NodeState.QUARANTINED}),
    NodeState.STARTING: frozenset(
        {
            NodeState.READY,
            NodeState.DEGRADED,
            NodeState.STOPPING,
            NodeState.BACKOFF,
            NodeState.QUARANTINED,
            NodeState.STOPPED,
            NodeState.MISSING,
        }
    ),
    NodeState.READY: frozenset(
        {
            NodeState.DEGRADED,
            NodeState.STOPPING,
            NodeState.STARTING,
            NodeState.BACKOFF,
            NodeState.QUARANTINED,
            NodeState.STOPPED,
            NodeState.MISSING,
        }
    ),
    NodeState.DEGRADED: frozenset(
        {
            NodeState.READY,
            NodeState.STOPPING,
            NodeState.STARTING,
            NodeState.BACKOFF,
            NodeState.QUARANTINED,
            NodeState.STOPPED,
            NodeState.MISSING,
        }
    ),
    NodeState.STOPPING: frozenset(
        {
            NodeState.STOPPED,
            NodeState.STARTING,
            NodeState.BACKOFF,
            NodeState.QUARANTINED,
            NodeState.MISSING,
        }
    ),
    NodeState.BACKOFF: frozenset(
        {NodeState.STARTING, NodeState.STOPPED, NodeState.MISSING, NodeState.BACKOFF, NodeState.QUARANTINED}
    ),
    NodeState.QUARANTINED: frozenset({NodeState.STARTING, NodeState.STOPPED, NodeState.MISSING, NodeState.QUARANTINED}),
    NodeState.MISSING: frozenset({NodeState.STARTING, NodeState.STOPPED, NodeState.MISSING, NodeState.QUARANTINED}),
}


def may_follow(before: NodeState, after: NodeState) -> bool:
    """Tell whether a node may go from one state to another; docs/supervision.md draws this table."""
    return after in _MAY_FOLLOW[before]
