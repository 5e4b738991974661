"""Log lines that a flood must not multiply: one now, and later how many there were in between."""

from __future__ import annotations

import logging
import time

EVERY_S = 60.0


class RareLog:
    """Log one message at most once in a while, as a warning.

    Parameters
    ----------
    log
        Where to.
    message
        The line. From the second on it carries ``times``: how often it was due since the one before.
    """

    def __init__(self, log: logging.Logger, message: str, *, every_s: float = EVERY_S) -> None:
        self._log = log
        self._message = message
        self._every_s = every_s
        self._next_at = 0.0
        self._due = 0

    def __call__(self, **extra: object) -> None:
        """Log the line with its details, or count it."""
        self._due += 1
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + self._every_s
        self._log.warning(self._message, extra=extra if self._due == 1 else {**extra, "times": self._due})
        self._due = 0
