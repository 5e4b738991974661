"""Refused messages: each is recorded, flags its node, and is published as an event."""

from __future__ import annotations

import logging
from functools import partial

from msgspec.structs import replace

from handshake.errors import Refused
from master.bus import EventBus
from master.events import MessageRefused, NodeFlagged
from master.ledger.database import Ledger
from master.ledger.writer.entries import HandshakeOutcome
from master.services.core.directory import NodeDirectory
from master.services.trust.handshake_log import handshake_event
from master.services.trust.source import Source
from master.supervision.clock import Clock

log = logging.getLogger(__name__)


class Refusals:
    """Record refused messages."""

    def __init__(self, *, ledger: Ledger, directory: NodeDirectory, bus: EventBus, clock: Clock) -> None:
        self._ledger = ledger
        self._directory = directory
        self._bus = bus
        self._clock = clock

    async def record(self, refused: Refused, source: Source) -> None:
        """Record a refusal, flag the node that the message names, and publish both events."""
        node = self._directory.get(refused.claimed_node_id or "")
        reason = refused.reason.value
        event = handshake_event(
            self._clock,
            node.id if node else None,
            refused.message_type,
            reason,
            source,
            detail=refused.detail[:400],
        )
        await self._ledger.write_durable(
            HandshakeOutcome(event=event, flag=node is not None, host=node.host if node else "")
        )
        log.warning(
            "message refused",
            extra={
                "node": node.name if node else "",
                "reason": reason,
                "detail": refused.detail,
                "by": source.transport,
            },
        )
        self._bus.publish(
            MessageRefused(
                at=event.at,
                node_id=event.node_id,
                reason=reason,
                transport=source.transport,
                author_id=source.author_id,
                detail=event.detail,
            )
        )
        if node is not None:
            flag = partial(replace, flagged_at=event.at, flag_reason=reason, updated_at=event.at)
            self._directory.update(node.id, flag)
            self._bus.publish(NodeFlagged(at=event.at, node_id=node.id, reason=reason))
