"""Waiting of one task for whatever comes first: a request, a future, a deadline. Without a task or an event a wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


def _no_time_left() -> float | None:
    return None


class Sleeper:
    """Let one task sleep until it is woken."""

    def __init__(self) -> None:
        self._asked = False
        self._woken: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def sleep(
        self,
        timeout_s: float | None,
        *futures: asyncio.Future[Any],
        left_s: Callable[[], float | None] = _no_time_left,
    ) -> None:
        """Wait for :meth:`wake`, for any of ``futures``, or for the time-out.

        Parameters
        ----------
        left_s
            Asked when the time is over: seconds to go on waiting. A deadline that moves wakes nobody.
        """
        loop = asyncio.get_running_loop()
        woken = self._woken = loop.create_future()

        def wake(_done: object = None) -> None:
            if not woken.done():
                woken.set_result(None)

        self._timer = None if timeout_s is None else loop.call_later(timeout_s, self._on_time, wake, left_s)
        for future in futures:
            future.add_done_callback(wake)
        try:
            if not self._asked:
                await woken
        finally:
            self._asked, self._woken = False, None
            for future in futures:
                future.remove_done_callback(wake)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _on_time(self, wake: Callable[[], None], left_s: Callable[[], float | None]) -> None:
        left = left_s() or 0.0
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._on_time, wake, left_s)
        else:
            wake()

    def wake(self) -> None:
        """End the current sleep, or the next one before it starts."""
        self._asked = True
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
