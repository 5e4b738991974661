"""Pulses, the hot path of the handshake: 25 nodes send three a second in total. No await, no ledger access."""

from __future__ import annotations

from collections.abc import Callable

from handshake.messages import Acknowledgement, Body, Heartbeat, Order
from handshake.signing import Message
from master.ledger.rows.records import Node
from master.services.trust.node_keys import NodeKeys
from master.services.trust.orders import NodeOrders
from master.services.trust.source import Source
from master.services.trust.verification import Verification
from master.supervision.specification import Pulse
from master.supervision.supervisor import Supervisor

_NOTABLE_SKEW_S = 5.0


class Pulses:
    """Handle pulses.

    Parameters
    ----------
    wall_clock
        Unix seconds.
    """

    def __init__(
        self,
        *,
        verification: Verification,
        supervisor: Supervisor,
        keys: NodeKeys,
        orders: NodeOrders,
        wall_clock: Callable[[], float],
    ) -> None:
        self._verification = verification
        self._supervisor = supervisor
        self._keys = keys
        self._orders = orders
        self._wall_clock = wall_clock

    def handle(self, node: Node, body: Heartbeat, message: Message, source: Source) -> Body | None:
        """Handle a pulse; returns an answer only if the node has to do something."""
        answer = self._take(node, body, message, source)
        if self._keys.old and not isinstance(answer, Order) and self._may_renew(node, message, source):
            return self._keys.replacement_for(node)
        return answer

    def _take(self, node: Node, body: Heartbeat, message: Message, source: Source) -> Acknowledgement | Order | None:
        skew = self._wall_clock() - message.issued_at
        if not self._verification.is_verified(node.id):
            # The master was restarted, or the licence was revoked: the node has to verify again.
            return Acknowledgement(order="verify_again", clock_skew_s=round(skew, 1))
        self._supervisor.node_pulsed(
            node.id,
            Pulse(
                uptime_s=body.uptime_s,
                latency_ms=body.latency_ms,
                guilds=body.guilds,
                state=body.state,
                interval_s=self._verification.interval_s(source),
                cogs_failed=body.cogs_failed,
                offline_s=body.offline_s,
            ),
        )
        if self._orders.waits(node.id) and self._is_supervised(node, source):
            return self._orders.fetch(node.id)
        return Acknowledgement(clock_skew_s=round(skew, 1)) if abs(skew) > _NOTABLE_SKEW_S else None

    def _may_renew(self, node: Node, message: Message, source: Source) -> bool:
        """Tell whether the answer may carry a node's new key: only over the local socket, which nobody else reads."""
        if node.id not in self._keys.old or message.epoch == node.key_epoch:
            return False
        return self._is_supervised(node, source) and self._verification.is_verified(node.id)

    def _is_supervised(self, node: Node, source: Source) -> bool:
        """Tell whether a message came over the local socket, from the node's own process."""
        return source.transport == "local" and source.pid == self._supervisor.pid_of(node.id)
