"""Requests to stop or restart the master, and what an ending one waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Lifecycle:
    """A request to stop the master, from any face; ``master.main`` waits for it. The first request counts."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.hurried = asyncio.Event()
        """Set when nobody wants to wait any longer: nodes are killed, and the rest is given up."""
        self.stop_nodes = True
        """Whether the nodes stop with the master; otherwise the next master adopts them."""
        self.again = False
        """Whether the master restarts, with its settings read again."""
        self.awaited: Callable[[], tuple[str, ...]] = tuple
        """Returns what an ending master waits for: operations, nodes, tasks."""
        self.deadline: float | None = None
        """By ``time.monotonic``, when an ending master ends whatever is left; None before it ends."""

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

    def hurry(self) -> None:
        """Ask a master that is ending not to wait any longer."""
        self.hurried.set()

    @property
    def is_ending(self) -> bool:
        """Whether the master was asked to stop, and not to come back."""
        return self._asked.is_set() and not self.again

    @property
    def ends_within_s(self) -> float | None:
        """The seconds after which an ending master ends whatever is left; None while it does not end."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    async def wait(self) -> None:
        """Wait for a request."""
        await self._asked.wait()
