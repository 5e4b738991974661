"""Ends of processes of which it is not decided yet who tells of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime


class UndecidedExits:
    """Held by each who has an end of a process in hand, and awaited by who tells of those that nobody else tells of.

    Who passes one on lets go of it after the next one has taken hold.
    """

    def __init__(self) -> None:
        self._held = Counter[tuple[str, datetime]]()
        self._waiting: dict[tuple[str, datetime], asyncio.Future[None]] = {}

    def hold(self, node_id: str, at: datetime) -> None:
        """Take the end of a node's process at that time in hand."""
        self._held[node_id, at] += 1

    def release(self, node_id: str, at: datetime) -> None:
        """Let go of it."""
        key = node_id, at
        self._held[key] -= 1
        if self._held[key] <= 0:
            del self._held[key]
            waiting = self._waiting.pop(key, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    async def decided(self, node_id: str, at: datetime) -> None:
        """Wait until nobody holds it."""
        key = node_id, at
        while key in self._held:
            waiting = self._waiting.get(key)
            if waiting is None:
                waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
            await asyncio.wait({waiting})
