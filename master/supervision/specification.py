"""What the supervisor is told of a node: what it is to run, and what it says of itself. Plain data, fit for a wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

OFFLINE_AFTER_S = 2.0
"""Discord asks a connection to reconnect now and then, which takes less than this."""


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor needs to know of a node; what one start needs beyond it a ``StartPreparer`` gathers."""

    node_id: str
    name: str
    folder: str
    """Its path on the host that the node runs on."""
    readiness: Literal["handshake", "process"]
    """``handshake``: ready by its own word, alive by its pulse. ``process``: by running."""
    priority: int
    host: str = ""
    """Whose node it is, as the ledger has it; empty for the master's own box."""
    after: tuple[str, ...] = ()
    """Names of nodes that are started first: this one waits until they are ready, or given up."""
    memory_limit_bytes: int = 0
    """Above it the node is restarted gracefully; 0 for no limit."""
    ready_when: str = ""
    """With readiness ``process``: the sign (``configuration.programs``) that shows that it is ready; empty: running."""
    memory_hard_limit_bytes: int = 0
    """What the kernel holds it to; here only to say so when it was ended for that."""


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
    offline_s: float | None = None
    """Seconds since it lost its connection to Discord; None while it is connected."""

    @property
    def is_offline(self) -> bool:
        """Whether the node is not connected to Discord, and not only for the moment of a reconnect."""
        return self.offline_s is not None and self.offline_s >= OFFLINE_AFTER_S

    @property
    def is_degraded(self) -> bool:
        """Whether the node says itself that it is not whole."""
        return self.state == "degraded" or bool(self.cogs_failed)

    @property
    def complaint(self) -> str:
        """What is wrong by the node's own word; empty when nothing is."""
        if self.cogs_failed:
            count = len(self.cogs_failed)
            # Each begins a line of its own nowhere, whatever a node calls its cogs.
            names = ", ".join("".join(c if c.isprintable() else "?" for c in name) for name in self.cogs_failed)
            return f"{count} {'cog' if count == 1 else 'cogs'} failed: {names}"
        return "degraded by its own word" if self.is_degraded else ""
