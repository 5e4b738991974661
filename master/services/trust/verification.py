"""Verification requests: a node's process proves its licence, and that it is the supervised process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from handshake.errors import Reason, Refused
from handshake.messages import VerificationRequest, VerificationResponse
from handshake.signing import Message
from master.bus import EventBus
from master.configuration.settings import HandshakeSettings, SupervisionSettings
from master.events import NodeEnded, NodeEvent, NodeMissing, NodeVerified
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows.records import Node
from master.ledger.writer.entries import HandshakeOutcome
from master.services.core.ledger_cache import CoveredLicence, LedgerCache
from master.services.trust.handshake_log import handshake_event
from master.services.trust.licence_rules import Judgement
from master.services.trust.licensing import Licensing
from master.services.trust.refusals import Refusals
from master.services.trust.source import Source
from master.supervision.clock import Clock
from master.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)


class Verification:
    """Check verification requests, and remember which running processes passed.

    Parameters
    ----------
    wall_clock
        Unix seconds.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        ledger_cache: LedgerCache,
        supervisor: Supervisor,
        licensing: Licensing,
        refusals: Refusals,
        bus: EventBus,
        handshake: HandshakeSettings,
        supervision: SupervisionSettings,
        clock: Clock,
        wall_clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._ledger_cache = ledger_cache
        self._supervisor = supervisor
        self._licensing = licensing
        self._refusals = refusals
        self._bus = bus
        self._handshake = handshake
        self._supervision = supervision
        self._clock = clock
        self._wall_clock = wall_clock
        self._verified: set[str] = set()
        bus.on(NodeEnded, self._on_gone)
        bus.on(NodeMissing, self._on_gone)

    def update_settings(self, handshake: HandshakeSettings, supervision: SupervisionSettings) -> None:
        """Apply changed settings; nodes get a new pulse interval at their next pulse.

        The interval is part of the answer to a verification request, so each node has to verify again. Until then its
        pulses are expected at the old interval.
        """
        before = self._supervision.pulse_interval_s, self._handshake.channel_pulse_interval_s
        self._handshake, self._supervision = handshake, supervision
        if before != (supervision.pulse_interval_s, handshake.channel_pulse_interval_s):
            self._verified.clear()

    def is_verified(self, node_id: str) -> bool:
        """Tell whether the node's current process presented a valid licence."""
        return node_id in self._verified

    def void(self, node_id: str) -> None:
        """Require a new verification of a node: its licence was revoked."""
        self._verified.discard(node_id)

    def _on_gone(self, event: NodeEvent) -> None:
        """Require a new verification: the verified process is gone."""
        self._verified.discard(event.node_id)

    def interval_s(self, source: Source) -> float:
        """Return the pulse interval for a transport."""
        if source.transport == "local":
            return self._supervision.pulse_interval_s
        return self._handshake.channel_pulse_interval_s

    async def handle(
        self, node: Node, body: VerificationRequest, message: Message, source: Source
    ) -> VerificationResponse:
        """Handle a verification request."""
        trouble = await self._judge(node, body)
        skew = round(self._wall_clock() - message.issued_at, 1)
        if abs(skew) > self._handshake.clock_skew_s:
            log.warning("a node's clock differs from this one by %.0f s", skew, extra={"node": node.name})
        if trouble:
            self._verified.discard(node.id)
            refused = Refused(Reason.REVOKED_LICENSE, trouble, claimed_node_id=node.id, message_type=message.type)
            recording = self._refusals.record(refused, source)
            if recording is not None:
                await recording
            return VerificationResponse(accepted=False, reason=trouble, clock_skew_s=skew)
        if body.pid != self._supervisor.pid_of(node.id):
            # Signed correctly, but not by the supervised process: an older copy must not count as ready.
            log.warning("verified, but another process", extra={"node": node.name, "pid": body.pid})
            return VerificationResponse(accepted=False, reason="the master did not start this process")
        self._accept(node, body, message, source)
        return VerificationResponse(
            accepted=True,
            pulse_interval_s=self._supervision.pulse_interval_s,
            channel_pulse_interval_s=self._handshake.channel_pulse_interval_s,
            clock_skew_s=skew,
        )

    def _accept(self, node: Node, body: VerificationRequest, message: Message, source: Source) -> None:
        self._verified.add(node.id)
        self._supervisor.node_verified(
            node.id,
            version=body.version,
            interval_s=self.interval_s(source),
            cogs_failed=body.cogs_failed,
            offline_s=body.offline_s,
        )
        event = handshake_event(self._clock, node.id, message.type, "accepted", source)
        self._ledger.write_soon(HandshakeOutcome(event=event))
        self._bus.publish(
            NodeVerified(
                at=event.at,
                node_id=node.id,
                pid=body.pid,
                transport=source.transport,
                reloads_cogs=body.reloads_cogs,
            )
        )

    async def _judge(self, node: Node, body: VerificationRequest) -> str:
        """Return what is wrong with a verification request; empty if it is valid."""
        if body.bot_user_id != node.bot_user_id:
            return "the process is logged in as another bot"
        code_hash = self._licensing.hash_of(body.licence)
        if code_hash is None:
            return "the licence code is not genuine"
        known = self._ledger_cache.licence_of(node.id)
        if known is not None and known.code_hash == code_hash and not self._expired(known.expires_at):
            # Answered from the cache, without waiting for the database.
            return ""
        # Read, so that a node is verified on a full disk too; its first use of the licence is written when that works.
        judged = await self._ledger.read(lambda connection: self._licensing.judge(connection, node.id, code_hash))
        if judged.becomes is not None or judged.is_new_use:
            judged = await self._settle(node.id, code_hash) or judged
        if not judged.trouble:
            self._ledger_cache.keep_licence(node.id, CoveredLicence(code_hash, judged.ends_at))
        else:
            self._ledger_cache.forget_licence(node.id, code_hash)
        return judged.trouble

    async def _settle(self, node_id: str, code_hash: bytes) -> Judgement | None:
        """Write what was judged; the answer counts, as two nodes may ask for the last place at once."""
        try:
            return await self._ledger.write(lambda connection: self._licensing.settle(connection, node_id, code_hash))
        except LedgerError as error:
            log.warning("a licence's new state waits for its next use", extra={"node": node_id, "why": error.message})
            return None

    def _expired(self, moment: datetime | None) -> bool:
        return moment is not None and moment <= self._clock.now()
