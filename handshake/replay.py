"""Replay protection, in bounded memory: by sessions on the master's side, by expiry on a node's."""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

WINDOW = 1024
"""Messages of a session may overtake each other by this many: it has two transports."""
_WINDOW_MASK = (1 << WINDOW) - 1


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


class Verdict(Enum):
    """What a session says of a message."""

    FRESH = "fresh"
    STALE = "stale"
    """Of another session than the node's, or out of time with it: the node has to prove itself in a new one."""
    REPLAYED = "replayed"


@dataclass(slots=True)
class _Session:
    name: str
    offset_s: float
    """The node's clock minus ours, at the first message."""
    highest: int
    seen: int = 1
    """Bit n: ``highest - n`` was admitted."""

    def admit(self, sequence: int) -> bool:
        ahead = sequence - self.highest
        if ahead > 0:
            self.seen = ((self.seen << min(ahead, WINDOW)) | 1) & _WINDOW_MASK
            self.highest = sequence
            return True
        if -ahead >= WINDOW or self.seen >> -ahead & 1:
            return False
        self.seen |= 1 << -ahead
        return True


class Sessions:
    """Admits each message of a node once, whatever the clocks of the two do.

    The master names the session: in the boot document, or in its answer to a message of another one. So nothing that
    was recorded before the master or the node started is admitted. Inside a session the sequence number is admitted
    once. A message that is late by the session's own time is stale: it was held back, or a clock was set.

    Parameters
    ----------
    clock
        Monotonic seconds.
    tolerance_s
        How far a message may be off the session's own time.
    """

    def __init__(self, clock: Callable[[], float], *, tolerance_s: float) -> None:
        self._clock = clock
        self._tolerance_s = tolerance_s
        self._current: dict[str, _Session] = {}
        self._offered: dict[str, str] = {}

    def open(self, node_id: str) -> str:
        """Return a new session for a process that is about to start."""
        self._offered[node_id] = secrets.token_urlsafe(9)
        return self._offered[node_id]

    def offered(self, node_id: str) -> str:
        """Return the session that a node is asked to take; the same one until it does."""
        return self._offered.get(node_id) or self.open(node_id)

    def admit(self, node_id: str, session: str | None, sequence: int, issued_at: float) -> Verdict:
        """Judge a signed message, and remember it if it is fresh."""
        offset_s = issued_at - self._clock()
        if session is not None and session == self._offered.get(node_id):
            del self._offered[node_id]
            self._current[node_id] = _Session(session, offset_s, sequence)
            return Verdict.FRESH
        current = self._current.get(node_id)
        if current is None or session != current.name:
            return Verdict.STALE
        if abs(offset_s - current.offset_s) > self._tolerance_s:
            return Verdict.STALE
        return Verdict.FRESH if current.admit(sequence) else Verdict.REPLAYED

    def forget(self, node_id: str) -> None:
        """Drop what is known of a node that no longer exists."""
        self._current.pop(node_id, None)
        self._offered.pop(node_id, None)
