"""The specification of a node, and its pulse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from master.supervision.spawner import SpawnRequest


def _nothing(_expected: bool) -> None:
    """For a node whose successor inherits nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What the supervisor needs to know of a node.

    Parameters
    ----------
    readiness
        ``handshake``: ready when verified, alive while it pulses. ``process``: ready and alive while it runs.
    build
        Called for each start; gathers token, key and environment afresh.
    after
        Names of nodes that are started first: this one waits until they are ready, or given up.
    memory_limit_bytes
        Above it the node is restarted gracefully; 0 for no limit.
    memory_hard_limit_bytes
        What the kernel holds it to; here only to say so when it was ended for that.
    expect_successor
        Tells the running node whether another process takes over when it ends; may block.
    """

    node_id: str
    name: str
    folder: Path
    readiness: Literal["handshake", "process"]
    priority: int
    build: Callable[[], Awaitable[SpawnRequest]]
    after: tuple[str, ...] = ()
    memory_limit_bytes: int = 0
    memory_hard_limit_bytes: int = 0
    expect_successor: Callable[[bool], None] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What a node says with each pulse.

    Parameters
    ----------
    interval_s
        When the next one is due: seconds on the local socket, minutes in the channel.
    """

    uptime_s: float
    latency_ms: float | None
    guilds: int
    state: str
    interval_s: float
    cogs_failed: tuple[str, ...] = ()
