"""The intake: a server on the loopback address that sentry-sdk takes for Sentry's."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus

from handshake.rare_log import RareLog
from master.events import AlertLevel
from master.intake.connections import Connections
from master.intake.envelopes import BROTLI_MISSING, read_envelope, read_store
from master.intake.events import Event, sighting_of
from master.intake.requests import MAX_HEAD_BYTES, Head, RequestRefused, read_body, read_head, send_answer
from master.ledger.rows.records import Node
from master.services.core.alerts import Alerts
from master.services.healing.sentry_addresses import LOOPBACK, SentryAddresses
from master.services.healing.sighting import Sighting
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
BODIES = 8
"""Bodies that are received at the same time: a bound on memory."""
READERS = 2
"""Of them, those that are unpacked and decoded at the same time: half of the master's threads."""
BURST, RATE_S = 30.0, 3.0
"""Requests that a node may make at once, and in each second from then on."""
RETRY_AFTER_S = 10
TRY_AGAIN_S = 15.0
_PATH = re.compile(r"/api/([0-9]{1,18})/(envelope|store)/?", re.ASCII)
_AUTH_HEADER = "x-sentry-auth"
_KEY = re.compile(r"(?:Sentry\s+|,\s*)sentry_key=([^,\s]*)", re.ASCII | re.IGNORECASE)


@dataclass(slots=True)
class _Allowance:
    """How many requests a node may make now."""

    left: float
    at_s: float

    def take(self, now_s: float) -> bool:
        self.left = min(BURST, self.left + (now_s - self.at_s) * RATE_S)
        self.at_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


