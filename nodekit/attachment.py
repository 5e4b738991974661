"""Joining a fleet with any discord.py client: pulses, readiness, error reports, RESUME and the identify budget.

Nothing is subclassed: the client's own methods are wrapped on the instance, most of them when it logs in, when the
program has made all of its handlers. A sharded client gets everything but RESUME across processes: the file that a
successor starts from holds one session.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from typing import Any

import discord

from handshake.errors import HandshakeError, TransportError
from handshake.messages import Heartbeat
from nodekit.error_watch import (
    Source,
    report_text_command,
    watch_commands,
    watch_listeners,
    watch_logged,
    watch_tasks,
)
from nodekit.exit_codes import NodeExit
from nodekit.identify_budget import IdentifyBudgetSpent
from nodekit.identity import NodeIdentity, inherited_identity
from nodekit.link import NodeFacts, NodeLink
from nodekit.reports import describe_error
from nodekit.resumption import Resumption

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0
_ATTRIBUTE = "_nodekit_attachment"

_node: Attachment | None = None
"""The client that is this process's node: a program may have others."""


def attach(client: discord.Client) -> None:
    """Join the fleet with a client, before it logs in; outside of a fleet nothing happens.

    Raises
    ------
    RuntimeError
        The client has logged in already.
    SystemExit
        With code 64: what the master handed over cannot be read.
    """
    try:
        identity = inherited_identity()
    except HandshakeError as error:
        log.error("%s", error)
        raise SystemExit(NodeExit.CONFIGURATION) from error
    if identity is not None:
        attach_as(client, identity)


def attach_as(client: discord.Client, identity: NodeIdentity, *, only_its_token: bool = False) -> None:
    """Join the fleet as that node.

    Parameters
    ----------
    only_its_token
        Stay out of it when the client logs in with another token than the node's.
    """
    if client.user is not None:
        raise RuntimeError("nodekit.attach() comes before the client logs in")
    present = attachment_of(client)
    if present is None:
        setattr(client, _ATTRIBUTE, Attachment(client, identity, only_its_token=only_its_token))
    elif not only_its_token:
        present.only_its_token = False


def attachment_of(client: discord.Client) -> Attachment | None:
    """Return what joins a client to the fleet; None when nothing does."""
    found = getattr(client, _ATTRIBUTE, None)
    return found if isinstance(found, Attachment) else None


