"""Reports of connections that Discord closed with a code of its own; an exception is not always raised of them."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable

from handshake.messages import ErrorReport

MOST_AN_HOUR = 4
"""Reports; those beyond are counted, and sent with the next one of their code."""
ROUTINE = frozenset({4000, 4009})
"""Discord restarts, or has not heard the bot for a while: reported from the third time in an hour on."""
ROUTINE_FROM = 3
_MEANINGS = {
    4001: "unknown opcode",
    4002: "it could not be decoded",
    4003: "not authenticated",
    4004: "the token is refused",
    4005: "already authenticated",
    4007: "invalid sequence number",
    4008: "rate limited: too many payloads",
    4009: "the session timed out",
    4010: "invalid shard",
    4011: "sharding is required",
    4012: "invalid version of the API",
    4013: "invalid intents",
    4014: "disallowed intents",
}
"""https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes"""


class GatewayCloses:
    """Count what Discord closed, and report some of it.

    Parameters
    ----------
    send
        Sends a report; must not block.
    """

    def __init__(self, send: Callable[[ErrorReport], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._reported: deque[float] = deque()
        self._times: dict[int, deque[float]] = {}
        self._unsent = Counter[int]()

    def note(self, code: int) -> None:
        """Take the code that a connection was closed with."""
        if not 4000 <= code < 5000:
            return
        now = self._clock()
        times = self._times.setdefault(code, deque(maxlen=ROUTINE_FROM))
        times.append(now)
        self._unsent[code] += 1
        if code in ROUTINE and (len(times) < ROUTINE_FROM or now - times[0] > 3600):
            return
        while self._reported and now - self._reported[0] > 3600:
            self._reported.popleft()
        if len(self._reported) < MOST_AN_HOUR:
            self._reported.append(now)
            self._send(_report_of(code, self._unsent.pop(code)))


def _report_of(code: int, count: int) -> ErrorReport:
    return ErrorReport(
        source="gateway",
        where=f"close {code}",
        exception="ConnectionClosed",
        fingerprint=hashlib.sha256(f"gateway close {code}".encode()).hexdigest()[:16],
        message=_MEANINGS.get(code, "unknown error"),
        count=count,
    )