class SentryIntake:
    """Take events of nodes.

    Parameters
    ----------
    addresses
        Knows which node an address was made for, and is told whether anybody listens there.
    take
        Called with each error; must not block.
    """

    def __init__(
        self, *, addresses: SentryAddresses, take: Callable[[Sighting], None], alerts: Alerts, clock: Clock
    ) -> None:
        self._addresses = addresses
        self._take = take
        self._alerts = alerts
        self._clock = clock
        self._connections = Connections(self._converse, who="an SDK", most=MAX_CONNECTIONS, one_each=True)
        self._bodies = asyncio.Semaphore(BODIES)
        self._readers = asyncio.Semaphore(READERS)
        self._allowances: dict[str, _Allowance] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._refused = RareLog(log, "what an SDK sent was refused")
        self.listening = asyncio.Event()
        """Set once it listens."""
        self.taken = 0
        """Errors that were taken."""
        self.refused = 0

    async def run(self) -> None:
        """Listen until cancelled; while the port is taken, try again."""
        if not self._addresses.port:
            return
        server = await self._listen()
        try:
            # Not serve_forever(), which waits for every connection to end.
            await asyncio.Event().wait()
        finally:
            self._addresses.is_listening = False
            server.close()
            await self._connections.end()

    async def _listen(self) -> asyncio.Server:
        addresses = self._addresses
        while True:
            try:
                server = await asyncio.start_server(
                    self._connections.serve, LOOPBACK, addresses.port, limit=MAX_HEAD_BYTES, backlog=MAX_CONNECTIONS
                )
            except OSError as error:
                self._say_taken(error.strerror or str(error))
                await asyncio.sleep(TRY_AGAIN_S)
                continue
            if addresses.trouble:
                text = "Bots that are started from now on report to it."
                self._alerts.raise_alert(
                    AlertLevel.SUCCESS, "The intake for sentry-sdk listens", key="sentry:up", text=text
                )
            addresses.is_listening, addresses.trouble = True, ""
            self.listening.set()
            return server

    def _say_taken(self, why: str) -> None:
        addresses = self._addresses
        if addresses.trouble:
            return
        # asyncio's own text repeats the address.
        why = "another process listens at the port" if "in use" in why else why.rpartition("': ")[2] or why
        addresses.trouble = f"the intake for sentry-sdk cannot listen on {LOOPBACK}:{addresses.port}: {why}"
        log.error("the intake for sentry-sdk cannot listen", extra={"port": addresses.port, "why": why})
        self._alerts.raise_alert(
            AlertLevel.ERROR,
            "The intake for sentry-sdk cannot listen",
            key="sentry:down",
            text=f"{LOOPBACK}:{addresses.port}: {why}. It is tried again every {TRY_AGAIN_S:g} s; until then bots are "
            "started without an address of it. SENTRY_PORT of HEALING names another port; `ss -ltnp` shows who has it.",
        )

    # A connection

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        try:
            head = await read_head(reader)
            if head is None:
                return
            node, kind = self._whose(head)
            # From now on it is one of that node's; strangers make room first.
            self._connections.crowd.leave(task)
            self._connections.crowd.enter(task, hash(node.id))
            self._connections.crowd.prove(task)
            events = await self._read(reader, writer, head, node, kind)
            event_id = self._take_all(events, node)
        except RequestRefused as refusal:
            self._note(refusal)
            headers = {"X-Sentry-Error": refusal.reason, **refusal.headers}
            await send_answer(reader, writer, refusal.status, {"detail": refusal.reason}, headers)
        except (OSError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("a request of an SDK failed")
            await send_answer(reader, writer, HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": "see the master's log"})
        else:
            await send_answer(reader, writer, HTTPStatus.OK, {"id": event_id} if event_id else {})

    def _whose(self, head: Head) -> tuple[Node, str]:
        """Return the node that a request is from, and what kind of body it has.

        Raises
        ------
        RequestRefused
            It is for something else, or does not show the key that belongs to its project.
        """
        path = _PATH.fullmatch(head.path)
        if path is None:
            raise RequestRefused(HTTPStatus.NOT_FOUND, "no such resource")
        if head.method != "POST":
            raise RequestRefused(HTTPStatus.METHOD_NOT_ALLOWED, "POST is taken alone", {"Allow": "POST"})
        shown = _KEY.search(head.headers.get(_AUTH_HEADER, ""))
        key = shown[1] if shown else head.query.get("sentry_key", "")
        if not key:
            raise RequestRefused(HTTPStatus.UNAUTHORIZED, "missing authorization information")
        node = self._addresses.find(int(path[1]), key)
        if node is None:
            raise RequestRefused(HTTPStatus.FORBIDDEN, "bad sentry DSN: restart the bot to give it a new one")
        return node, path[2]

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head, node: Node, kind: str
    ) -> list[Event]:
        allowance = self._allowances.setdefault(node.id, _Allowance(BURST, self._clock.monotonic()))
        if not allowance.take(self._clock.monotonic()):
            limits = f"{RETRY_AFTER_S}::key"
            raise RequestRefused(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many requests of this node",
                {"Retry-After": str(RETRY_AFTER_S), "X-Sentry-Rate-Limits": limits},
            )
        # One after the other of a node: it cannot keep all others out.
        async with self._turns.setdefault(node.id, asyncio.Lock()), self._bodies:
            body = await read_body(reader, writer, head)
            decode = read_envelope if kind == "envelope" else read_store
            async with self._readers:
                return await asyncio.to_thread(decode, body, head.headers.get("content-encoding", ""))

    def _take_all(self, events: Iterable[Event], node: Node) -> str:
        """Hand over the errors among the events; returns the id of the first event."""
        event_id = ""
        for event in events:
            event_id = event_id or (event.event_id or "")[:36]
            sighting = sighting_of(event, node_id=node.id, at=self._clock.now())
            if sighting is not None:
                self.taken += 1
                self._take(sighting)
        return event_id

    def _note(self, refusal: RequestRefused) -> None:
        self.refused += 1
        if refusal.reason == BROTLI_MISSING:
            self._addresses.trouble = f"the intake for sentry-sdk cannot read what some bots send: {refusal.reason}"
        self._refused(status=refusal.status.value, why=refusal.reason)
