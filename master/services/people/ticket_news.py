"""Tells nodes which of their tickets changed, by orders; a node that is not there asks when it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from master.ledger.rows.records import Node, Ticket
from master.services.core.directory import NodeDirectory
from master.services.trust.orders import NodeOrders, OrderFailed, OrderInTheWay

log = logging.getLogger(__name__)

TRIES, PAUSE_S = 5, 1.0
"""An order that another one was in the way of is sent again."""


class TicketNews:
    """Send ``ticket_changed`` to nodes, one order at a time to each, and none twice.

    Parameters
    ----------
    is_running
        Tells whether a node has a process that could fetch an order.
    """

    def __init__(self, orders: NodeOrders, directory: NodeDirectory, is_running: Callable[[str], bool]) -> None:
        self._orders, self._directory, self._is_running = orders, directory, is_running
        self._waiting: dict[str, dict[str, None]] = {}
        """By node: ids of tickets, in order."""
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, ticket: Ticket) -> None:
        """Tell a ticket's node that it changed; of one that came by mail it knows nothing."""
        if not ticket.author_id:
            return
        waiting = self._waiting.get(ticket.node_id)
        if waiting is not None:
            waiting[ticket.id] = None
            return
        self._waiting[ticket.node_id] = {ticket.id: None}
        task = asyncio.get_running_loop().create_task(self._send(ticket.node_id), name="ticket news")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Send nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, node_id: str) -> None:
        try:
            waiting = self._waiting[node_id]
            while waiting:
                ticket_id = next(iter(waiting))
                del waiting[ticket_id]
                node = self._directory.get(node_id)
                if node is not None and self._is_running(node_id):
                    await self._order(node, ticket_id)
        finally:
            del self._waiting[node_id]

    async def _order(self, node: Node, ticket_id: str) -> None:
        for attempt in range(TRIES):
            try:
                await self._orders.send(node, "ticket_changed", ticket_id)
                return
            except OrderFailed as error:
                if not isinstance(error, OrderInTheWay) or attempt == TRIES - 1:
                    log.info("a node was not told of its ticket", extra={"node": node.name, "why": error.message})
                    return
            await asyncio.sleep(PAUSE_S)
