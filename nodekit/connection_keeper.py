"""Keeps a discord.py client connected, whatever Discord, or a proxy before it, says; for nodes and for the master.

discord.py 2.7 takes its answers as they are: HTML, cut JSON, a missing field or a hang-up at the wrong moment end
``Client.start``, its waits between attempts grow to minutes, ``close`` does not end them, and a gateway that hangs up
after its greeting is dialled again without any wait. Its methods are wrapped on the instance; none is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import discord
import discord.client
import discord.gateway
import discord.shard
from discord.backoff import ExponentialBackoff
from discord.gateway import DiscordWebSocket, KeepAliveHandler, ReconnectWebSocket

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 15.0
"""Between two attempts; the second attempt is at once, and jitter of a quarter spreads many bots."""
UNREACHABLE_PAUSE_S = 4.0
"""The longest where nobody could be connected to, as without a network: such an attempt costs a packet or none."""
LASTED_S = 10.0
"""A connection that was ready for this long ends a row of failures."""
CONNECT_TIMEOUT_S = 20.0
LOGIN_TIMEOUT_S = 60.0
"""For the requests of a login, until the program's ``setup_hook`` begins."""
READY_TIMEOUT_S = 60.0
"""From an open connection to READY or RESUMED; discord.py waits for them for ever."""
CLOSE_TIMEOUT_S = 2.0
"""On a connection that is dead and does not know it, the closing handshake takes half a minute."""
END_S = 0.25
"""A closed client ends by itself within milliseconds, unless it waits before an attempt."""
FRUITLESS = 3
"""Connections in a row without READY or RESUMED after which the session is given up, and a new one begins: discord.py
resumes for ever with a sequence number that Discord does not accept (4007)."""
FREE_IDENTIFIES = 10
IDENTIFY_GAP_S = 120.0
"""Between two attempts after so many IDENTIFYs in vain: Discord resets a token at 1,000 a day."""
_LEAST_BEAT_S, _MOST_BEAT_S = 0.1, 120.0

_FINAL = (discord.LoginFailure, discord.PrivilegedIntentsRequired, discord.ConnectionClosed)
"""Discord's word: the token or the intents are refused, or a close code says that another attempt is in vain."""


class DiscordAway(Exception):
    """No connection to the gateway could be made."""


class _StartOver(Exception):
    """The session is given up."""


