"""What is true of a node at a moment: taken before it is patched, and again whenever it is judged."""

from __future__ import annotations

from datetime import datetime

import msgspec

from master.services.patches.memory_slope import Reading
from master.supervision.states import NodeState

BROKEN_EXITS = 3
"""A node that ended so often in the hour before was broken already."""
_BROKEN_STATES = frozenset({NodeState.BACKOFF, NodeState.QUARANTINED, NodeState.DEGRADED, NodeState.MISSING})


class SeenError(msgspec.Struct, frozen=True, kw_only=True):
    """How often an error was seen on a node, as the ledger has it."""

    count: int
    first_at: float
    """Unix seconds."""
    last_at: float


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What was true of a node before it was patched; in the ledger as JSON."""

    at: float
    """Unix seconds."""
    state: NodeState
    cogs_failed: tuple[str, ...] = ()
    errors: dict[str, SeenError] = {}
    """By the fingerprints of their groups."""
    exits: int = 0
    """In the hour before, other than those that an operator asked for."""
    lapses: int = 0
    """How often it was degraded in the hour before."""
    stalls: int = 0
    """How often something blocked its event loop in the hour before."""
    memory_mb_h: float | None = None
    """How fast its memory grew in the hour before."""
    latency_ms: float | None = None
    uses: int | None = None
    """How often people have used the bot; None where that is not known."""

    @property
    def was_broken(self) -> bool:
        """Whether it did not work, so that a patch may be the cure."""
        return self.exits >= BROKEN_EXITS or self.state in _BROKEN_STATES


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """A process that ended without having been asked to."""

    at: float
    exit_code: int | None = None
    signal: int | None = None
    detail: str = ""


class Lapse(msgspec.Struct, frozen=True, kw_only=True):
    """Something else that a node should not do: it was degraded, or its event loop was blocked."""

    at: float
    detail: str = ""


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of a node now."""

    node_id: str
    name: str
    at: float
    state: NodeState
    is_wanted: bool = True
    uptime_s: float | None = None
    watched_s: float | None = None
    """How long this master has had its process: one that was adopted has to say anew that it is ready."""
    detail: str = ""
    cogs_failed: tuple[str, ...] = ()
    errors: dict[str, SeenError] = {}
    exits: tuple[Ending, ...] = ()
    """Of the last hours, the oldest first."""
    spawned: tuple[float, ...] = ()
    """When its processes began, of the same time."""
    lapses: tuple[Lapse, ...] = ()
    stalls: tuple[Lapse, ...] = ()
    memory: tuple[Reading, ...] = ()
    latencies: tuple[Reading, ...] = ()
    """In milliseconds."""
    uses: int | None = None


def encode(baseline: Baseline) -> str:
    """Return a baseline as the ledger keeps it."""
    return msgspec.json.encode(baseline).decode()


def decode(text: str, *, at: datetime) -> Baseline:
    """Return a baseline as it was taken; one that cannot be read is that of a healthy node at ``at``."""
    try:
        return msgspec.json.decode(text, type=Baseline)
    except msgspec.MsgspecError:
        return Baseline(at=at.timestamp(), state=NodeState.READY)