class Attachment:
    """What joins one client to the fleet."""

    def __init__(self, client: discord.Client, identity: NodeIdentity, *, only_its_token: bool = False) -> None:
        self.only_its_token = only_its_token
        self.link: NodeLink | None = None
        self._client = client
        self._identity = identity
        self._boot = identity.boot
        self._started_at = time.time()
        self._resumption: Resumption | None = None
        self._connected = asyncio.Event()
        self._linking: asyncio.Task[None] | None = None
        self._reporting: set[asyncio.Task[None]] = set()
        self._refused: asyncio.Task[None] | None = None
        self._exit_code: NodeExit | None = None
        self._joined = self._set_up = self._shows_payloads = False
        self._login, self._connect, self._close = client.login, client.connect, client.close
        self._dispatch = client.dispatch
        client.login = self._on_login  # type: ignore[method-assign]

    # What the client does

    async def _on_login(self, token: str) -> None:
        """Log in; what the predecessor asked Discord already is not asked again."""
        if not self._is_node(token):
            await self._login(token)
            return
        self._join()
        with contextlib.nullcontext() if self._resumption is None else self._resumption.answering(self._client):
            await self._login(token)

    def _is_node(self, token: str) -> bool:
        """Tell whether this client is the one of this process that is the node."""
        global _node
        if _node is None and self.only_its_token and token.strip() != self._boot.token:
            log.warning("a client logs in with another token than the node's: it is not linked")
        elif _node is None:
            _node = self
        return _node is self

    def _join(self) -> None:
        """Wrap the client's methods: late, so that whatever the program made of them is wrapped too."""
        client = self._client
        if not self._joined:
            self._joined = True
            if self._identity.session is not None and not is_sharded(client):
                self._resumption = Resumption(self._identity.session)
                # Shows each gateway payload to dispatch(), which keeps what a successor needs to resume.
                self._shows_payloads, client._enable_debug_events = client._enable_debug_events, True
            self._connect, self._close, self._dispatch = client.connect, client.close, client.dispatch
            client.connect, client.close = self._on_connect, self._on_close  # type: ignore[method-assign]
            client.dispatch = self._on_dispatch  # type: ignore[method-assign]
            # What the connection holds is the method as it was when the client was made.
            client._connection.dispatch = self._on_dispatch
            self._count_identifies()
            watch_listeners(client, self.report)
            watch_logged(self.report)
            self._wrap_setup_hook()
        watch_tasks(asyncio.get_running_loop(), self.report)
        _end_gracefully_on_sigterm()

    def _count_identifies(self) -> None:
        budget, hooks = self._identity.identifies, self._client._connection.hooks
        before = hooks["before_identify"]
        if budget is None:
            return

        async def before_identify(shard_id: int | None, *, initial: bool = False) -> None:
            try:
                budget.spend()
            except IdentifyBudgetSpent as error:
                log.error("%s", error)
                raise SystemExit(NodeExit.IDENTIFIES) from error
            await before(shard_id, initial=initial)

        hooks["before_identify"] = before_identify

    def _wrap_setup_hook(self) -> None:
        """Make the link once the client knows who it is: errors of its set-up are reported already."""
        set_up = self._client.setup_hook

        async def setup_hook() -> None:
            self.link = self._make_link()
            try:
                await set_up()
            except Exception as error:
                self.report(error, "startup", "setup_hook")
                raise
            if not self._set_up:
                self._set_up = True
                watch_commands(self._client, self.report)

        self._client.setup_hook = setup_hook  # type: ignore[method-assign]

    async def _on_connect(self, *, reconnect: bool = True) -> None:
        """Connect: where the predecessor's session can be resumed, with its cache and without an IDENTIFY."""
        if self._resumption is not None:
            self._resumption.begin(self._client)
        if self.link is not None and self._linking is None:
            self._linking = asyncio.create_task(self._run_link(self.link), name="handshake")
        try:
            await self._connect(reconnect=reconnect)
        finally:
            # Also where a program ends without closing its client.
            await self._leave()
        if self._exit_code is not None:
            raise SystemExit(self._exit_code)

    def _on_dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Tell listeners of an event, unless the predecessor has told its own already."""
        resumption = self._resumption
        if resumption is not None:
            if event == "socket_raw_receive":
                resumption.take(args[0])
            if resumption.replaying or (event.startswith("socket_raw_") and not self._shows_payloads):
                return
        if event in ("connect", "resumed"):
            self._connected.set()
        elif event == "message" and self._is_of_fleet(args[0]):
            return
        elif event == "command_error":
            report_text_command(self.report, *args)
        self._dispatch(event, *args, **kwargs)

    def _is_of_fleet(self, message: discord.Message) -> bool:
        """Take a message of VERIFY_CHANNEL, which is not the program's business."""
        if message.channel.id != self._boot.verify_channel_id:
            return False
        if self.link is not None:
            self.link.receive_from_channel(message.author.id, message.content)
        return True

    async def _on_close(self) -> None:
        """Say goodbye, and leave Discord."""
        if not self._client.is_closed():
            await self._leave()
        await self._close()

    # The link

    def _make_link(self) -> NodeLink:
        user = self._client.user
        return NodeLink(
            self._boot,
            NodeFacts(
                licence=self._identity.manifest.licence,
                version=self._identity.version,
                bot_user_id=user.id if user else 0,
                library=f"discord.py {discord.__version__}" + ("" if self._resumption else ", without RESUME"),
            ),
            describe=self._describe,
            post_to_channel=self._post_to_verify_channel,
            on_refused=self._on_refused,
        )

    async def _run_link(self, link: NodeLink) -> None:
        # "Ready" is said once Discord's READY (or RESUMED) was seen, not when the process happens to run.
        await self._connected.wait()
        await self._client.wait_until_ready()
        await link.run()

    def _describe(self) -> Heartbeat:
        """Return the pulse of this moment."""
        if self._resumption is not None:
            self._resumption.touch()
        client = self._client
        latency = client.latency * 1000
        failed: list[str] = getattr(client, "failed_cogs", [])
        return Heartbeat(
            uptime_s=round(time.time() - self._started_at, 1),
            latency_ms=round(latency, 1) if 0 <= latency < 1e6 else None,
            guilds=len(client.guilds),
            state="degraded" if failed or client.is_closed() else "ready",
            cogs_failed=tuple(name[:100] for name in failed[:20]),
        )

    async def _post_to_verify_channel(self, content: str) -> None:
        try:
            await self._client.get_partial_messageable(self._boot.verify_channel_id).send(content)
        except (discord.HTTPException, OSError) as error:
            raise TransportError(f"VERIFY_CHANNEL: {error}") from error

    def _on_refused(self, reason: str) -> None:
        log.error("the master does not accept this node: %s", reason)
        self._exit_code = NodeExit.LICENCE
        self._refused = asyncio.get_running_loop().create_task(self._client.close())

    def report(self, error: BaseException, source: Source, where: str) -> None:
        """Report an unhandled error to the master; the log has it already."""
        if self.link is None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # From another thread of the program: it stays in the log.
            return
        task = loop.create_task(self.link.report(describe_error(error, source=source, where=where)))
        self._reporting.add(task)
        task.add_done_callback(self._reporting.discard)

    async def _leave(self) -> None:
        """Say goodbye and end the link, bounded: whatever holds it up, the client leaves Discord in time."""
        linking, self._linking = self._linking, None
        ending = set(self._reporting)
        if linking is not None:
            if self.link is not None:
                await self.link.say_goodbye("asked to stop")
            linking.cancel()
            ending.add(linking)
            self._leave_session()
        if ending:
            await asyncio.wait(ending, timeout=CLOSE_TIMEOUT_S)

    def _leave_session(self) -> None:
        """Leave the gateway session to the successor; without one, let Discord show the bot as offline at once."""
        if self._resumption is None:
            return
        if not self._resumption.successor_expected:
            self._resumption.forget()
        elif self._client.ws is not None:
            # Closing with 1000, as the library does, would end the session: docs/events/gateway#disconnecting.
            close = self._client.ws.close
            self._client.ws.close = lambda code=4000: close(code=4000)  # type: ignore[method-assign]


def is_sharded(client: discord.Client) -> bool:
    """Tell whether a client has more sessions than one, or one of several."""
    return isinstance(client, discord.AutoShardedClient) or client.shard_id is not None


def _end_gracefully_on_sigterm() -> None:
    """Make SIGTERM what Ctrl-C is, where the program has not decided: it closes its client then, and cleans up."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
