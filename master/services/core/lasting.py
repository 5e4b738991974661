"""Tasks that must live as long as the master: one that fails is an alert, and is started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from master.bus import EventBus
from master.events import TaskFailed
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 60.0
FORGOTTEN_AFTER_S = 300.0
"""A task that ran for this long starts with the first pause again."""


async def keep_running(name: str, work: Callable[[], Awaitable[None]], bus: EventBus, clock: Clock) -> None:
    """Run ``work`` until it returns or this is cancelled; after an exception it is told, and run again.

    Parameters
    ----------
    name
        For the operator.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        began = clock.monotonic()
        try:
            await work()
            return
        except Exception as error:
            log.exception("a task failed, and is started again", extra={"task": name})
            told = f"{type(error).__name__}: {error}"[:400]
            bus.publish(TaskFailed(at=clock.now(), task=name, error=told))
        if clock.monotonic() - began > FORGOTTEN_AFTER_S:
            pause_s = FIRST_PAUSE_S
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LAST_PAUSE_S)
