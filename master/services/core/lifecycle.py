"""How the master is asked to end, or to begin anew."""

from __future__ import annotations

import asyncio


class Lifecycle:
    """A request to end; the kernel waits for it, whoever asks."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.stop_nodes = True
        """Whether the nodes end with the master; otherwise the next one adopts them."""
        self.again = False
        """Whether the master begins anew, with its settings read again."""

    def end(self, *, stop_nodes: bool) -> None:
        """Ask the master to end."""
        self.stop_nodes, self.again = stop_nodes, False
        self._asked.set()

    def begin_anew(self) -> None:
        """Ask the master to begin anew; its nodes live on."""
        self.stop_nodes, self.again = False, True
        self._asked.set()

    async def wait(self) -> None:
        """Wait until somebody asks."""
        await self._asked.wait()
