"""Requests to stop or restart the master."""

from __future__ import annotations

import asyncio


class Lifecycle:
    """A request to stop the master, from any face; ``master.main`` waits for it. The first request counts."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.stop_nodes = True
        """Whether the nodes stop with the master; otherwise the next master adopts them."""
        self.again = False
        """Whether the master restarts, with its settings read again."""

    def end(self, *, stop_nodes: bool) -> None:
        """Ask the master to stop."""
        self._ask(stop_nodes=stop_nodes, again=False)

    def begin_anew(self) -> None:
        """Ask the master to restart; its nodes keep running."""
        self._ask(stop_nodes=False, again=True)

    def _ask(self, *, stop_nodes: bool, again: bool) -> None:
        if not self._asked.is_set():
            self.stop_nodes, self.again = stop_nodes, again
            self._asked.set()

    @property
    def is_ending(self) -> bool:
        """Whether the master was asked to stop, and not to come back."""
        return self._asked.is_set() and not self.again

    async def wait(self) -> None:
        """Wait for a request."""
        await self._asked.wait()
