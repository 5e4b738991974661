"""The gate that paces starts: a few at a time, the most important first, and the next when one is ready."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable


class StartGate:
    """Admit starts.

    A start holds its place until its node is ready, or was given time enough: so a whole fleet neither starves an old
    processor, nor logs in to Discord from one address within the same second.

    Parameters
    ----------
    places
        Starts under way at the same time.
    patience_s
        How long a start that does not become ready holds its place.
    """

    def __init__(self, places: int, *, patience_s: float = 10.0) -> None:
        self._places = self._free = places
        self._patience_s = patience_s
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def enter(self, priority: int) -> Callable[[], None]:
        """Wait for a place; returns what leaves it again, which happens by itself when patience is at its end.

        Parameters
        ----------
        priority
            The lowest number is admitted first.
        """
        if self._free > 0:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (priority, next(self._order), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
        return self._place()

    def _place(self) -> Callable[[], None]:
        held = True

        def leave() -> None:
            nonlocal held
            timer.cancel()
            if held:
                held = False
                self._leave()

        timer = asyncio.get_running_loop().call_later(self._patience_s, leave)
        return leave

    def resize(self, places: int) -> None:
        """Have more places, or fewer: those that are held too many are taken away as they are left."""
        added, self._places = places - self._places, places
        self._free += min(added, 0)
        for _ in range(added):
            self._leave()

    def _leave(self) -> None:
        while self._waiting and self._free >= 0:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
