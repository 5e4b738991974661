"""The master's end of the handshake: every message from a node, whatever it came by, goes through :meth:`receive`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from handshake.errors import Reason, Refused
from handshake.messages import (
    Acknowledgement,
    Body,
    ErrorReport,
    Heartbeat,
    KeyReplacement,
    LicenceCheck,
    LicenceStatus,
    ShutdownNotice,
    VerificationRequest,
    VerificationResponse,
)
from handshake.replay import ReplayGuard
from handshake.signing import Message, NodeKey, Signer, Verifier
from master.configuration.settings import HandshakeSettings, SupervisionSettings
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import HandshakeEvent, Node
from master.ledger.writer.entries import HandshakeOutcome
from master.security.derivation import MasterSecret
from master.services.core.alerts import AlertLevel, Announcer
from master.services.core.directory import NodeDirectory
from master.services.core.ledger_cache import CoveredLicence, LedgerCache
from master.services.healing.error_reports import ErrorReports
from master.services.trust.licensing import Licensing
from master.supervision.clock import Clock
from master.supervision.specification import Pulse
from master.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)

_NOTABLE_SKEW_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a message came from, as the transport knows it and the message cannot claim.

    Parameters
    ----------
    author_id
        Discord user id of the channel message's author; None on the local socket.
    pid
        Process at the other end of the local socket; None in the channel.
    """

    transport: Literal["channel", "local"]
    author_id: int | None = None
    pid: int | None = None


