"""Refused messages: recorded, published, and the node that one names is flagged. Many alike become one row."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from handshake.errors import Refused
from master.bus import EventBus
from master.events import MessageRefused, NodeFlagged
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows.records import HandshakeEvent, Node
from master.ledger.writer.entries import HandshakeOutcome
from master.services.core.directory import NodeDirectory
from master.services.trust.handshake_log import handshake_event
from master.services.trust.source import Source
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

ONE_BY_ONE = 5
"""Refusals alike that get a row each, in the time of one window; the rest of them share one row."""
WINDOW_S = 60.0

_Alike = tuple[str, str, str]
"""The node named, the reason and the transport: a message cannot make up more of them than there are."""


@dataclass(slots=True)
class _Tally:
    """Refusals that are alike, since the window began."""

    began: float
    recorded: int = 0
    counted: int = 0
    last: tuple[Refused, Source] | None = None


class Refusals:
    """Record refused messages.

    A sender can have far more messages refused than a ledger or a log can hold. Of those that are alike the first ones
    are recorded at once, and all others within a minute together, with their number.
    """

    def __init__(self, *, ledger: Ledger, directory: NodeDirectory, bus: EventBus, clock: Clock) -> None:
        self._ledger = ledger
        self._directory = directory
        self._bus = bus
        self._clock = clock
        self._tallies: dict[_Alike, _Tally] = {}
        self._closing: dict[_Alike, asyncio.TimerHandle] = {}

    def record(self, refused: Refused, source: Source) -> Awaitable[None] | None:
        """Record a refusal, flag the node that the message names, and publish both; None if it was only counted."""
        node = self._directory.get(refused.claimed_node_id or "")
        alike = ("" if node is None else node.id, refused.reason.value, source.transport)
        tally = self._tallies.get(alike)
        if tally is None:
            tally = self._tallies[alike] = _Tally(self._clock.monotonic())
            loop = asyncio.get_running_loop()
            self._closing[alike] = loop.call_later(WINDOW_S, self._close_window, alike)
        if tally.recorded < ONE_BY_ONE:
            tally.recorded += 1
            return self._record_now(refused, source, node)
        tally.counted += 1
        tally.last = refused, source
        return None

    def flush(self) -> None:
        """Write what is only counted so far; for the end of the master."""
        for alike in list(self._tallies):
            self._closing.pop(alike).cancel()
            self._write_counted(alike)

    async def _record_now(self, refused: Refused, source: Source, node: Node | None) -> None:
        event = self._event_of(refused, source, node, refused.detail)
        entry = HandshakeOutcome(event=event, flag=node is not None, host=node.host if node else "")
        try:
            await self._ledger.write_durable(entry)
        except LedgerError as error:
            # The refusal holds all the same, and whoever reads the log or the channel is told of it.
            log.error("a refusal could not be recorded", extra={"why": error.message})
        self._tell(event, node)

    def _close_window(self, alike: _Alike) -> None:
        del self._closing[alike]
        self._write_counted(alike)

    def _write_counted(self, alike: _Alike) -> None:
        """End a window: write one row for all that were only counted."""
        tally = self._tallies.pop(alike)
        if tally.last is None:
            return
        refused, source = tally.last
        node = self._directory.get(refused.claimed_node_id or "")
        seconds = self._clock.monotonic() - tally.began
        detail = f"{tally.counted} more like this within {seconds:.0f} s, the last one: {refused.detail}"
        event = self._event_of(refused, source, node, detail)
        self._ledger.write_soon(HandshakeOutcome(event=event, flag=node is not None, host=node.host if node else ""))
        self._tell(event, node)

    def _event_of(self, refused: Refused, source: Source, node: Node | None, detail: str) -> HandshakeEvent:
        return handshake_event(
            self._clock,
            node.id if node else None,
            refused.message_type,
            refused.reason.value,
            source,
            detail=detail[:400],
        )

    def _tell(self, event: HandshakeEvent, node: Node | None) -> None:
        """Log and publish a recorded refusal, and flag its node."""
        log.warning(
            "message refused",
            extra={
                "node": node.name if node else "",
                "reason": event.outcome,
                "detail": event.detail,
                "by": event.transport,
            },
        )
        self._bus.publish(
            MessageRefused(
                at=event.at,
                node_id=event.node_id,
                reason=event.outcome,
                transport=event.transport,
                author_id=event.author_id,
                detail=event.detail,
            )
        )
        if node is not None:
            flag = partial(replace, flagged_at=event.at, flag_reason=event.outcome, updated_at=event.at)
            self._directory.update(node.id, flag)
            self._bus.publish(NodeFlagged(at=event.at, node_id=node.id, reason=event.outcome))
