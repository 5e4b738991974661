"""Replay protection: remembers each message until it expires, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class ReplayGuard:
    """Admit each message once.

    The capacity is per node: a node that sends too much is refused, and cannot evict the entries of another.

    Parameters
    ----------
    clock
        Returns Unix time in seconds.
    capacity
        Messages remembered for each node. With a pulse every 9 s and a lifetime of 120 s a node needs about 14.
    """

    def __init__(self, clock: Callable[[], float], *, capacity: int = 512) -> None:
        self._clock = clock
        self._capacity = capacity
        self._seen: dict[str, set[str]] = {}
        self._expiries: dict[str, list[tuple[float, str]]] = {}

    def admit(self, node_id: str, token_id: str, expires_at: float) -> bool:
        """Tell whether this message is new, and remember it until ``expires_at`` (Unix time).

        Also False when the node's capacity is used up: a new message is refused rather than not remembered.
        """
        seen = self._seen.setdefault(node_id, set())
        expiries = self._expiries.setdefault(node_id, [])
        now = self._clock()
        while expiries and expiries[0][0] < now:
            seen.discard(heapq.heappop(expiries)[1])
        if token_id in seen or len(seen) >= self._capacity:
            return False
        seen.add(token_id)
        heapq.heappush(expiries, (expires_at, token_id))
        return True

    def forget(self, node_id: str) -> None:
        """Drop the entries of a node that no longer exists."""
        self._seen.pop(node_id, None)
        self._expiries.pop(node_id, None)

    def __len__(self) -> int:
        return sum(len(seen) for seen in self._seen.values())
