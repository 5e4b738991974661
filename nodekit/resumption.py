"""Continues the session of a discord.py client's predecessor: RESUME instead of IDENTIFY, without REST requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import yarl
from discord import Client, ConnectionClosed, Guild
from discord.gateway import DiscordWebSocket, ReconnectWebSocket
from discord.http import Route
from discord.state import ConnectionState

from nodekit.connection_keeper import DiscordAway
from nodekit.gateway_session import GatewaySession, Identification, SavedSession

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 0.1
RESUME_URL_ATTEMPTS = 3
"""After these the default gateway is asked: the one for resuming may be gone for good."""
BROKEN_ATTEMPTS = 3
"""Connections that may break before a RESUME was sent until a new session begins."""
REMEMBERED = ("/users/@me", "/oauth2/applications/@me")
"""The REST requests of ``Client.login``; the gateway also refuses a token that is no longer valid."""


class Resumption:
    """The session of one client, across processes.

    Parameters
    ----------
    session
        The shared file.
    """

    def __init__(self, session: GatewaySession) -> None:
        self._session = session
        self.saved: SavedSession | None = session.saved()
        self.replaying = False
        """Whether the predecessor's events are being replayed to build the cache; listeners do not get those."""
        self.replayed = False
        """Whether the cache was built from the predecessor's events."""
        self._answers: dict[str, Any] = {}

    @property
    def successor_expected(self) -> bool:
        """Whether another process takes over when this one ends."""
        return self._session.successor_expected

    def take(self, raw: str | bytes) -> None:
        """Record one gateway payload."""
        if self._session.take(raw):
            for path, answer in self._answers.items():
                self._session.keep_answer(path, answer)

    def touch(self) -> None:
        """Update the time of the session's last activity."""
        self._session.touch()

    def forget(self) -> None:
        """Invalidate the session: there is nothing to resume."""
        self._session.forget()

    @contextmanager
    def answering(self, client: Client) -> Iterator[None]:
        """Serve the requests of ``Client.login`` from the predecessor's cache; send and cache those not in it.

        Each answer is served once: who asks again could not use it.
        """
        ask = client.http.request
        known = dict(self.saved.answers) if self.saved is not None else {}

        async def request(route: Route, **options: Any) -> Any:
            if route.method != "GET" or route.path not in REMEMBERED:
                return await ask(route, **options)
            answer = known.pop(route.path, None) or await ask(route, **options)
            self._answers[route.path] = answer
            return answer

        client.http.request = request  # type: ignore[method-assign]
        try:
            yield
        finally:
            del client.http.request

    def begin(self, client: Client) -> None:
        """Let the next connection resume the predecessor's session, and put its cache together.

        Not if this client asks for something else than the session was begun with: Discord would go on sending what it
        sent before. https://discord.com/developers/docs/events/gateway#gateway-intents
        """
        asked = _identification(client)
        if self.saved is not None and self.saved.identification != asked:
            log.info(
                "the intents or the shard changed (%s to %s): a new session begins", self.saved.identification, asked
            )
            self._session.forget()
            self.saved = None
        self._session.begin_as(asked)
        if self.saved is not None:
            self._resume_next(self.saved)

    def _replay(self, client: Client, saved: SavedSession) -> None:
        """Put the predecessor's cache together."""
        state = client._connection
        patience, state.guild_ready_timeout = state.guild_ready_timeout, 0.001
        self.replaying = True
        try:
            for event in saved.events:
                parse = state.parsers.get(event["t"])
                if parse is not None:
                    parse(_with_nobody_else(event["d"], state) if event["t"] == "GUILD_CREATE" else event["d"])
        finally:
            self.replaying = False
            self.replayed = True
        # All guilds are in the cache: READY need not wait for more.
        client.loop.call_later(patience, setattr, state, "guild_ready_timeout", patience)

    def count_members(self, guild: Guild) -> None:
        """Correct the number of a guild's members, once all were fetched: who came and left is not kept with it."""
        state: ConnectionState[Any] = guild._state
        pending = {request.guild_id for request in state._chunk_requests.values()}
        if self.replayed and state._chunk_guilds and guild.id not in pending:
            guild._member_count = len(guild._members)

    def _resume_next(self, saved: SavedSession, attempt: int = 0, broken: int = 0) -> None:
        """Make the next gateway connection of this process send RESUME instead of IDENTIFY.

        Parameters
        ----------
        attempt
            How many connections were tried.
        broken
            How many of them broke before the RESUME was sent.
        """
        original = DiscordWebSocket.__dict__["from_client"]

        async def from_client(client: Client, **options: Any) -> DiscordWebSocket:
            DiscordWebSocket.from_client = original  # type: ignore[method-assign]
            if options.get("shard_id") is not None:
                # The file has one session, and it is not known of which shard.
                return await DiscordWebSocket.from_client(client, **options)
            self.saved = None
            session: dict[str, Any] = {"session": saved.session_id, "sequence": saved.sequence, "resume": True}
            if attempt < RESUME_URL_ATTEMPTS:
                session["gateway"] = yarl.URL(saved.resume_url)
            try:
                websocket = await DiscordWebSocket.from_client(client, **{**options, "initial": False, **session})
            except DiscordAway:
                # The session outlives an outage: the next connection resumes it.
                self.saved = saved
                self._resume_next(saved, attempt + 1)
                raise
            except (OSError, aiohttp.ClientError, ConnectionClosed, ReconnectWebSocket) as error:
                if broken < BROKEN_ATTEMPTS and _leaves_session(error):
                    self.saved = saved
                    self._resume_next(saved, attempt + 1, broken + 1)
                    raise DiscordAway from error
                log.info("the session cannot be resumed (%s), a new one begins", type(error).__name__)
                return await DiscordWebSocket.from_client(client, **options)
            # Only now: a client that fetches the members of its guilds asks for them through its websocket.
            client.ws = websocket
            self._replay(client, saved)
            # Listeners learn that the bot is ready before they hear what was missed. Bounded: a bot that asks for
            # members at its start needs the very events that wait here.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READY_TIMEOUT_S):
                    await client.wait_until_ready()
            return websocket

        DiscordWebSocket.from_client = from_client  # type: ignore[method-assign]


def _identification(client: Client) -> Identification:
    """Return what a client puts into its IDENTIFY."""
    shard_id, shard_count = client.shard_id, client.shard_count
    shard = None if shard_id is None or shard_count is None else (shard_id, shard_count)
    return Identification(client.intents.value, shard)


def _leaves_session(error: Exception) -> bool:
    """Tell whether a session outlives this end of a connection: the line broke, and Discord said nothing of it."""
    if isinstance(error, ConnectionClosed):
        return False
    return not isinstance(error, ReconnectWebSocket) or error.resume


def _with_nobody_else(guild: dict[str, Any], state: ConnectionState[Any]) -> dict[str, Any]:
    """Return a guild for a client that fetches all members: without those of then, so that it fetches those of now.

    Who joined and left is not kept with the session: it would be most of it.
    """
    if not state._chunk_guilds:
        return guild
    members = [member for member in guild.get("members", ()) if member["user"]["id"] == str(state.self_id)]
    # With presences, discord.py fetches the members of large guilds alone.
    return {**guild, "members": members, "large": True}
