"""The states of a node's process, and the legal transitions between them."""

from __future__ import annotations

from enum import StrEnum


class NodeState(StrEnum):
    """What the supervisor observes of a node."""

    STOPPED = "stopped"
    STARTING = "starting"
    """Spawned, and not verified as ready yet."""
    READY = "ready"
    DEGRADED = "degraded"
    """Running, but not whole: its pulse is missing, or says itself what failed."""
    STOPPING = "stopping"
    BACKOFF = "backoff"
    """Exited; the next start is delayed."""
    QUARANTINED = "quarantined"
    """Exited too often; retried slowly until it stays up or is released."""
    MISSING = "missing"
    """Its folder or entry file does not exist."""
    OFFLINE = "offline"
    """Without Discord: it runs and is not connected, or it ended and is started again once Discord is back."""


_LEGAL: dict[NodeState, frozenset[NodeState]] = {
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
            NodeState.OFFLINE,
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
            NodeState.OFFLINE,
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
            NodeState.OFFLINE,
        }
    ),
    NodeState.STOPPING: frozenset(
        {
            NodeState.STOPPED,
            NodeState.STARTING,
            NodeState.BACKOFF,
            NodeState.QUARANTINED,
            NodeState.MISSING,
            NodeState.OFFLINE,
        }
    ),
    NodeState.BACKOFF: frozenset(
        {
            NodeState.STARTING,
            NodeState.STOPPED,
            NodeState.MISSING,
            NodeState.BACKOFF,
            NodeState.QUARANTINED,
            NodeState.OFFLINE,
        }
    ),
    NodeState.QUARANTINED: frozenset(
        {NodeState.STARTING, NodeState.STOPPED, NodeState.MISSING, NodeState.QUARANTINED, NodeState.OFFLINE}
    ),
    NodeState.OFFLINE: frozenset(
        {
            NodeState.READY,
            NodeState.DEGRADED,
            NodeState.STOPPING,
            NodeState.STARTING,
            NodeState.BACKOFF,
            NodeState.QUARANTINED,
            NodeState.STOPPED,
            NodeState.MISSING,
        }
    ),
    NodeState.MISSING: frozenset({NodeState.STARTING, NodeState.STOPPED, NodeState.MISSING, NodeState.QUARANTINED}),
}


def is_legal_transition(before: NodeState, after: NodeState) -> bool:
    """Tell whether a node may change from one state to another; docs/supervision.md shows this table."""
    return after in _LEGAL[before]
