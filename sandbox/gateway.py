"""The gateway, v10: https://discord.com/developers/docs/events/gateway. Sessions, heartbeats, resumes, close codes."""

from __future__ import annotations

import asyncio
import functools
import operator
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from aiohttp import WSMsgType, web

from sandbox import intents, payloads, permissions
from sandbox.bodies import Snowflake
from sandbox.events import Event
from sandbox.records import BotAccount
from sandbox.sparse import thinned
from sandbox.world import World, sees_content

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, VOICE, RESUME, RECONNECT, REQUEST_MEMBERS, INVALID, HELLO, ACK = (
    0,
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    9,
    10,
    11,
)
MAX_PAYLOAD_BYTES = 4096
MAX_EVENTS_PER_MINUTE = 120
REPLAY_EVENTS = 500
RESUME_WINDOW_S = 300.0
ENDING_CODES = (1000, 1001)
"""With these a client ends its session, too: docs/events/gateway#initiating-a-disconnect."""
DAILY_IDENTIFIES = 1000
MEMBERS_PER_CHUNK = 1000
ROUND_TRIP_S = 0.02
"""Delay of a heartbeat's acknowledgement, as on a fast real network."""


class MembersRequest(msgspec.Struct):
    """REQUEST_GUILD_MEMBERS: by name prefix or by ids."""

    guild_id: Snowflake
    query: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=0)] = 0
    user_ids: list[Snowflake] | Snowflake | None = None
    nonce: str | None = None


@dataclass(slots=True, eq=False)
class Session:
    """One session; it outlives its connection, so that it can be resumed."""

    id: str
    account: BotAccount
    intents: int
    sequence: int = 0
    replay: deque[tuple[int, str, bytes]] = field(default_factory=lambda: deque(maxlen=REPLAY_EVENTS))
    """Sequence, name and data. The data is the same object in all sessions: hundreds of bots see one message."""
    connection: Connection | None = None
    lost_at: float | None = None
    withhold_acks: bool = False


@dataclass(frozen=True, slots=True)
class Raw:
    """A frame that is sent as it is: bytes as binary and not compressed, text as text."""

    data: bytes | str


Frame = bytes | Raw | int
"""A payload, a frame to send as it is, or a close code; 1006 means without a close frame."""


class Connection:
    """One WebSocket of a bot.

    Parameters
    ----------
    change
        Returns the frame that is sent for a payload.
    """

    def __init__(
        self, socket: web.WebSocketResponse, *, compress: bool, change: Callable[[bytes], Frame] = lambda sent: sent
    ) -> None:
        self._socket = socket
        self._change = change
        # Small windows: many bots connect, and each keeps its compressor.
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 4) if compress else None
        self._queue: asyncio.Queue[Frame] = asyncio.Queue()
        self.session: Session | None = None
        self.heard_at = 0.0
        self.received: deque[float] = deque()

    def send(self, payload: bytes) -> None:
        """Queue a payload."""
        self._queue.put_nowait(self._change(payload))

    def send_frame(self, frame: Frame) -> None:
        """Queue a frame, however wrong it is."""
        self._queue.put_nowait(frame)

    def send_op(self, op: int, data: Any = None) -> None:
        """Queue a payload that is not a dispatch."""
        self.send(msgspec.json.encode({"op": op, "d": data, "s": None, "t": None}))

    def close(self, code: int) -> None:
        """Queue a close; 1006 means without a close frame."""
        self._queue.put_nowait(code)

    async def write_forever(self) -> None:
        """Send what is queued, until a close is."""
        while True:
            item = await self._queue.get()
            if isinstance(item, int):
                await self._close(item)
                return
            if isinstance(item, Raw):
                await self._send_raw(item.data)
            elif self._deflate is not None:
                await self._socket.send_bytes(self._deflate.compress(item) + self._deflate.flush(zlib.Z_SYNC_FLUSH))
            else:
                await self._socket.send_str(item.decode("utf-8", "replace"))

    async def _send_raw(self, data: bytes | str) -> None:
        if isinstance(data, bytes):
            await self._socket.send_bytes(data)
        else:
            await self._socket.send_str(data)

    async def _close(self, code: int) -> None:
        if code == 1006:
            # A lost connection: no close frame.
            transport = self._socket._req.transport if self._socket._req is not None else None
            if transport is not None:
                transport.abort()
            return
        await self._socket.close(code=code)


