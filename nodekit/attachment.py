"""Attaches any discord.py client to a fleet: pulses, readiness, error reports, RESUME and the identify budget.

The client's methods are wrapped on the instance, without subclassing; most of them at login, after the program has
registered its handlers. A sharded client does not RESUME across processes: the session file holds one session.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import discord
import msgspec

from handshake.errors import HandshakeError, TransportError
from handshake.messages import ErrorReport, Heartbeat, Order, OrderResult
from nodekit.call_failures import ANY_FAILURE
from nodekit.connection_keeper import ConnectionKeeper
from nodekit.ending import watch_ending
from nodekit.error_watch import (
    Source,
    report_text_command,
    watch_commands,
    watch_listeners,
    watch_logged,
    watch_tasks,
)
from nodekit.exit_codes import NodeExit
from nodekit.gateway_closes import GatewayCloses
from nodekit.handing_over import HandingOver
from nodekit.identify_budget import IdentifyBudgetSpent
from nodekit.identity import NodeIdentity, inherited_identity
from nodekit.link import NodeFacts, NodeLink
from nodekit.reports import describe_error
from nodekit.resumption import Resumption

if TYPE_CHECKING:
    from nodekit.patching import Patching

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0
OFFLINE_TOLD_AFTER_S = 2.1
"""The master counts a node as offline after two seconds; Discord asks for a reconnect now and then."""
LINK_AGAIN_S = 1.0
SETTLED_VARIABLE = "FLEET_SETTLED"
"""As in ``nodekit.settling``, which only a node with releases imports."""
_ATTRIBUTE = "_nodekit_attachment"

_node: Attachment | None = None
"""The attachment of the client that is this process's node; a program may have other clients."""


def attach(client: discord.Client) -> None:
    """Attach a client to the fleet, before it logs in; does nothing outside of a fleet.

    Raises
    ------
    RuntimeError
        The client has logged in already.
    SystemExit
        With code 64: the inherited data cannot be read.
    """
    try:
        identity = inherited_identity()
    except HandshakeError as error:
        log.error("%s", error)
        raise SystemExit(NodeExit.CONFIGURATION) from error
    if identity is not None:
        attach_as(client, identity)


def attach_as(client: discord.Client, identity: NodeIdentity, *, only_its_token: bool = False) -> None:
    """Attach a client to the fleet as the given node.

    Parameters
    ----------
    only_its_token
        Do not attach if the client logs in with another token than the node's.
    """
    if client.user is not None:
        raise RuntimeError("call nodekit.attach() before the client logs in")
    present = attachment_of(client)
    if present is None:
        setattr(client, _ATTRIBUTE, Attachment(client, identity, only_its_token=only_its_token))
    elif not only_its_token:
        present.only_its_token = False


def attachment_of(client: discord.Client) -> Attachment | None:
    """Return a client's attachment; None if it is not attached."""
    found = getattr(client, _ATTRIBUTE, None)
    return found if isinstance(found, Attachment) else None