class _TooSoon(Exception):
    """Another IDENTIFY has to wait.

    Parameters
    ----------
    wait_s
        For how long.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"another IDENTIFY has to wait for {wait_s:.0f} s")
        self.wait_s = wait_s


def keep_connected(client: discord.Client, on_trouble: Callable[[str], None] = lambda _: None) -> ConnectionKeeper:
    """Keep a client connected, from its login on; call it before that.

    Parameters
    ----------
    on_trouble
        Called with the first trouble in a row, in words.
    """
    keeper = ConnectionKeeper(client, on_trouble)
    client.login = functools.partial(keeper.log_in, client.login)  # type: ignore[method-assign]
    return keeper


class ConnectionKeeper:
    """Wraps the methods by which one client connects.

    A sharded client has its waits bounded and its events guarded; discord.py itself reconnects its shards.
    """

    def __init__(self, client: discord.Client, on_trouble: Callable[[str], None] = lambda _: None) -> None:
        _bound_waits()
        self._client, self._on_trouble = client, on_trouble
        self.on_close: Callable[[int], None] = lambda _code: None
        """Called with the code of each connection that Discord closed, or a proxy before it; not of a shard's."""
        self._connect, self._close, self._dial = client.connect, client.close, client.http.ws_connect
        self._closed = asyncio.Event()
        self._is_sharded = isinstance(client, discord.AutoShardedClient)
        self.why = ""
        """The last trouble, for people."""
        self._lost_at: float | None = time.monotonic()
        self._proven_at: float | None = None
        self._opened = self._fresh = False
        self._dialled_at = float("-inf")
        self._longest_pause_s: float | None = None
        self._attempts = self._failed_dials = self._fruitless = self._identifies = self._troubles = 0
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._told_of: aiohttp.ClientWebSocketResponse | None = None
        """The connection whose end was told, or needs not to be."""
        self._background: set[asyncio.Future[Any]] = set()
        client.connect, client.close = self.connect, self.close  # type: ignore[method-assign]
        if not self._is_sharded:
            client.http.ws_connect = self._dial_in_time  # type: ignore[method-assign]
        self._count_identifies()
        self._guard_events()

    @property
    def offline_s(self) -> float | None:
        """Seconds without a connection to the gateway; None while there is one."""
        return None if self._lost_at is None else time.monotonic() - self._lost_at

    # Login

    async def log_in(self, login: Callable[[str], Awaitable[None]], token: str) -> None:
        """Log in; tries again until Discord answers. Errors of the program's ``setup_hook`` are its own.

        Raises
        ------
        discord.LoginFailure
            Discord refuses the token.
        """
        client, set_up = self._client, self._client.setup_hook
        begun = asyncio.get_running_loop().create_future()

        async def setup_hook() -> None:
            begun.set_result(None)
            await set_up()

        client.setup_hook = setup_hook  # type: ignore[method-assign]
        try:
            for attempt in range(1_000_000_000):
                try:
                    await self._until_closed(login(token), begun)
                    return
                except Exception as error:
                    if client.is_closed():
                        return
                    if begun.done() or not isinstance(token, str) or _is_refusal(error):
                        raise
                    self._note(error, "log in")
                    longest_s = _longest_pause_s(error)
                self._forget_login()
                await self._pause(_pause_s(attempt, longest_s))
        finally:
            client.setup_hook = set_up  # type: ignore[method-assign]

    def _forget_login(self) -> None:
        """Let go of what a login in vain left in discord.py: its HTTP session, and rate limits out of wrong headers."""
        http = self._client.http
        with contextlib.suppress(AttributeError):
            # Detached instead of closed: the connector may be the program's own.
            http._HTTPClient__session.detach()  # type: ignore[attr-defined]
        http._buckets.clear()
        http._bucket_hashes.clear()

    # Gateway

    async def connect(self, *, reconnect: bool = True) -> None:
        """Connect, and stay connected until the client is closed.

        Raises
        ------
        discord.PrivilegedIntentsRequired
        discord.ConnectionClosed
            Discord says that another attempt is in vain.
        """
        if self._is_sharded or not reconnect:
            await self._until_closed(self._connect(reconnect=reconnect))
            return
        while not self._client.is_closed():
            self._fresh, wait_s = True, 0.0
            try:
                await self._until_closed(self._connect(reconnect=True))
                return
            except _FINAL as error:
                self._tell_close(error)
                raise
            except _TooSoon as error:
                wait_s = error.wait_s
                self._note(error, "connect")
            except _StartOver:
                log.info("the session cannot be resumed, a new one begins")
            except DiscordAway:
                pass
            except Exception as error:
                if self._client.is_closed():
                    return
                self._note(error, "stay connected")
                log.debug("the connection ended", exc_info=error)
            self._hang_up()
            await self._pause(wait_s)

    async def _dial_in_time(self, url: str, **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket, after a pause when those before were in vain."""
        self._tell_close()
        await asyncio.sleep(self._next_pause())
        self._dialled_at = time.monotonic()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._socket = await self._dial(url, **options)
        except (OSError, aiohttp.ClientError, ValueError) as error:
            # ValueError: Discord's own address of the gateway for resuming is none.
            self._failed_dials += 1
            self._longest_pause_s = _longest_pause_s(error)
            self._note(error, "reach the gateway")
            raise self._as_reconnect() from error
        self._opened, self._failed_dials, self._longest_pause_s = True, 0, None
        asyncio.get_running_loop().call_later(READY_TIMEOUT_S, self._check_ready, self._socket)
        return self._socket

    def _tell_close(self, error: Exception | None = None) -> None:
        """Tell of the connection that was there, if the other side closed it."""
        socket, websocket = self._socket, self._client.ws
        if isinstance(error, discord.PrivilegedIntentsRequired):
            code: int | None = 4014
        elif isinstance(error, discord.ConnectionClosed):
            code = error.code
        elif socket is None or socket is self._told_of or (websocket and websocket._close_code is not None):
            return  # It was told, or closed from here.
        else:
            code = socket.close_code
        self._told_of = socket
        if code is not None:
            self.on_close(code)

    def _check_ready(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Close a connection on which the session did not begin; discord.py then makes another."""
        if self._socket is socket and self._proven_at is None and not self._client.is_closed():
            log.warning("Discord: the session did not begin within %.0f s", READY_TIMEOUT_S)
            self._told_of = socket
            self._let_run(socket.close(code=4000))

    def _next_pause(self) -> float:
        """Return the seconds to wait before the next attempt.

        Raises
        ------
        _StartOver, _TooSoon
            Instead of an attempt.
        """
        now = time.monotonic()
        fresh, self._fresh = self._fresh, False
        if self._lost_at is None:
            self._lost_at = now
        if self._proven_at is not None:
            self._fruitless = 0
            if now - self._proven_at >= LASTED_S:
                self._attempts = self._identifies = 0
        elif self._opened:
            self._fruitless += 1
        self._opened, self._proven_at = False, None
        if self._fruitless >= FRUITLESS and not fresh:
            self._fruitless = 0
            raise _StartOver
        is_spent = self._identifies >= FREE_IDENTIFIES
        gap_s = IDENTIFY_GAP_S if is_spent else _pause_s(self._attempts - 2, self._longest_pause_s)
        wait_s = max(self._dialled_at + gap_s - now, 0.0)
        if is_spent and wait_s > LAST_PAUSE_S:
            # discord.py waits no longer than a minute for a connection.
            raise _TooSoon(wait_s)
        self._attempts += 1
        return wait_s

    def _as_reconnect(self) -> Exception:
        """Return the exception that makes discord.py try again at once, with the session that it has."""
        websocket: DiscordWebSocket | None = self._client.ws
        if websocket is None:
            return DiscordAway()
        if self._failed_dials >= FRUITLESS:
            # The gateway for resuming may be gone for good.
            websocket.gateway = DiscordWebSocket.DEFAULT_GATEWAY
        return ReconnectWebSocket(websocket.shard_id, resume=websocket.session_id is not None)

    def _count_identifies(self) -> None:
        hooks = self._client._connection.hooks
        before = hooks["before_identify"]

        async def before_identify(shard_id: int | None, *, initial: bool = False) -> None:
            await before(shard_id, initial=initial)
            self._identifies += 1

        hooks["before_identify"] = before_identify

    def _guard_events(self) -> None:
        """Drop an event that discord.py cannot read, instead of the connection."""
        parsers = self._client._connection.parsers
        for name, parse in list(parsers.items()):
            # Without READY there is no session: an unreadable one ends the connection.
            parsers[name] = self._proving(parse) if name in ("READY", "RESUMED") else _guarded(name, parse)

    def _proving(self, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def proving(data: Any) -> Any:
            result = parse(data)
            offline_s = self.offline_s
            if self.why and offline_s is not None:
                log.info("connected to Discord again, after %.0f s", offline_s)
            self._proven_at, self._lost_at, self.why, self._troubles = time.monotonic(), None, "", 0
            return result

        return proving

    def _note(self, error: Exception, doing: str) -> None:
        """Remember and log a trouble; in a long outage ever more seldom."""
        self.why = f"could not {doing}: {_said(error)}"[:300]
        self._troubles += 1
        is_power_of_two = self._troubles & (self._troubles - 1) == 0
        log.log(logging.WARNING if is_power_of_two else logging.DEBUG, "Discord: %s", self.why)
        if self._troubles == 1:
            self._on_trouble(self.why)

    # The end of a connection

    def _hang_up(self) -> None:
        """Let go of the connection that ended, whatever state it is in; its listeners hear that it is gone."""
        socket, self._socket = self._socket, None
        if socket is not None:
            beat = _beats.pop(socket, None)
            if beat is not None:
                beat.stop()
            self._let_run(socket.close(code=4000))
        self._client.ws = None  # type: ignore[assignment]
        if self._lost_at is None and not self._client.is_closed():
            self._lost_at = time.monotonic()
            self._client.dispatch("disconnect")

    async def close(self) -> None:
        """Close the client, and end its waits."""
        closing = self._let_run(self._close())
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
        self._closed.set()
        if not closing.done() and self._socket is not None:
            connection = self._socket._response.connection
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
            await asyncio.wait({closing}, timeout=END_S)
        if closing.done():
            closing.result()

    def _let_run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_retrieve)
        return task

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until the client is closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.01)):
                await self._closed.wait()

    async def _until_closed(self, work: Awaitable[None], begun: asyncio.Future[None] | None = None) -> None:
        """Await ``work``; it is cancelled when the client is closed, or when nothing has ``begun`` for a minute."""
        task, closed = asyncio.ensure_future(work), asyncio.ensure_future(self._closed.wait())
        task.add_done_callback(_retrieve)
        try:
            if begun is not None:
                first: set[asyncio.Future[Any]] = {task, closed, begun}
                await asyncio.wait(first, timeout=LOGIN_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if begun is None or begun.done():
                await asyncio.wait({task, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and self._closed.is_set():
                await asyncio.wait({task}, timeout=END_S)
            if task.done():
                task.result()
            elif not self._closed.is_set():
                raise TimeoutError(f"no answer within {LOGIN_TIMEOUT_S:.0f} s")
        finally:
            closed.cancel()
            # More than once: discord.py uses wait_for, which in Python 3.11 may swallow a cancellation (gh-86296).
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=END_S)


def _retrieve(ended: asyncio.Future[Any]) -> None:
    """Retrieve an exception, so that asyncio does not log it as never retrieved."""
    if not ended.cancelled():
        ended.exception()


def _longest_pause_s(error: Exception) -> float | None:
    """Return the longest pause after this error; None for the usual one."""
    return UNREACHABLE_PAUSE_S if isinstance(error, aiohttp.ClientConnectorError) else None


def _pause_s(attempt: int, longest_s: float | None = None) -> float:
    """Return the pause after ``attempt`` failures (from 0), with jitter; none before that."""
    if attempt < 0:
        return 0.0
    longest_s = LAST_PAUSE_S if longest_s is None else longest_s
    return min(FIRST_PAUSE_S * 2.0 ** min(attempt, 30), longest_s) * random.uniform(0.75, 1.25)  # noqa: S311


def _said(error: Exception) -> str:
    """Return an error in words for a log."""
    if isinstance(error, AttributeError) and error.obj is None and error.name == "sequence":
        # discord.py asks a connection that it never had.
        return "the gateway closed the connection before it had begun"
    said, name = " ".join(str(error).split()), type(error).__name__
    if isinstance(error, _TooSoon):
        return said
    if isinstance(error, (discord.DiscordException, OSError, aiohttp.ClientError)):
        return said or name
    return f"the answer cannot be read ({name}: {said})"


def _is_refusal(error: Exception) -> bool:
    """Tell whether Discord refuses the token. A page with status 401 is of something before Discord."""
    if not isinstance(error, discord.LoginFailure):
        return False
    cause = error.__cause__
    if not isinstance(cause, discord.HTTPException):
        return True
    is_json = cause.response.headers.get("Content-Type", "").startswith("application/json")
    return is_json and not cause.text.lstrip().startswith("<")


def _guarded(name: str, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def guarded(data: Any) -> Any:
        try:
            return parse(data)
        except Exception:
            log.exception("an event of Discord cannot be read, and is dropped: %s", name)
            return None

    return guarded


_beats: WeakKeyDictionary[aiohttp.ClientWebSocketResponse, KeepAliveHandler] = WeakKeyDictionary()
"""The heartbeat's thread of each connection; one whose greeting was bad would be left running."""


class _BoundedKeepAlive(KeepAliveHandler):
    """Beats at an interval that makes sense, whatever the greeting asks for."""

    def __init__(self, *args: Any, ws: DiscordWebSocket, interval: float | None = None, **options: Any) -> None:
        # "not <" also for what is no number.
        wanted = _MOST_BEAT_S if interval is None or not interval < _MOST_BEAT_S else max(interval, _LEAST_BEAT_S)
        super().__init__(*args, ws=ws, interval=wanted, **options)
        before = _beats.get(ws.socket)
        if before is not None:
            before.stop()
        _beats[ws.socket] = self


class _BoundedBackoff(ExponentialBackoff[Any]):
    """discord.py's own, which otherwise waits for up to 17 minutes."""

    def delay(self) -> float:  # type: ignore[override]
        return float(min(super().delay(), LAST_PAUSE_S))


def _bound_waits() -> None:
    """Bound what discord.py waits by itself, for all clients of the process: it offers no option for it."""
    discord.client.ExponentialBackoff = _BoundedBackoff  # type: ignore[attr-defined]
    discord.shard.ExponentialBackoff = _BoundedBackoff  # type: ignore[attr-defined]
    discord.gateway.KeepAliveHandler = _BoundedKeepAlive  # type: ignore[misc]