class Gateway:
    """Serve the gateway.

    Parameters
    ----------
    heartbeat_interval_s
        What HELLO asks for; a client that is silent for twice as long is dropped.
    url
        Returns the public address, for READY's ``resume_gateway_url``.
    """

    def __init__(self, world: World, *, url: Callable[[], str], heartbeat_interval_s: float = 41.25) -> None:
        self._world = world
        self._url = url
        self._interval_s = heartbeat_interval_s
        self._sessions: dict[str, Session] = {}
        self._by_bot: dict[int, set[Session]] = {}
        self._connections: set[Connection] = set()
        self._refusals: dict[int, list[int]] = {}
        self._identified: dict[int, deque[float]] = {}
        self._changed = asyncio.Event()
        self.sparse = False
        """Leave out what Discord's documentation does not require."""
        self.change: Callable[[bytes], Frame] | None = None
        """Returns what is sent for a payload."""
        self.refusals: list[int | None] = []
        """Statuses for the next WebSockets; None breaks the connection."""
        self.connections_seen = 0
        """WebSockets asked for, refused ones included."""
        self.identifies: dict[int, int] = {}
        """IDENTIFYs seen, by bot."""
        self.resumes: dict[int, int] = {}
        """Successful RESUMEs, by bot."""
        world.listeners.append(self.dispatch)

    # Dispatching

    def dispatch(self, event: Event) -> None:
        """Send an event to its sessions; each variant is serialised once."""
        rendered: dict[bool, bytes] = {}
        for bot_id in self._bots_near(event):
            for session in self._by_bot.get(bot_id, ()):
                if self._gets(session, event):
                    full = self._with_content(session, event)
                    if full not in rendered:
                        rendered[full] = msgspec.json.encode(_stripped(event) if not full else event.data)
                    self._send(session, event.name, rendered[full])

    def _bots_near(self, event: Event) -> Iterable[int]:
        """Return the bots that may get an event, so that bots of other guilds cost nothing."""
        if event.only_for is not None:
            return (event.only_for,)
        if event.guild_id is not None:
            guild = self._world.guilds.get(event.guild_id)
            return self._by_bot.keys() & guild.members.keys() if guild is not None else ()
        channel = self._world.channels.get(event.channel_id or 0)
        return [user.id for user in channel.recipients if user.id in self._by_bot] if channel is not None else ()

    def _gets(self, session: Session, event: Event) -> bool:
        needed = intents.needed_for(event.name, in_guild=event.guild_id is not None)
        if event.only_for is None and needed & session.intents != needed:
            return False
        if event.only_for is not None:
            return needed & session.intents == needed
        if event.channel_id is not None:
            return self._world.can_see(session.account, event.channel_id)
        guild = self._world.guilds.get(event.guild_id or 0)
        if guild is None or session.account.id not in guild.members:
            return False
        return permissions.in_guild(guild, session.account.id) & event.needs == event.needs

    def _with_content(self, session: Session, event: Event) -> bool:
        if event.name not in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
            return True
        if session.intents & intents.MESSAGE_CONTENT:
            return True
        channel = self._world.channels.get(event.channel_id or 0)
        message = channel.messages.get(int(event.data["id"])) if channel is not None else None
        if channel is None or message is None:
            return False
        account = session.account
        return sees_content(BotAccount(account.id, account.username), channel, message)

    def _send(self, session: Session, name: str, data: bytes) -> None:
        if self.sparse:
            data = msgspec.json.encode(thinned(msgspec.json.decode(data)))
        session.sequence += 1
        session.replay.append((session.sequence, name, data))
        if session.connection is not None:
            session.connection.send(_dispatch(session.sequence, name, data))

    # Serving

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket."""
        self.connections_seen += 1
        if self.refusals:
            return _refused(request, self.refusals.pop(0))
        socket = web.WebSocketResponse(max_msg_size=1 << 20, compress=False)
        try:
            await socket.prepare(request)
        except ConnectionResetError:
            return web.Response(status=400)  # The client has already disconnected.
        query = request.query
        if query.get("encoding", "json") != "json":
            await socket.close(code=4002)
            return socket
        compress = query.get("compress") == "zlib-stream"
        connection = Connection(socket, compress=compress, change=self._spoilt)
        if query.get("v") not in ("9", "10"):
            await socket.close(code=4012)
            return socket
        self._connections.add(connection)
        connection.heard_at = self._world.clock()
        writer = asyncio.create_task(connection.write_forever())
        connection.send_op(HELLO, {"heartbeat_interval": int(self._interval_s * 1000)})
        try:
            await self._read(socket, connection, writer)
        finally:
            self._connections.discard(connection)
            self._detach(connection)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket

    def _spoilt(self, payload: bytes) -> Frame:
        return payload if self.change is None else self.change(payload)

    async def _read(self, socket: web.WebSocketResponse, connection: Connection, writer: asyncio.Task[None]) -> None:
        while True:
            try:
                message = await socket.receive(timeout=self._interval_s * 2)
            except TimeoutError:
                connection.close(4009)
                break
            if message.type is WSMsgType.CLOSE and message.data in ENDING_CODES and connection.session is not None:
                self._forget(connection.session)
            if message.type is not WSMsgType.TEXT and message.type is not WSMsgType.BINARY:
                return
            code = self._take(connection, message.data)
            if code is not None:
                connection.close(code)
                break
        await asyncio.wait({writer}, timeout=5)

    def _take(self, connection: Connection, raw: str | bytes) -> int | None:
        """Handle one payload; returns a close code if it is invalid."""
        now = self._world.clock()
        connection.heard_at = now
        connection.received.append(now)
        while connection.received[0] < now - 60:
            connection.received.popleft()
        if len(connection.received) > MAX_EVENTS_PER_MINUTE:
            return 4008
        if len(raw) > MAX_PAYLOAD_BYTES:
            return 4002
        try:
            payload = msgspec.json.decode(raw, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return 4002
        return self._act(connection, payload.get("op"), payload.get("d"))

    def _act(self, connection: Connection, op: Any, data: Any) -> int | None:
        if op == HEARTBEAT:
            if connection.session is None or not connection.session.withhold_acks:
                # Delayed: a client that gets the ACK before it has stored the send time computes a wrong latency.
                asyncio.get_running_loop().call_later(ROUND_TRIP_S, connection.send_op, ACK)
            return None
        if op in (IDENTIFY, RESUME):
            if connection.session is not None:
                return 4005
            if not isinstance(data, dict):
                return 4002
            return self._identify(connection, data) if op == IDENTIFY else self._resume(connection, data)
        if op not in (PRESENCE, VOICE, REQUEST_MEMBERS):
            return 4001
        if connection.session is None:
            return 4003
        if op == REQUEST_MEMBERS:
            try:
                self._send_members(connection.session, msgspec.convert(data, MembersRequest))
            except msgspec.ValidationError:
                return 4002
        return None

    def _identify(self, connection: Connection, data: dict[str, Any]) -> int | None:
        account = self._world.account_by_token(str(data.get("token", "")).removeprefix("Bot "))
        if account is None:
            return 4004
        wanted = data.get("intents")
        if type(wanted) is not int or not 0 <= wanted < intents.HIGHEST:
            return 4013
        shard = data.get("shard")
        if not _is_shard(shard):
            return 4010
        self.identifies[account.id] = self.identifies.get(account.id, 0) + 1
        if not self._within_daily_limit(account):
            return 4004
        if self._refusals.get(account.id):
            return self._refusals[account.id].pop(0)
        if wanted & intents.PRIVILEGED & ~account.privileged_intents:
            return 4014
        session = Session(secrets.token_hex(16), account, wanted)
        self._sessions[session.id] = session
        self._by_bot.setdefault(account.id, set()).add(session)
        self._attach(connection, session)
        self._send(session, "READY", msgspec.json.encode(self._ready(session, shard)))
        if wanted & intents.GUILDS:
            for guild in self._world.guilds_of(account.id):
                self._send(session, "GUILD_CREATE", msgspec.json.encode(self._world.guild_for_gateway(guild, account)))
        return None

    def _within_daily_limit(self, account: BotAccount) -> bool:
        """Count an IDENTIFY; above 1,000 a day, Discord resets the token."""
        now = self._world.clock()
        seen = self._identified.setdefault(account.id, deque())
        seen.append(now)
        while seen[0] < now - 86_400:
            seen.popleft()
        if len(seen) <= DAILY_IDENTIFIES:
            return True
        self._world.set_token(account)
        return False

    def _ready(self, session: Session, shard: Any) -> dict[str, Any]:
        account = session.account
        return {
            "v": 10,
            "user": payloads.own_user(account),
            "session_id": session.id,
            "resume_gateway_url": self._url(),
            "guilds": [{"id": str(g.id), "unavailable": True} for g in self._world.guilds_of(account.id)],
            "private_channels": [],
            "application": {"id": str(account.id), "flags": 0},
            "relationships": [],
            "presences": [],
            "user_settings": {},
            "session_type": "normal",
            **({"shard": shard} if shard is not None else {}),
        }

    def _resume(self, connection: Connection, data: dict[str, Any]) -> int | None:
        account = self._world.account_by_token(str(data.get("token", "")).removeprefix("Bot "))
        if account is None:
            return 4004
        session = self._sessions.get(str(data.get("session_id", "")))
        expired = session is not None and session.lost_at is not None
        expired = expired and self._world.clock() - (session.lost_at or 0) > RESUME_WINDOW_S if session else True
        if session is None or session.account is not account or expired:
            connection.send_op(INVALID, data=False)
            return None
        sequence = data.get("seq")
        if not isinstance(sequence, int) or not 0 <= sequence <= session.sequence:
            return 4007
        missed = [_dispatch(number, name, told) for number, name, told in session.replay if number > sequence]
        if len(missed) < session.sequence - sequence:
            connection.send_op(INVALID, data=False)
            return None
        if session.connection is not None:
            session.connection.close(4000)
        self._attach(connection, session)
        self.resumes[account.id] = self.resumes.get(account.id, 0) + 1
        for payload in missed:
            connection.send(payload)
        self._send(session, "RESUMED", b"{}")
        return None

    def _attach(self, connection: Connection, session: Session) -> None:
        connection.session = session
        session.connection, session.lost_at = connection, None
        self._notify()

    def _detach(self, connection: Connection) -> None:
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection, session.lost_at = None, self._world.clock()
            self._forget_old_sessions(session.account)
        self._notify()

    def _forget_old_sessions(self, account: BotAccount) -> None:
        """Keep only a bot's latest lost session for resuming: a crash loop must not fill the memory."""
        lost = [session for session in self._by_bot.get(account.id, ()) if session.connection is None]
        lost.sort(key=lambda session: session.lost_at or 0)
        for session in lost[:-1]:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        self._by_bot.get(session.account.id, set()).discard(session)

    def forget_sessions(self, account: BotAccount) -> None:
        """Make a bot's sessions unknown to RESUME."""
        for session in self._by_bot.get(account.id, ()):
            self._sessions.pop(session.id, None)

    def _send_members(self, session: Session, request: MembersRequest) -> None:
        guild = self._world.guilds.get(int(request.guild_id))
        if guild is None or session.account.id not in guild.members:
            return
        wanted = request.user_ids
        ids = {int(i) for i in (wanted if isinstance(wanted, list) else [wanted])} if wanted is not None else None
        query = (request.query or "").lower()
        everybody = ids is None and not query and not request.limit
        if everybody and not session.intents & intents.GUILD_MEMBERS:
            return
        found = [
            payloads.member(member)
            for user_id, member in guild.members.items()
            if (ids is None or user_id in ids) and member.user.username.lower().startswith(query)
        ]
        limit = len(found) if everybody else min(request.limit or MEMBERS_PER_CHUNK, MEMBERS_PER_CHUNK)
        chunks = [found[i : i + MEMBERS_PER_CHUNK] for i in range(0, limit, MEMBERS_PER_CHUNK)] or [[]]
        for index, chunk in enumerate(chunks):
            body = {
                "guild_id": str(guild.id),
                "members": chunk[:limit],
                "chunk_index": index,
                "chunk_count": len(chunks),
                "not_found": [str(i) for i in ids or () if i not in guild.members],
                "nonce": request.nonce,
            }
            self._send(session, "GUILD_MEMBERS_CHUNK", msgspec.json.encode(body))

    # For faults and tests

    def is_connected(self, account: BotAccount) -> bool:
        """Tell whether a bot has a connected session."""
        return any(session.connection is not None for session in self._by_bot.get(account.id, ()))

    def intents_of(self, account: BotAccount) -> int:
        """Return the intents of a bot's connected sessions; 0 when there is none."""
        connected = (session for session in self._by_bot.get(account.id, ()) if session.connection is not None)
        return functools.reduce(operator.or_, (session.intents for session in connected), 0)

    async def wait_connected(self, account: BotAccount, *, connected: bool = True, timeout_s: float = 10.0) -> None:
        """Wait until a bot has a connected session, or has none.

        Raises
        ------
        TimeoutError
        """

        async def wait() -> None:
            while self.is_connected(account) is not connected:
                await self._changed.wait()

        await asyncio.wait_for(wait(), timeout_s)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _connections_of(self, account: BotAccount | None) -> list[Connection]:
        return [
            connection
            for connection in self._connections
            if account is None or (connection.session is not None and connection.session.account is account)
        ]

    async def drop(self, account: BotAccount | None, code: int) -> int:
        """Close connections with a code; returns how many."""
        dropped = self._connections_of(account)
        for connection in dropped:
            connection.close(code)
        return len(dropped)

    async def ask_reconnect(self, account: BotAccount) -> None:
        """Send opcode 7 to a bot."""
        for connection in self._connections_of(account):
            connection.send_op(RECONNECT)

    async def invalidate(self, account: BotAccount, *, resumable: bool) -> None:
        """Send opcode 9 to a bot; the session is gone unless it is resumable."""
        for connection in self._connections_of(account):
            if not resumable and connection.session is not None:
                self._forget(connection.session)
                connection.session = None
            connection.send_op(INVALID, resumable)

    def refuse_identify(self, account: BotAccount, code: int, count: int) -> None:
        """Close the bot's next IDENTIFYs with a code."""
        self._refusals.setdefault(account.id, []).extend([code] * count)

    def send_frame(self, account: BotAccount, frame: Frame) -> None:
        """Send a frame to a bot, however wrong it is."""
        for connection in self._connections_of(account):
            connection.send_frame(frame)

    def withhold_acks(self, account: BotAccount, *, withhold: bool) -> None:
        """Stop or resume acknowledging a bot's heartbeats."""
        for session in self._by_bot.get(account.id, ()):
            session.withhold_acks = withhold

    async def close(self) -> None:
        """Close every connection, like a server that shuts down."""
        for connection in list(self._connections):
            connection.close(1001)


def _refused(request: web.Request, status: int | None) -> web.Response:
    """Refuse a WebSocket with a status, or by breaking the connection."""
    if status is None and request.transport is not None:
        request.transport.abort()
    return web.Response(status=status or 503, text="<html><body>upstream unavailable</body></html>")


def _dispatch(sequence: int, name: str, data: bytes) -> bytes:
    """Return a dispatch payload with data that is already serialised."""
    return b'{"op":0,"t":"%s","s":%d,"d":%s}' % (name.encode(), sequence, data)


def _is_shard(shard: Any) -> bool:
    """Tell whether IDENTIFY's ``shard`` is None or [id, count]."""
    if shard is None:
        return True
    if not isinstance(shard, list) or [type(part) for part in shard] != [int, int]:
        return False
    number, count = shard
    return bool(0 <= number < count)


def _stripped(event: Event) -> dict[str, Any]:
    data = dict(event.data)
    payloads.strip_content(data)
    return data
