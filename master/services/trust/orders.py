"""Orders to nodes: each is the answer to the node's next pulse, so it needs no way of its own, and is fresh.

A node takes an answer to a question that it asked, once, signed by the master with the node's own key. A message that
the master sent unasked would need a guard against replays in every node.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from handshake.messages import Order, OrderKind, OrderResult, PatchOrder
from handshake.signing import Message
from master.bus import EventBus
from master.events import NodeEnded
from master.ledger.rows.records import Node
from master.services.core.errors import ServiceError
from master.services.trust.source import Source
from master.wording import visible

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
"""Until a node fetches an order, and from then on until it answers. A pulse comes every nine seconds."""


class OrderFailed(ServiceError):
    """A node did not fetch an order, did not answer, or could not carry it out."""

    code: ClassVar[str] = "order_failed"


class OrderInTheWay(OrderFailed):
    """The node has another order under way; it may take this one after it."""

    code: ClassVar[str] = "order_in_the_way"


@dataclass(slots=True)
class _Pending:
    order: Order
    result: asyncio.Future[OrderResult]
    fetched: asyncio.Future[None]
    """Done once the node has it, or has ended."""


class NodeOrders:
    """Send orders to nodes, one at a time to each.

    Parameters
    ----------
    pulse_interval_s
        Returns how often nodes pulse over the local socket.
    pid_of
        Returns the process of a node, which is nudged to fetch its order at once.
    timeout_s
        See :data:`TIMEOUT_S`.
    """

    def __init__(
        self,
        bus: EventBus,
        pulse_interval_s: Callable[[], float],
        *,
        pid_of: Callable[[str], int | None] = lambda _node_id: None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.nudge: Callable[[int], bool] = lambda _pid: False
        """Makes a process pulse at once, where it can; set by who listens at the local socket."""
        self._pulse_interval_s = pulse_interval_s
        self._pid_of = pid_of
        self._timeout_s = timeout_s
        self._pending: dict[str, _Pending] = {}
        bus.on(NodeEnded, self._on_ended)

    async def send(self, node: Node, kind: OrderKind, argument: str = "", *, patch: PatchOrder | None = None) -> str:
        """Have a node carry out an order; returns what it did, in one line.

        Of one about a patch the answer says only that the node has begun: the rest are its statuses.

        Raises
        ------
        OrderInTheWay
            It has another one.
        OrderFailed
            It did not answer in time, ended, or could not do it.
        """
        if node.id in self._pending:
            raise OrderInTheWay(f"{node.name} has another order under way")
        loop, order = asyncio.get_running_loop(), Order(secrets.token_hex(8), kind, argument, patch)
        pending = self._pending[node.id] = _Pending(order, loop.create_future(), loop.create_future())
        pid = self._pid_of(node.id)
        if pid is not None:
            self.nudge(pid)
        try:
            answer = await self._wait(node, pending)
        finally:
            del self._pending[node.id]
        detail = visible(answer.detail)
        if not answer.done:
            raise OrderFailed(f"{node.name}: {detail or 'it gives no reason'}")
        return detail

    async def _wait(self, node: Node, pending: _Pending) -> OrderResult:
        patience_s = max(self._timeout_s, 2 * self._pulse_interval_s() + 2)
        await asyncio.wait({pending.fetched}, timeout=patience_s)
        if not pending.fetched.done():
            raise OrderFailed(
                f"{node.name} did not fetch the order within {patience_s:g} s",
                hint="orders go over the local socket: its pulses stay away, or come through VERIFY_CHANNEL",
            )
        done, _ = await asyncio.wait({pending.result}, timeout=self._timeout_s)
        if not done:
            raise OrderFailed(
                f"{node.name} fetched the order and did not answer within {self._timeout_s:g} s",
                hint=f"it may run an older nodekit: `fleet restart {node.name}`",
            )
        return pending.result.result()

    def waits(self, node_id: str) -> bool:
        """Tell whether an order waits for a node; asked with each pulse."""
        pending = self._pending.get(node_id)
        return pending is not None and not pending.fetched.done()

    def fetch(self, node_id: str) -> Order:
        """Return the order that waits for a node, which is given out once."""
        pending = self._pending[node_id]
        pending.fetched.set_result(None)
        return pending.order

    def handle_result(self, node: Node, body: OrderResult, message: Message, source: Source) -> None:
        """Handle what a node says of an order; of one that it was not given, nothing."""
        pending = self._pending.get(node.id)
        if pending is None or pending.order.id != body.order_id or not pending.fetched.done():
            log.info("a node answers an order that it does not have", extra={"node": node.name})
        elif not pending.result.done():
            pending.result.set_result(body)

    def _on_ended(self, event: NodeEnded) -> None:
        pending = self._pending.get(event.node_id)
        if pending is not None and not pending.result.done():
            pending.result.set_exception(OrderFailed("its process ended before it had answered"))
            if not pending.fetched.done():
                pending.fetched.set_result(None)
