"""Messages that want no answer: they become events, for whoever is interested."""

from __future__ import annotations

from handshake.messages import ErrorReport, ShutdownNotice
from handshake.signing import Message
from master.bus import EventBus
from master.events import ErrorReported, NodeSaidGoodbye
from master.ledger.rows.records import Node
from master.services.trust.source import Source
from master.supervision.clock import Clock


class Notices:
    """Publish what nodes tell."""

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    def handle_error(self, node: Node, body: ErrorReport, message: Message, source: Source) -> None:
        """Take an error report."""
        self._bus.publish(ErrorReported(at=self._clock.now(), node_id=node.id, report=body))

    def handle_goodbye(self, node: Node, body: ShutdownNotice, message: Message, source: Source) -> None:
        """Take a node's word that it stops on purpose."""
        self._bus.publish(NodeSaidGoodbye(at=self._clock.now(), node_id=node.id, reason=body.reason))
