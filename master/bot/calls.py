"""Calls to Discord with a time-out, repeated where that does no harm, and with errors that have a name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import discord
from discord.http import HTTPClient

from master.bot.failures import away, named_failure
from master.services.core.errors import DiscordUnavailable

TIMEOUT_S = 20.0
"""For one call with its repetitions. discord.py waits on rate limits in it."""
_PAUSES_S = (0.0, 0.5, 2.0)
"""Before each attempt. The first repetition meets a kept-alive connection that Discord closed meanwhile."""
_MAX_LEFT_BEHIND = 64

T = TypeVar("T")


class Calls:
    """Make calls through whichever client is connected now.

    Parameters
    ----------
    client
        Returns the client; None while there is none.
    timeout_s
        For one call with its repetitions.
    """

    def __init__(self, client: Callable[[], discord.Client | None], timeout_s: float = TIMEOUT_S) -> None:
        self._client = client
        self.timeout_s = timeout_s
        self._left_behind: set[asyncio.Future[Any]] = set()

    async def make(
        self,
        doing: str,
        call: Callable[[HTTPClient], Coroutine[Any, Any, T]],
        *,
        needs: str = "",
        repeatable: bool = True,
    ) -> T:
        """Make one call.

        Parameters
        ----------
        doing
            What it is for, in an error's words: "post in channel 42".
        call
            Begins the request; called again for each attempt.
        needs
            The permission that it needs, for the error.
        repeatable
            Whether it may be repeated after an outage, when nobody knows whether it was carried out.

        Raises
        ------
        DiscordPortError
        """
        deadline = asyncio.get_running_loop().time() + self.timeout_s
        pauses = _PAUSES_S if repeatable else _PAUSES_S[:1]
        for attempt, pause_s in enumerate(pauses, 1):
            await asyncio.sleep(pause_s)
            try:
                return await self._attempt(doing, call, deadline)
            except Exception as error:
                named = named_failure(error, doing, needs)
                if named is None:
                    raise
                is_last = attempt == len(pauses) or asyncio.get_running_loop().time() + pauses[attempt] >= deadline
                if is_last or not isinstance(named, DiscordUnavailable) or self._http() is None:
                    raise named from error
        raise AssertionError("unreachable")

    async def _attempt(self, doing: str, call: Callable[[HTTPClient], Coroutine[Any, Any, T]], deadline: float) -> T:
        http = self._http()
        if http is None:
            raise away(doing)
        if len(self._left_behind) >= _MAX_LEFT_BEHIND:
            raise TimeoutError(f"{len(self._left_behind)} earlier calls have had no answer yet")
        request = asyncio.ensure_future(call(http))
        request.add_done_callback(_read)
        remaining_s = deadline - asyncio.get_running_loop().time()
        try:
            done, _ = await asyncio.wait({request}, timeout=max(remaining_s, 0.0))
        finally:
            if not request.done():
                self._leave_behind(request)
        if not done:
            raise TimeoutError(f"no answer within {self.timeout_s:g} s")
        return request.result()

    def _leave_behind(self, request: asyncio.Future[Any]) -> None:
        """Let a request end by itself: the library gives it up after five minutes.

        Cancelled while discord.py (2.7, ``HTTPClient.request``) waits for the end of a global rate limit, it would
        leave the gate of that limit closed, and no request would pass any more.
        """
        self._left_behind.add(request)
        request.add_done_callback(self._left_behind.discard)

    def _http(self) -> HTTPClient | None:
        """Return the client's REST side; None before it is logged in and once it is closed."""
        client = self._client()
        return client.http if client is not None and client.user is not None and not client.is_closed() else None


def _read(request: asyncio.Future[Any]) -> None:
    """Read how a request ended, so that asyncio does not report one that nobody waits for any more."""
    if not request.cancelled():
        request.exception()
