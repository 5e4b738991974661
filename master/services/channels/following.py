"""Tells running nodes which channel took the place of VERIFY_CHANNEL; those that start are told as they do."""

from __future__ import annotations

import asyncio
import logging

from master.events import ChannelMoved, NodeVerified
from master.ledger.rows.records import Node
from master.services.channels.tools import ChannelTools
from master.services.core.directory import NodeDirectory
from master.services.trust.orders import NodeOrders, OrderFailed, OrderInTheWay

log = logging.getLogger(__name__)

ATTEMPTS, AGAIN_S = 5, 2.0


class NodesFollow:
    """Have nodes follow VERIFY_CHANNEL."""

    def __init__(self, tools: ChannelTools, orders: NodeOrders, directory: NodeDirectory) -> None:
        self._tools, self._orders, self._directory = tools, orders, directory
        self._told: dict[str, int] = {}
        """By node: the channel that it follows."""

    async def run(self) -> None:
        """Tell nodes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            with self._tools.bus.subscribe(ChannelMoved, NodeVerified) as events:
                async for event in events:
                    if isinstance(event, NodeVerified):
                        # One that ran before this master did may have missed it.
                        node = self._directory.get(event.node_id)
                        if node is not None and self._has_moved() and self._told.get(node.id) != self._verify:
                            group.create_task(self._tell(node))
                    elif isinstance(event, ChannelMoved) and event.new_id == self._verify:
                        for node in self._directory:
                            group.create_task(self._tell(node))

    @property
    def _verify(self) -> int:
        return self._tools.settings().channels.verify

    def _has_moved(self) -> bool:
        return self._tools.moves.is_successor(self._verify)

    async def _tell(self, node: Node) -> None:
        for _ in range(ATTEMPTS):
            channel_id = self._verify
            try:
                await self._orders.send(node, "channel_moved", f"VERIFY:{channel_id}")
            except OrderInTheWay:
                await asyncio.sleep(AGAIN_S)
            except OrderFailed as error:
                log.info("a node was not told of VERIFY_CHANNEL", extra={"node": node.name, "why": error.message})
                return
            else:
                self._told[node.id] = channel_id
                return
