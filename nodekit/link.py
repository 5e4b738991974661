"""A node's side of the handshake: verification, then pulses, over the transport that works. Independent of Discord."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import platform
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from handshake.boot import BootDocument
from handshake.errors import Reason, Refused, TransportError
from handshake.messages import (
    Acknowledgement,
    Body,
    ErrorReport,
    Heartbeat,
    KeyReplacement,
    Order,
    OrderResult,
    ShutdownNotice,
    VerificationRequest,
    VerificationResponse,
)
from handshake.redaction import Secret
from handshake.signing import Message, NodeKey, Signer, Verifier
from handshake.transports import channel
from handshake.transports.local import NUDGE, LocalClient

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 10.0
GOODBYE_TIMEOUT_S = 2.0
RETRY_FIRST_S = 1.0
RETRY_CAP_S = 60.0
LOCAL_FAILURES_BORNE = 3
ASK_WITHIN_S = 15.0
"""How long a question to the master may take, proving oneself to a new one included."""
ASK_AGAIN_S = 0.25
"""Until a question that could not be sent is sent again: a restarted master is back within a second."""
MAX_REPORTS_PER_MINUTE = 10
NUDGE_EVERY_S = 0.25
"""The master may nudge a node to fetch an order at once; anybody may, and gets no more than four pulses a second."""
STALL_S = 5.0
"""A pulse that is later than this is worth a line of the log."""
NAMES_BYTES = 400
"""Of failed cogs in a verification request, which has to fit in one message of VERIFY_CHANNEL."""

Obey = Callable[[Order], Awaitable[OrderResult]]
"""Carries out an order of the master; never raises for what the order or the bot does."""
PostToChannel = Callable[[str], Awaitable[None]]
"""Posts a message in VERIFY_CHANNEL; raises ``TransportError`` when it cannot."""


class MasterAway(TransportError):
    """The master was not there for a question: it has not been carried out."""


class NotAnswered(TransportError):
    """The master took a question and has not answered: whether it was carried out nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """The facts that a node sends with its verification request."""

    licence: str
    version: str
    bot_user_id: int
    library: str
    reloads_cogs: bool = False


