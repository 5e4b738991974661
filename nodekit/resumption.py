"""Starting a discord.py client where its predecessor ended: RESUME instead of IDENTIFY, without asking REST again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import yarl
from discord import Client, ConnectionClosed
from discord.gateway import DiscordWebSocket, ReconnectWebSocket
from discord.http import Route
from discord.state import ConnectionState

from nodekit.gateway_session import GatewaySession, SavedSession

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 0.1
REMEMBERED = ("/users/@me", "/oauth2/applications/@me")
"""What ``Client.login`` asks; a token that is no longer valid is refused by the gateway just as well."""


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
        """Events that the predecessor has seen are only putting the cache together: nobody is told of them."""
        self._answers: dict[str, Any] = {}

    @property
    def successor_expected(self) -> bool:
        """Whether another process takes over when this one ends."""
        return self._session.successor_expected

    def take(self, raw: str | bytes) -> None:
        """Take one gateway payload."""
        if self._session.take(raw):
            for path, answer in self._answers.items():
                self._session.keep_answer(path, answer)

    def touch(self) -> None:
        """Say that the session is alive."""
        self._session.touch()

    def forget(self) -> None:
        """Leave nothing to resume."""
        self._session.forget()

    @contextmanager
    def answering(self, client: Client) -> Iterator[None]:
        """Answer what ``Client.login`` asks from what the predecessor was told; ask, and remember, what it was not."""
        ask = client.http.request
        known = self.saved.answers if self.saved is not None else {}

        async def request(route: Route, **options: Any) -> Any:
            if route.method != "GET" or route.path not in REMEMBERED:
                return await ask(route, **options)
            answer = known.get(route.path) or await ask(route, **options)
            self._answers[route.path] = answer
            return answer

        client.http.request = request  # type: ignore[method-assign]
        try:
            yield
        finally:
            del client.http.request

    def begin(self, client: Client) -> None:
        """Let the next connection resume the predecessor's session, and put its cache together."""
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
        # All guilds are here already: READY need not wait for more of them.
        client.loop.call_later(patience, setattr, state, "guild_ready_timeout", patience)

    def _resume_next(self, saved: SavedSession) -> None:
        """Let the next gateway connection of this process send RESUME, where discord.py would send IDENTIFY."""
        original = DiscordWebSocket.__dict__["from_client"]

        async def from_client(client: Client, **options: Any) -> DiscordWebSocket:
            DiscordWebSocket.from_client = original  # type: ignore[method-assign]
            if options.get("shard_id") is not None:
                # One file holds one session; which shard's it was nobody knows.
                return await DiscordWebSocket.from_client(client, **options)
            self.saved = None
            session: dict[str, Any] = {
                "session": saved.session_id,
                "sequence": saved.sequence,
                "gateway": yarl.URL(saved.resume_url),
                "resume": True,
            }
            try:
                websocket = await DiscordWebSocket.from_client(client, **{**options, "initial": False, **session})
            except (OSError, aiohttp.ClientError, ConnectionClosed, ReconnectWebSocket) as error:
                log.info("the session cannot be resumed (%s), a new one begins", type(error).__name__)
                return await DiscordWebSocket.from_client(client, **options)
            # Only now: a client that fetches the members of its guilds asks for them through its websocket.
            client.ws = websocket
            self._replay(client, saved)
            # Listeners learn that the bot is ready before they hear what was missed. Bounded: a bot that asks for
            # members at its start needs the very events that wait here.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.wait_until_ready(), READY_TIMEOUT_S)
            return websocket

        DiscordWebSocket.from_client = from_client  # type: ignore[method-assign]


def _with_nobody_else(guild: dict[str, Any], state: ConnectionState[Any]) -> dict[str, Any]:
    """Return a guild for a client that fetches all members: without those of then, so that it fetches those of now.

    Who joined and left is not kept with the session: it would be most of it.
    """
    if not state._chunk_guilds:
        return guild
    members = [member for member in guild.get("members", ()) if member["user"]["id"] == str(state.self_id)]
    # With presences, discord.py fetches the members of large guilds alone.
    return {**guild, "members": members, "large": True}