class Verification:
    """Verify messages, act on them, and answer.

    What fails is recorded with its reason, flags the node that it names, and is answered with nothing.
    """

    def __init__(
        self,
        *,
        secret: MasterSecret,
        ledger: Ledger,
        directory: NodeDirectory,
        ledger_cache: LedgerCache,
        supervisor: Supervisor,
        licensing: Licensing,
        announcer: Announcer,
        error_reports: ErrorReports,
        handshake: HandshakeSettings,
        supervision: SupervisionSettings,
        clock: Clock,
        previous_secret: MasterSecret | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret
        self._ledger = ledger
        self._directory = directory
        self._ledger_cache = ledger_cache
        self._supervisor = supervisor
        self._licensing = licensing
        self._announcer = announcer
        self._error_reports = error_reports
        self._handshake = handshake
        self._supervision = supervision
        self._clock = clock
        self._wall_clock = wall_clock
        self._previous_secret = previous_secret
        self.old_keys: set[str] = set()
        """Nodes that run with a key of the previous secret."""
        self.all_renewed = asyncio.Event()
        """Set when there are none of those."""
        self._keys: dict[str, NodeKey] = {}
        self._signers: dict[str, Signer] = {}
        self._verified: set[str] = set()
        """Nodes whose present process has presented a valid licence."""
        self._verifier = Verifier(
            self._find_key,
            clock=wall_clock,
            replay_guard=ReplayGuard(wall_clock),
            skew_s=handshake.clock_skew_s,
        )

    async def receive(self, text: str, source: Source) -> str | None:
        """Take one message from a node; returns the signed answer, or None when there is nothing to say."""
        answer = self.take(text, source)
        return answer if answer is None or isinstance(answer, str) else await answer

    def take(self, text: str, source: Source) -> str | Awaitable[str | None] | None:
        """Take one message as :meth:`receive` does: a pulse at once, and what will give the answer to anything else."""
        try:
            message = self._verifier.open(text)
            self._check_author(message, source)
            node = self._node_of(message)
        except Refused as refused:
            return self._record_refusal(refused, source)
        if isinstance(message.body, Heartbeat):
            return self._sign(self._pulse(node, message.body, message, source), node, message, source)
        return self._take_slowly(node, message, source)

    async def _take_slowly(self, node: Node, message: Message, source: Source) -> str | None:
        try:
            answer = await self._act(node, message, source)
        except Refused as refused:
            await self._record_refusal(refused, source)
            return None
        return self._sign(answer, node, message, source)

    def _sign(self, answer: Body | None, node: Node, message: Message, source: Source) -> str | None:
        if self.old_keys:
            answer = self._renew(node, message, source, answer)
        return None if answer is None else self._signer_of(message).sign(answer, in_reply_to=message.token_id)

    def update_settings(self, handshake: HandshakeSettings, supervision: SupervisionSettings) -> None:
        """Take other settings; nodes are told of another pulse interval when they next pulse.

        Each has to verify itself again then, since the answer to that is where a node learns its interval: until it
        did, its pulses are expected as it was told before.
        """
        before = self._supervision.pulse_interval_s, self._handshake.channel_pulse_interval_s
        self._handshake, self._supervision = handshake, supervision
        if before != (supervision.pulse_interval_s, handshake.channel_pulse_interval_s):
            self._verified.clear()

    def process_ended(self, node_id: str) -> None:
        """Require a new verification: what proved itself is gone."""
        self._verified.discard(node_id)
        self._renewed(node_id)

    @property
    def hands_over(self) -> bool:
        """Whether nodes may still run with keys of the previous secret."""
        return self._previous_secret is not None

    def expect_old_keys(self, node_ids: Iterable[str]) -> None:
        """Accept the previous secret's keys from these nodes, until each has its new one or its process ends."""
        self.old_keys.update(node_ids)
        if not self.old_keys:
            self.all_renewed.set()

    def end_handover(self) -> None:
        """Forget the previous secret: its keys are worthless from now on."""
        self._previous_secret = None
        self.old_keys.clear()

    def _renewed(self, node_id: str) -> None:
        self.old_keys.discard(node_id)
        if not self.old_keys:
            self.all_renewed.set()

    def _renew(self, node: Node, message: Message, source: Source, answer: Body | None) -> Body | None:
        """Return a verified node that pulses with its old key the new one, but only where nobody else can read it."""
        if node.id not in self.old_keys:
            return answer
        if message.epoch == node.key_epoch:
            self._renewed(node.id)
            return answer
        supervised = source.transport == "local" and source.pid == self._supervisor.pid_of(node.id)
        if not (supervised and isinstance(message.body, Heartbeat) and node.id in self._verified):
            return answer
        key = self._secret.derive_node_key(node.id, node.key_epoch)
        return KeyReplacement(key=key.secret.reveal(), key_epoch=key.epoch)

    def is_verified(self, node_id: str) -> bool:
        """Tell whether the node's present process presented a valid licence."""
        return node_id in self._verified

    def _find_key(self, node_id: str, epoch: int) -> NodeKey:
        node = self._directory.get(node_id)
        if node is None:
            raise Refused(Reason.UNKNOWN_NODE, "no such node")
        if epoch == node.key_epoch - 1 and node_id in self.old_keys and self._previous_secret is not None:
            return self._previous_secret.derive_node_key(node_id, epoch)
        if epoch != node.key_epoch:
            raise Refused(Reason.STALE_EPOCH, f"epoch {epoch}, current is {node.key_epoch}")
        key = self._keys.get(node_id)
        if key is None or key.epoch != epoch:
            key = self._keys[node_id] = self._secret.derive_node_key(node_id, epoch)
        return key

    def _signer_of(self, message: Message) -> Signer:
        key = self._find_key(message.node_id, message.epoch)
        signer = self._signers.get(key.key_id)
        if signer is None:
            signer = self._signers[key.key_id] = Signer(key, from_master=True, clock=self._wall_clock)
        return signer

    def _node_of(self, message: Message) -> Node:
        node = self._directory.get(message.node_id)
        if node is None:
            raise Refused(Reason.UNKNOWN_NODE, "no such node", message_type=message.type)
        return node

    def _check_author(self, message: Message, source: Source) -> None:
        """In the channel, Discord itself says who wrote: it must be the bot registered for the node."""
        if source.transport == "local":
            return
        node = self._node_of(message)
        if source.author_id != node.bot_user_id:
            raise Refused(
                Reason.WRONG_AUTHOR,
                f"written by {source.author_id}",
                claimed_node_id=node.id,
                message_type=message.type,
            )

    async def _act(self, node: Node, message: Message, source: Source) -> Body | None:
        body = message.body
        if isinstance(body, VerificationRequest):
            return await self._verify(node, body, message, source)
        if isinstance(body, ErrorReport):
            self._error_reports.receive(node, body)
            return None
        if isinstance(body, LicenceCheck):
            return await self._check_licence(node, body)
        if isinstance(body, ShutdownNotice):
            self._announcer.event("goodbye", node=node.name, detail=body.reason)
            return None
        raise Refused(
            Reason.MALFORMED,
            f"a master takes no {message.type}",
            claimed_node_id=node.id,
            message_type=message.type,
        )

    def _pulse(self, node: Node, body: Heartbeat, message: Message, source: Source) -> Acknowledgement | None:
        """Take a pulse. The hot path: no await, no ledger."""
        skew = self._wall_clock() - message.issued_at
        if node.id not in self._verified:
            # The master was restarted or its settings changed, or the licence was withdrawn: it proves itself again.
            return Acknowledgement(order="verify_again", clock_skew_s=round(skew, 1))
        self._supervisor.node_pulsed(
            node.id,
            Pulse(
                uptime_s=body.uptime_s,
                latency_ms=body.latency_ms,
                guilds=body.guilds,
                state=body.state,
                interval_s=self._interval_s(source),
                cogs_failed=body.cogs_failed,
            ),
        )
        if abs(skew) > _NOTABLE_SKEW_S:
            return Acknowledgement(clock_skew_s=round(skew, 1))
        return None

    def _interval_s(self, source: Source) -> float:
        """When a node that uses this transport will pulse next."""
        if source.transport == "local":
            return self._supervision.pulse_interval_s
        return self._handshake.channel_pulse_interval_s

    async def _verify(
        self, node: Node, body: VerificationRequest, message: Message, source: Source
    ) -> VerificationResponse:
        trouble = await self._judge_request(node, body)
        skew = round(self._wall_clock() - message.issued_at, 1)
        if trouble:
            self._verified.discard(node.id)
            await self._record_refusal(
                Refused(Reason.REVOKED_LICENSE, trouble, claimed_node_id=node.id, message_type=message.type),
                source,
            )
            return VerificationResponse(accepted=False, reason=trouble, clock_skew_s=skew)
        if body.pid != self._supervisor.pid_of(node.id):
            # Genuine, but not the process that is supervised: a copy from before, which must not pass for ready.
            log.warning("verified, but another process", extra={"node": node.name, "pid": body.pid})
            return VerificationResponse(accepted=False, reason="the master did not start this process")
        self._verified.add(node.id)
        self._supervisor.node_verified(node.id, version=body.version, interval_s=self._interval_s(source))
        self._ledger.write_soon(HandshakeOutcome(event=self._event(node.id, message.type, "accepted", source)))
        self._announcer.event("verified", node=node.name, detail=f"by {source.transport}", pid=body.pid)
        return VerificationResponse(
            accepted=True,
            pulse_interval_s=self._supervision.pulse_interval_s,
            channel_pulse_interval_s=self._handshake.channel_pulse_interval_s,
            clock_skew_s=skew,
        )

    async def _judge_request(self, node: Node, body: VerificationRequest) -> str:
        """Say what is wrong with a verification request; empty when nothing is."""
        if body.bot_user_id != node.bot_user_id:
            return "the process is logged in as another bot"
        code_hash = self._licensing.hash_of(body.licence)
        if code_hash is None:
            return "the licence code is not genuine"
        known = self._ledger_cache.licence_of(node.id)
        if known is not None and known.code_hash == code_hash and not self._expired(known.expires_at):
            # It does not wait for the database, nor for one that is away.
            return ""
        judged = await self._ledger.write(lambda connection: self._licensing.judge(connection, node.id, code_hash))
        if not judged.trouble:
            self._ledger_cache.keep_licence(node.id, CoveredLicence(code_hash, judged.expires_at))
        return judged.trouble

    def _expired(self, moment: datetime | None) -> bool:
        return moment is not None and moment <= self._clock.now()

    async def _check_licence(self, node: Node, body: LicenceCheck) -> LicenceStatus:
        code_hash = self._licensing.hash_of(body.licence)
        if code_hash is None:
            return LicenceStatus(state="unknown")
        return await self._ledger.read(lambda connection: self._licensing.status(connection, node.id, code_hash))

    async def _record_refusal(self, refused: Refused, source: Source) -> None:
        """Keep the refusal, flag the node that the message names, tell the operator."""
        node = self._directory.get(refused.claimed_node_id or "")
        event = self._event(
            node.id if node else None,
            refused.message_type,
            refused.reason.value,
            source,
            detail=refused.detail[:400],
        )

        await self._ledger.write_durable(HandshakeOutcome(event=event, flag=node is not None))
        if node is not None:
            reason = refused.reason.value
            self._directory.update(
                node.id, lambda known: replace(known, flagged_at=event.at, flag_reason=reason, updated_at=event.at)
            )
        name = node.name if node else ""
        log.warning(
            "message refused",
            extra={"node": name, "reason": refused.reason.value, "detail": refused.detail, "by": source.transport},
        )
        self._announcer.event("refused", node=name, detail=refused.reason.value)
        fields = [("Reason", refused.reason.value), ("Transport", source.transport)]
        if source.author_id is not None:
            fields.append(("Author", f"<@{source.author_id}>"))
        self._announcer.alert(
            AlertLevel.ERROR,
            f"A message in the name of {name} was refused" if name else "A message was refused",
            key=f"refused:{name}:{refused.reason}",
            text=_ADVICE.get(refused.reason, ""),
            node=name,
            fields=tuple(fields),
        )

    def _event(
        self, node_id: str | None, message_type: str, outcome: str, source: Source, *, detail: str = ""
    ) -> HandshakeEvent:
        return HandshakeEvent(
            id=new_ulid(self._clock),
            at=self._clock.now(),
            node_id=node_id,
            message_type=str(message_type)[:40],
            outcome=outcome,
            transport=source.transport,
            author_id=source.author_id,
            detail=detail,
        )


_ADVICE = {
    Reason.BAD_SIGNATURE: "Somebody wrote in a node's name without its key. If the author is the node's own bot, "
    "its token may be known to others: reset it in Discord's developer portal.",
    Reason.WRONG_AUTHOR: "The message is signed with the node's key, but another account posted it.",
    Reason.REPLAYED: "The same signed message came twice: a recording, or a node running twice.",
    Reason.STALE_EPOCH: "The key was replaced since: a process from before still runs, or an old copy of it.",
    Reason.REVOKED_LICENSE: "The node's licence does not cover it; it will not be accepted until it has a valid one.",
    Reason.EXPIRED: "The message is too old, or the clock of its author is wrong.",
}