class Attachment:
    """The attachment of one client to the fleet."""

    def __init__(self, client: discord.Client, identity: NodeIdentity, *, only_its_token: bool = False) -> None:
        self.only_its_token = only_its_token
        self.link: NodeLink | None = None
        self._client = client
        self._identity = identity
        self._boot = identity.boot
        self._began = time.monotonic()
        self._resumption: Resumption | None = None
        self._handing_over: HandingOver | None = None
        self._connected = asyncio.Event()
        self._lost_at: float | None = None
        """Since when there is no connection to Discord, in monotonic seconds; None while there is one."""
        self._telling: asyncio.TimerHandle | None = None
        self._linking: asyncio.Task[None] | None = None
        self._patching: Patching | None = None
        self._reporting: set[asyncio.Task[None]] = set()
        self._refused: asyncio.Task[None] | None = None
        self._exit_code: NodeExit | None = None
        self._joined = self._set_up = self._shows_payloads = False
        self._login, self._connect, self._close = client.login, client.connect, client.close
        self._dispatch = client.dispatch
        client.login = self._on_login  # type: ignore[method-assign]

    @property
    def licence(self) -> str:
        """The code of the node's own licence."""
        return self._identity.manifest.licence

    # Wrapped methods of the client

    async def _on_login(self, token: str) -> None:
        """Log in; REST requests are answered from the predecessor's cache if possible."""
        if not self._is_node(token):
            await self._login(token)
            return
        self._join()
        with contextlib.nullcontext() if self._resumption is None else self._resumption.answering(self._client):
            await self._login(token)

    def _is_node(self, token: str) -> bool:
        """Tell whether this client is this process's node."""
        global _node
        if _node is None and self.only_its_token and token.strip() != self._boot.token:
            log.warning("a client logs in with another token than the node's: it is not linked")
        elif _node is None:
            _node = self
        return _node is self

    def _join(self) -> None:
        """Wrap the client's methods; called at login, so that the program's own overrides are wrapped too."""
        client = self._client
        if not self._joined:
            self._joined = True
            keeper = ConnectionKeeper(client)
            keeper.on_close = GatewayCloses(self._send_report).note
            self._login = functools.partial(keeper.log_in, self._login)
            if self._identity.session is not None and not is_sharded(client):
                self._resumption = Resumption(self._identity.session)
                self._handing_over = HandingOver(client)
                # Passes each gateway payload to dispatch(), which records the data for RESUME.
                self._shows_payloads, client._enable_debug_events = client._enable_debug_events, True
            self._connect, self._close, self._dispatch = client.connect, client.close, client.dispatch
            client.connect, client.close = self._on_connect, self._on_close  # type: ignore[method-assign]
            client.dispatch = self._on_dispatch  # type: ignore[method-assign]
            # The connection state holds a reference to the original method.
            client._connection.dispatch = self._on_dispatch
            self._count_identifies()
            watch_listeners(client, self.report)
            watch_logged(self.report)
            self._wrap_setup_hook()
        watch_tasks(asyncio.get_running_loop(), self.report)
        _exit_gracefully_on_sigterm()

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
            except OSError as error:
                # On a full disk a bot that is up is worth more than the count; the restart policy still bounds it.
                log.warning("an IDENTIFY could not be counted: %s", error.strerror)
            await before(shard_id, initial=initial)

        hooks["before_identify"] = before_identify

    def _wrap_setup_hook(self) -> None:
        """Create the link once the client knows its user; errors in the program's setup_hook are reported too."""
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
        """Connect; if possible, resume the predecessor's session with its cache, without an IDENTIFY."""
        if self._resumption is not None:
            self._resumption.begin(self._client)
        if self.link is not None and self._linking is None:
            self._linking = asyncio.create_task(self._run_link(self.link), name="handshake")
        try:
            await self._connect(reconnect=reconnect)
        finally:
            # For programs that end without closing their client.
            await self._end_link()
        if self._exit_code is not None:
            raise SystemExit(self._exit_code)

    def _on_dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Dispatch an event to listeners, unless it is replayed: the predecessor has dispatched it."""
        resumption = self._resumption
        if resumption is not None:
            if event == "socket_raw_receive":
                resumption.take(args[0])
            elif event == "guild_available":
                resumption.count_members(args[0])
            if resumption.replaying or (event.startswith("socket_raw_") and not self._shows_payloads):
                return
        if event in ("connect", "resumed"):
            self._connected.set()
            self._on_gateway(lost=False)
        elif event == "disconnect":
            self._on_gateway(lost=True)
        elif event == "message" and self._handle_fleet_message(args[0]):
            return
        elif event == "command_error":
            report_text_command(self.report, *args)
        self._dispatch(event, *args, **kwargs)

    def _on_gateway(self, *, lost: bool) -> None:
        """Remember whether the client is connected; the master is told at once of a change that lasts."""
        if lost is (self._lost_at is not None):
            return
        self._lost_at = time.monotonic() if lost else None
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self.link is not None:
            delay_s = OFFLINE_TOLD_AFTER_S if lost else 0.0
            self._telling = asyncio.get_running_loop().call_later(delay_s, self.link.pulse_soon)

    def _handle_fleet_message(self, message: discord.Message) -> bool:
        """Handle a message of VERIFY_CHANNEL; True if it was one, and the program must not get it."""
        if message.channel.id != self._boot.verify_channel_id:
            return False
        if self.link is not None:
            self.link.receive_from_channel(message.author.id, message.content)
        return True

    async def _on_close(self) -> None:
        """Say goodbye, and close the connection to Discord."""
        if not self._client.is_closed():
            await self._end_link()
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
                reloads_cogs=bool(getattr(self._client, "reloads_cogs", False)),
            ),
            describe=self._describe,
            post_to_channel=self._post_to_verify_channel,
            on_refused=self._on_refused,
            obey=self._obey,
        )

    async def _obey(self, order: Order) -> OrderResult:
        # Imported when it is needed: most nodes never get an order.
        if order.kind == "channel_moved":
            return self._follow_channel(order)
        if order.kind.startswith("patch"):
            patching = self._patching or self._make_patching()
            return patching.take(order)
        from nodekit.orders import carry_out

        return await carry_out(self._client, order)

    def _follow_channel(self, order: Order) -> OrderResult:
        """Follow VERIFY_CHANNEL, which was made anew under another id."""
        role, _, number = order.argument.partition(":")
        if role != "VERIFY" or not number.isdecimal():
            return OrderResult(order_id=order.id, done=False, detail="this nodekit knows no such channel")
        self._boot = msgspec.structs.replace(self._boot, verify_channel_id=int(number))
        log.info("VERIFY_CHANNEL is %s now", number)
        return OrderResult(order_id=order.id, done=True, detail="followed")

    def _make_patching(self) -> Patching:
        from nodekit.patching import Patching

        if self.link is None:
            raise RuntimeError("patches come over the link")
        variable = self._boot.token_variable
        self._patching = Patching(self._client, self.link, self._identity.folder, token_variable=variable)
        return self._patching

    def _tell_settled(self) -> None:
        """Have the master told of a release that began, or was rolled back, before this process ran its program."""
        if SETTLED_VARIABLE in os.environ:
            from nodekit.settling import take_settled

            settled = take_settled()
            if settled is not None:
                self._make_patching().take_settled(settled)

    async def _run_link(self, link: NodeLink) -> None:
        # Readiness is reported after Discord's READY (or RESUMED), not when the process starts.
        await self._connected.wait()
        await self._client.wait_until_ready()
        self._tell_settled()
        while True:
            try:
                await link.run()
                return
            except Exception as error:
                # Without its handshake the node would be replaced. It must live: it begins anew, and the error is told.
                log.exception("the handshake failed, and begins anew")
                self.report(error, "task", "handshake")
                await asyncio.sleep(LINK_AGAIN_S)

    def _describe(self) -> Heartbeat:
        """Return the current pulse."""
        if self._resumption is not None:
            self._resumption.touch()
        client = self._client
        latency = client.latency * 1000
        failed: list[str] = [*getattr(client, "failed_cogs", ()), *getattr(client, "disabled_cogs", ())]
        return Heartbeat(
            uptime_s=round(time.monotonic() - self._began, 1),
            latency_ms=round(latency, 1) if 0 <= latency < 1e6 else None,
            guilds=len(client.guilds),
            state="degraded" if failed or client.is_closed() else "ready",
            cogs_failed=tuple(name[:100] for name in failed[:20]),
            offline_s=None if self._lost_at is None else round(time.monotonic() - self._lost_at, 1),
        )

    async def _post_to_verify_channel(self, content: str) -> None:
        try:
            await self._client.get_partial_messageable(self._boot.verify_channel_id).send(content)
        except ANY_FAILURE as error:
            raise TransportError(f"VERIFY_CHANNEL: {error or type(error).__name__}") from error

    def _on_refused(self, reason: str) -> None:
        log.error("the master does not accept this node: %s", reason)
        self._exit_code = NodeExit.LICENCE
        self._refused = asyncio.get_running_loop().create_task(self._client.close())

    def report(self, error: BaseException, source: Source, where: str) -> None:
        """Report an unhandled error to the master; it is already in the log."""
        if self.link is None:
            return
        # A HandshakeBot answers its users by itself, and knows which errors are theirs.
        is_expected: Callable[[BaseException], bool] | None = getattr(self._client, "is_expected", None)
        if source == "command" and is_expected is not None and is_expected(error):
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # Called in another thread of the program: the error is only in the log.
            return
        self._send_report(describe_error(error, source=source, where=where))

    def _send_report(self, report: ErrorReport) -> None:
        if self.link is not None:
            task = asyncio.get_running_loop().create_task(self.link.report(report))
            self._reporting.add(task)
            task.add_done_callback(self._reporting.discard)

    async def _end_link(self) -> None:
        """Say goodbye and end the link, with a time-out, so that the client always closes in time."""
        linking, self._linking = self._linking, None
        if self._patching is not None:
            self._patching.end()
        if linking is not None:
            if self.link is not None:
                await self.link.say_goodbye("asked to stop")
            linking.cancel()
            await self._hand_over_session()
        ending = {*self._reporting, *([linking] if linking is not None else ())}
        if ending:
            await asyncio.wait(ending, timeout=CLOSE_TIMEOUT_S)

    async def _hand_over_session(self) -> None:
        """Leave the gateway session to a successor; without one, the bot appears offline at once."""
        if self._resumption is None or self._handing_over is None:
            return
        if self._resumption.successor_expected:
            await self._handing_over.run()
        else:
            self._resumption.forget()


def is_sharded(client: discord.Client) -> bool:
    """Tell whether a client is sharded: it has several sessions, or one of several."""
    return isinstance(client, discord.AutoShardedClient) or client.shard_id is not None


def _exit_gracefully_on_sigterm() -> None:
    """Handle SIGTERM like Ctrl-C, unless the program has its own handler: it then closes its client and cleans up."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    watch_ending()
    signal.raise_signal(signal.SIGINT)
