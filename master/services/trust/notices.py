"""Messages without an answer; they are published as events."""

from __future__ import annotations

from msgspec.structs import replace

from handshake.messages import ErrorReport, ShutdownNotice
from handshake.signing import Message
from master.bus import EventBus
from master.events import ErrorReported, NodeSaidGoodbye
from master.ledger.rows.records import Node
from master.security.tokens import hide_tokens
from master.services.trust.source import Source
from master.supervision.clock import Clock


class Notices:
    """Publish error reports and goodbyes of nodes."""

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    def handle_error(self, node: Node, body: ErrorReport, message: Message, source: Source) -> None:
        """Handle an error report; it goes into the ledger and to Discord, so tokens are hidden in it."""
        body = replace(body, message=hide_tokens(body.message), traceback=hide_tokens(body.traceback))
        self._bus.publish(ErrorReported(at=self._clock.now(), node_id=node.id, report=body))

    def handle_goodbye(self, node: Node, body: ShutdownNotice, message: Message, source: Source) -> None:
        """Handle a shutdown notice."""
        self._bus.publish(NodeSaidGoodbye(at=self._clock.now(), node_id=node.id, reason=body.reason))
