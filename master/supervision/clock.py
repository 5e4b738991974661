"""Clocks, injected wherever behaviour depends on time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

MIN_STEP_S = 2.0
"""What a time service corrects by slewing stays far below."""


class Clock(Protocol):
    """A source of time."""

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        ...

    def now(self) -> datetime:
        """Return the current time as an aware datetime in UTC."""
        ...


class StepDetector:
    """Tells when the wall clock was set: it has moved otherwise than the clock that counts since boot.

    Parameters
    ----------
    wall, since_boot
        Seconds; the latter goes on while the box is suspended, as the former does.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        since_boot: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._wall = wall
        self._since_boot = since_boot
        self._offset_s = wall() - since_boot()

    def step_s(self) -> float:
        """Return by how many seconds the clock was set since the last call; 0 if it was not, or only a little."""
        offset_s = self._wall() - self._since_boot()
        step_s = offset_s - self._offset_s
        self._offset_s = offset_s
        return step_s if abs(step_s) >= MIN_STEP_S else 0.0


class SystemClock:
    """The system clock."""

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the current time as an aware datetime in UTC."""
        return datetime.now(UTC)