class NodeLink:
    """Verifies the node with its master, and sends its pulses.

    Parameters
    ----------
    boot
        Key, transports, intervals.
    facts
        Licence and versions.
    describe
        Returns the current pulse.
    post_to_channel
        None when the node has no VERIFY_CHANNEL.
    on_refused
        Called with the master's reason when it refuses the node.
    obey
        Carries out orders; None: there are none that this program could.
    """

    def __init__(
        self,
        boot: BootDocument,
        facts: NodeFacts,
        *,
        describe: Callable[[], Heartbeat],
        post_to_channel: PostToChannel | None,
        on_refused: Callable[[str], None],
        obey: Obey | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._boot = boot
        self._facts = facts
        self._describe = describe
        self._post_to_channel = post_to_channel if boot.transport != "local" and boot.verify_channel_id else None
        self._on_refused = on_refused
        self._obey = obey
        self._obeying: asyncio.Task[None] | None = None
        self._clock = clock
        self._monotonic = monotonic
        self._keys = [NodeKey(boot.node_id, boot.key_epoch, Secret(boot.key))]
        """The current key, then the previous one: an answer may still be signed with that."""
        self._signer = Signer(self._keys[0], from_master=False, clock=clock, session=boot.session or None)
        # An answer is taken once, and only to a question that waits: it is fresh whatever the two clocks say.
        self._verifier = Verifier(self._find_key, node_id=boot.node_id, clock=clock, replay_guard=None, skew_s=None)
        self._local = None
        if boot.socket_path is not None and boot.transport != "channel":
            self._local = LocalClient(Path(boot.socket_path), self._take_from_socket, on_lost=self._give_up_asked)
        self._answers: dict[str, asyncio.Future[Message]] = {}
        """Pending requests; an answer to anything else is ignored."""
        self._asked_locally = set[str]()
        """Those of them that went over the local socket."""
        self._sent: dict[str, ErrorReport | None] = {}
        """Pulses and reports that may be answered, the latest few; a report is sent again in a new session."""
        self._resending: set[asyncio.Task[None]] = set()
        self._verify_again = False
        self._woken = asyncio.Event()
        self._nudged_at = float("-inf")
        self.on_pulse: Callable[[Heartbeat], None] | None = None
        """Called with each pulse that was sent over the local socket."""
        self._reports: dict[str, int] = {}
        self._report_times: list[float] = []
        self._intervals: dict[str, float] = {
            "local": boot.pulse_interval_s,
            "channel": boot.channel_pulse_interval_s,
        }
        self.verified = asyncio.Event()
        """Set while the master accepts this node."""

    async def run(self) -> None:
        """Verify the node, then pulse until cancelled; verifies again when the master asks for it."""
        try:
            while True:
                self.verified.clear()
                self._verify_again = False
                self._woken.clear()
                if not await self._verify_until_answered():
                    return
                self.verified.set()
                await self._pulse_until_asked()
        finally:
            if self._obeying is not None:
                self._obeying.cancel()
            if self._local is not None:
                await self._local.close()

    async def _verify_until_answered(self) -> bool:
        """Request verification until the master answers; False when it refuses."""
        delay = RETRY_FIRST_S
        while True:
            try:
                response = await self._request_verification()
            except (TransportError, TimeoutError) as error:
                log.warning("the master does not answer", extra={"why": str(error) or type(error).__name__})
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
                delay = min(delay * 2, RETRY_CAP_S)
                continue
            if response.accepted:
                self._intervals = {
                    "local": max(response.pulse_interval_s, 0.05),
                    "channel": max(response.channel_pulse_interval_s, 5.0),
                }
                _warn_of_skew(response.clock_skew_s)
                return True
            self._on_refused(response.reason)
            return False

    async def _request_verification(self, *, again: bool = False) -> VerificationResponse:
        facts, state = self._facts, self._describe()
        request = VerificationRequest(
            licence=facts.licence,
            version=facts.version,
            pid=os.getpid(),
            pid_started_at=0.0,
            bot_user_id=facts.bot_user_id,
            started_at=self._clock(),
            python=platform.python_version(),
            library=facts.library,
            cogs_failed=_that_fit(state.cogs_failed),
            offline_s=state.offline_s,
            reloads_cogs=facts.reloads_cogs,
        )
        message = await self._ask(request, self._send)
        if isinstance(message.body, Acknowledgement) and not again:
            # It was of a session that the master does not know, and the answer named the one to use.
            return await self._request_verification(again=True)
        if not isinstance(message.body, VerificationResponse):
            raise TransportError(f"the master answered with a {message.type}")
        return message.body

    async def _ask(self, body: Body, send: Callable[[str], Awaitable[bool]]) -> Message:
        """Send a message, and return the answer to it.

        Parameters
        ----------
        send
            Returns whether it went over the local socket.

        Raises
        ------
        TransportError, TimeoutError
            It could not be sent, or is not answered.
        """
        text = self._signer.sign(body)
        token_id = self._signer.last_token_id
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[token_id] = answer
        try:
            if await send(text):
                self._asked_locally.add(token_id)
                if self._local is None or not self._local.is_connected:
                    self._give_up_asked()
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await answer
        finally:
            del self._answers[token_id]
            self._asked_locally.discard(token_id)

    def _give_up_asked(self) -> None:
        """Fail what was asked over a connection that is lost: a master that was killed answers nothing any more."""
        for token_id in self._asked_locally:
            answer = self._answers[token_id]
            if not answer.done():
                answer.set_exception(TransportError("the master closed the connection before it answered"))

    async def tell(self, body: Body) -> None:
        """Send a message over the local socket, and return once the master has taken it.

        Raises
        ------
        TransportError, TimeoutError
            It has not, or nobody knows. In a new session the node proves itself first: :attr:`verified` tells when.
        """
        answer = (await self._ask(body, self._send_locally)).body
        if isinstance(answer, Acknowledgement) and answer.order == "verify_again":
            self.verified.clear()
            self._take_answer_to_pulse(answer, private=True)
            raise TransportError("the master asks for verification first")

    async def ask(self, body: Body, *, within_s: float = ASK_WITHIN_S, again: bool = False) -> Body:
        """Send a message, and return the master's answer to it.

        What could not be sent is sent again until the time is up, as is what a new master wants another proof for
        first. What was sent and is not answered may have been carried out.

        Parameters
        ----------
        again
            Whether that is sent again too: carried out twice, it does no harm.

        Raises
        ------
        MasterAway, NotAnswered
        """
        why, sent = "it does not accept this node yet", False

        async def send(text: str) -> bool:
            nonlocal sent
            is_local = await self._send(text)
            sent = True
            return is_local

        try:
            async with asyncio.timeout(within_s):
                while True:
                    await self.verified.wait()
                    try:
                        answer = (await self._ask(body, send)).body
                    except (TransportError, TimeoutError) as error:
                        if sent and not again:
                            raise NotAnswered(f"the master took it, and has not answered: {error}") from None
                        why = str(error) or "it does not answer"
                        await asyncio.sleep(ASK_AGAIN_S)
                        continue
                    if not isinstance(answer, Acknowledgement) or answer.order != "verify_again":
                        return answer
                    why, sent = "it asks for verification first", False
                    self.verified.clear()
                    self._take_answer_to_pulse(answer, private=True)
        except TimeoutError:
            if sent:
                raise NotAnswered("the master took it, and has not answered") from None
            raise MasterAway(f"the master is not there: {why}") from None

    async def _pulse_until_asked(self) -> None:
        failures, channel_due = 0, float("-inf")
        while True:
            if self._local is not None and await self._pulse_locally(self._local):
                failures, interval = 0, self._intervals["local"]
            else:
                # A restarting master is back within a second: the socket is tried at every pulse. The channel, where
                # Discord limits messages, is used only after repeated failures.
                failures += 1
                interval = self._intervals["local"] if self._local is not None else self._intervals["channel"]
                patient = self._local is not None and failures < LOCAL_FAILURES_BORNE
                if self._post_to_channel is not None and not patient and self._monotonic() >= channel_due:
                    channel_due = self._monotonic() + self._intervals["channel"]
                    await self._pulse_by_channel(self._post_to_channel)
            if self._local is not None and not failures:
                # Synchronised with all nodes of this box: the CPU wakes up once for the fleet, not once for each node.
                interval -= time.monotonic() % interval
            due = time.monotonic() + interval
            try:
                # Not wait_for: in Python 3.11 it may swallow a cancellation at its end (gh-86296).
                async with asyncio.timeout(interval):
                    await self._woken.wait()
            except TimeoutError:
                _warn_of_stall(time.monotonic() - due)
                continue
            self._woken.clear()
            if self._verify_again:
                return

    def pulse_soon(self) -> None:
        """Pulse now instead of at the next interval: there is something to say."""
        self._woken.set()

    def _take_nudge(self) -> None:
        """Pulse at once, or as soon as that may be again."""
        now = self._monotonic()
        if now < self._nudged_at:
            return  # One waits already, which does for this one too.
        wait_s = max(0.0, self._nudged_at + NUDGE_EVERY_S - now)
        self._nudged_at = now + wait_s
        asyncio.get_running_loop().call_later(wait_s, self._woken.set)

    def _sign_answerable(self, body: Heartbeat | ErrorReport) -> str:
        text = self._signer.sign(body)
        self._sent[self._signer.last_token_id] = body if isinstance(body, ErrorReport) else None
        if len(self._sent) > 16:
            del self._sent[next(iter(self._sent))]
        return text

    async def _pulse_locally(self, local: LocalClient) -> bool:
        pulse = self._describe()
        try:
            await local.send(self._sign_answerable(pulse))
        except TransportError as error:
            log.debug("pulse dropped", extra={"why": str(error)})
            return False
        if self.on_pulse is not None:
            self.on_pulse(pulse)
        return True

    async def _pulse_by_channel(self, post: PostToChannel) -> None:
        try:
            await post(channel.wrap(self._sign_answerable(self._describe())))
        except TransportError as error:
            log.debug("pulse dropped", extra={"why": str(error)})

    async def _send_locally(self, text: str) -> bool:
        if self._local is None:
            raise TransportError("there is no local socket")
        await self._local.send(text)
        return True

    async def _send(self, text: str) -> bool:
        """Send over the local socket, or over the channel when that fails; returns whether it was the socket.

        Raises
        ------
        TransportError
            Neither works.
        """
        trouble = TransportError("no transport")
        if self._local is not None:
            try:
                return await self._send_locally(text)
            except TransportError as error:
                trouble = error
        if self._post_to_channel is None:
            raise trouble
        await self._post_to_channel(channel.wrap(text))
        return False

    def receive_from_channel(self, author_id: int, content: str) -> None:
        """Handle a message of VERIFY_CHANNEL; anything but the master's answer to this node is ignored."""
        text = channel.unwrap(content) if author_id == self._boot.master_user_id else None
        if text is not None:
            self._take(text, private=False)

    def _take_from_socket(self, text: str) -> None:
        if text == NUDGE:
            self._take_nudge()
        else:
            self._take(text, private=True)

    def _find_key(self, node_id: str, epoch: int) -> NodeKey:
        for key in self._keys:
            if key.epoch == epoch:
                return key
        raise Refused(Reason.STALE_EPOCH, f"epoch {epoch}", claimed_node_id=node_id)

    def _take(self, text: str, *, private: bool) -> None:
        try:
            message = self._verifier.open(text)
        except Refused as refused:
            log.debug("message ignored", extra={"reason": refused.reason.value})
            return
        asked = message.in_reply_to or ""
        answer = self._answers.get(asked)
        if answer is None and asked not in self._sent:
            return
        if message.session is not None:
            self._signer.session = message.session
        if answer is not None:
            if not answer.done():
                answer.set_result(message)
            return
        report = self._sent.pop(asked)
        if report is not None and message.session is not None:
            self._send_again(report)
        self._take_answer_to_pulse(message.body, private=private)

    def _send_again(self, report: ErrorReport) -> None:
        """Send a report in the session that the master knows: it has not taken the first one."""
        task = asyncio.get_running_loop().create_task(self._send_report(report))
        self._resending.add(task)
        task.add_done_callback(self._resending.discard)

    def _take_answer_to_pulse(self, body: Body, *, private: bool) -> None:
        if isinstance(body, Acknowledgement):
            _warn_of_skew(body.clock_skew_s)
            if body.order == "verify_again":
                self._verify_again = True
                self._woken.set()
        elif isinstance(body, KeyReplacement) and private and body.key_epoch > self._keys[0].epoch:
            key = NodeKey(self._boot.node_id, body.key_epoch, Secret(body.key))
            self._keys = [key, self._keys[0]]
            self._signer = self._signer.with_key(key)
            log.info("the master has replaced this node's key", extra={"epoch": body.key_epoch})
        elif isinstance(body, Order) and private and self._obey is not None and self._obeying is None:
            # One at a time, as the master gives them.
            self._obeying = asyncio.get_running_loop().create_task(self._carry_out(body, self._obey), name="order")
            self._obeying.add_done_callback(self._obeyed)

    async def _carry_out(self, order: Order, obey: Obey) -> None:
        result = await obey(order)
        try:
            await self._send(self._signer.sign(result))
        except TransportError as error:
            log.warning("what became of an order is not told", extra={"order": order.kind, "why": str(error)})

    def _obeyed(self, task: asyncio.Task[None]) -> None:
        self._obeying = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an order could not be carried out", exc_info=error)

    async def report(self, report: ErrorReport) -> None:
        """Send an error report. Beyond the rate limit, repeats are counted and sent with the next report of that error.

        Never raises: an error that cannot be reported is still in the node's log.
        """
        now = self._monotonic()
        self._report_times = [sent for sent in self._report_times if now - sent < 60]
        count = self._reports.pop(report.fingerprint, 0) + report.count
        if len(self._report_times) >= MAX_REPORTS_PER_MINUTE:
            if len(self._reports) < 100:
                self._reports[report.fingerprint] = count
            return
        self._report_times.append(now)
        await self._send_report(_with_count(report, count))

    async def _send_report(self, report: ErrorReport) -> None:
        try:
            await self._send(self._sign_answerable(report))
        except TransportError as error:
            log.warning("error report not sent", extra={"why": str(error)})

    async def say_goodbye(self, reason: str) -> None:
        """Tell the master that the node stops on purpose; stops trying after two seconds."""
        body: Body = ShutdownNotice(reason=reason[:400])
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self._send(self._signer.sign(body))
        except (TransportError, TimeoutError):
            log.debug("goodbye not sent")


def _that_fit(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return as many names as a message in VERIFY_CHANNEL has room for; the pulses name all of them."""
    sizes = itertools.accumulate(len(name.encode()) for name in names)
    return tuple(name for name, size in zip(names, sizes, strict=True) if size <= NAMES_BYTES)


def _with_count(report: ErrorReport, count: int) -> ErrorReport:
    return ErrorReport(
        source=report.source,
        where=report.where,
        exception=report.exception,
        fingerprint=report.fingerprint,
        message=report.message,
        traceback=report.traceback,
        count=count,
    )


def _warn_of_skew(skew_s: float) -> None:
    if abs(skew_s) > 5:
        log.warning("this clock differs from the master's by %.0f s", skew_s)


def _warn_of_stall(late_s: float) -> None:
    """Log that a pulse was late: discord.py says something only of a loop that is blocked while a heartbeat is due."""
    if late_s > STALL_S:
        log.warning("the event loop stood still for %.1f s: something in it blocks", late_s)
