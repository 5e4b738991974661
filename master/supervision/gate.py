"""A priority semaphore that limits concurrent starts."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable


class StartGate:
    """Limit the starts that run concurrently.

    A start holds its slot until its node is ready or a time-out passes. So a whole fleet neither overloads an old
    processor, nor logs in to Discord from one address within the same second.

    Parameters
    ----------
    slots
        Number of concurrent starts.
    timeout_s
        Seconds after which a start that is not ready releases its slot.
    """

    def __init__(self, slots: int, *, timeout_s: float = 10.0) -> None:
        self._slots = self._free = slots
        self._timeout_s = timeout_s
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def enter(self, priority: int) -> Callable[[], None]:
        """Wait for a slot; returns a function that releases it. After the time-out it is released anyway.

        Parameters
        ----------
        priority
            The lowest number is admitted first.
        """
        if self._free > 0:
            self._free -= 1
        else:
            admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (priority, next(self._order), admitted))
            try:
                await admitted
            except asyncio.CancelledError:
                if admitted.done() and not admitted.cancelled():
                    self._release()
                raise
        return self._hold_slot()

    def _hold_slot(self) -> Callable[[], None]:
        held = True

        def release() -> None:
            nonlocal held
            timer.cancel()
            if held:
                held = False
                self._release()

        timer = asyncio.get_running_loop().call_later(self._timeout_s, release)
        return release

    def resize(self, slots: int) -> None:
        """Have more slots, or fewer: those that are held too many are taken away as they are released."""
        added, self._slots = slots - self._slots, slots
        self._free += min(added, 0)
        for _ in range(added):
            self._release()

    def _release(self) -> None:
        while self._waiting and self._free >= 0:
            _, _, admitted = heapq.heappop(self._waiting)
            if not admitted.done():
                admitted.set_result(None)
                return
        self._free += 1
