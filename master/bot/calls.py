"""Calls to Discord with a time-out, retries for idempotent calls, and the services' error types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import discord
from discord.http import HTTPClient

from master.bot.failures import away, named_failure
from master.services.core.errors import DiscordUnavailable

TIMEOUT_S = 20.0
"""For one call with its retries, including discord.py's waits for rate limits."""
PATIENCE_S = 900.0
"""Longer than discord.py takes for five attempts and the waits for rate limits between them."""
_PAUSES_S = (0.0, 0.5, 2.0)
"""Before each attempt. The first retry handles a kept-alive connection that Discord has closed."""
_MAX_ABANDONED = 64

T = TypeVar("T")


class Calls:
    """Make calls through the client that is currently connected.

    Parameters
    ----------
    client
        Returns the current client, or None.
    timeout_s
        For one call with its retries.
    """

    def __init__(self, client: Callable[[], discord.Client | None], timeout_s: float = TIMEOUT_S) -> None:
        self._client = client
        self.timeout_s = timeout_s
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def make(
        self,
        doing: str,
        call: Callable[[HTTPClient], Coroutine[Any, Any, T]],
        *,
        needs: str = "",
        repeatable: bool = True,
        patient: bool = False,
    ) -> T:
        """Make one call.

        Parameters
        ----------
        doing
            Description for error messages: "post in channel 42".
        call
            Starts the request; called once for each attempt.
        needs
            The permission that the call needs, for error messages.
        repeatable
            Whether it may be retried after a failure that leaves open whether it was carried out.
        patient
            Whether it is waited for until discord.py itself gives up: nothing that was given up is carried out later.

        Raises
        ------
        DiscordPortError
        """
        deadline = asyncio.get_running_loop().time() + (PATIENCE_S if patient else self.timeout_s)
        pauses = _PAUSES_S if repeatable else _PAUSES_S[:1]
        for attempt, pause_s in enumerate(pauses, 1):
            await asyncio.sleep(pause_s)
            try:
                return await self._attempt(doing, call, deadline)
            except Exception as error:
                http = self._http()
                if isinstance(error, discord.RateLimited) and http is not None:
                    # The next call asks Discord itself: a wait of hours may come from a proxy's header.
                    http._buckets.clear()
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
        if len(self._abandoned) >= _MAX_ABANDONED:
            raise TimeoutError(f"{len(self._abandoned)} earlier calls have had no answer yet")
        request = asyncio.ensure_future(call(http))
        request.add_done_callback(_retrieve_exception)
        remaining_s = deadline - asyncio.get_running_loop().time()
        try:
            done, _ = await asyncio.wait({request}, timeout=max(remaining_s, 0.0))
        finally:
            if not request.done():
                self._abandon(request)
        if not done:
            raise TimeoutError(f"no answer within {self.timeout_s:g} s")
        return request.result()

    def _abandon(self, request: asyncio.Future[Any]) -> None:
        """Let a request finish in the background: discord.py gives up after five minutes.

        It is not cancelled: in discord.py 2.7, cancelling ``HTTPClient.request`` while it waits for a global rate limit
        leaves the rate limit's event unset, and blocks all further requests.
        """
        self._abandoned.add(request)
        request.add_done_callback(self._abandoned.discard)

    def _http(self) -> HTTPClient | None:
        """Return the client's HTTP client; None before login and after close."""
        client = self._client()
        return client.http if client is not None and client.user is not None and not client.is_closed() else None


def _retrieve_exception(request: asyncio.Future[Any]) -> None:
    """Retrieve a request's exception, so that asyncio does not log it as never retrieved."""
    if not request.cancelled():
        request.exception()
