"""How a master ends: step by step, each within its time, saying what it waits for; and by force if all else fails.

Whatever is cut off here is as after a SIGKILL, which ledger, spool and run records are made for: the next master takes
the nodes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from master.errors import ExitCode
from master.services.core.lifecycle import Lifecycle
from master.systemd import notify

log = logging.getLogger(__name__)

KILLED_WITHIN_S = 5.0
"""After SIGKILL: a process that is not gone then hangs in the kernel."""
TASKS_WITHIN_S = 12.0
"""discord.py waits for up to ten seconds for Discord to hang up."""
CLOSE_WITHIN_S = 40.0
"""For the ledger, its spool and the sockets."""
HURRIED_WITHIN_S, HURRIED_STEP_S = 10.0, 3.0
"""The whole, and each step, once nobody wants to wait."""
TELL_FIRST_S, TELL_EVERY_S = 1.0, 5.0
_TOLD = 8
"""So many are named; the others are counted."""

Awaited = Callable[[], Iterable[str]]


class Ending:
    """One ending of a master.

    Parameters
    ----------
    nodes_within_s
        How long its nodes may take, SIGKILL included; 0 if they run on.
    own_process
        Whether the process may be ended by force.
    environment
        Where the service manager's socket is named.
    """

    def __init__(
        self, lifecycle: Lifecycle, environment: Mapping[str, str], *, nodes_within_s: float, own_process: bool
    ) -> None:
        self._lifecycle = lifecycle
        self._environment = environment
        self._nodes_within_s = nodes_within_s
        self._own_process = own_process
        self._awaited: Awaited = tuple
        self._began = time.monotonic()
        lifecycle.awaited = self.awaited

    def awaited(self) -> tuple[str, ...]:
        """Return what it waits for now."""
        return tuple(self._awaited())

    @asynccontextmanager
    async def watched(self, operations_within_s: float) -> AsyncIterator[None]:
        """Tell what is waited for while the block runs; from now on the process ends within its time, if by force."""
        whole_s = operations_within_s + self._nodes_within_s + TASKS_WITHIN_S + CLOSE_WITHIN_S
        self._lifecycle.deadline = self._began + whole_s
        loop = asyncio.get_running_loop()
        # A thread: what hangs may be the event loop, or a worker thread that Python would wait for.
        if self._own_process:
            threading.Thread(target=self._end_by_force, args=(loop,), name="last resort", daemon=True).start()
        telling = [asyncio.create_task(self._tell(), name="telling"), asyncio.create_task(self._hurry(), name="hurry")]
        try:
            yield
        finally:
            for task in telling:
                task.cancel()
            await asyncio.gather(*telling, return_exceptions=True)
            self._awaited = lambda: ("ledger and sockets",)

    def give_up(self) -> None:
        """End by force, now: what is left would never end by itself."""
        self._lifecycle.deadline = time.monotonic()

    async def step(self, awaited: Awaited, work: Coroutine[Any, Any, None], *, within_s: float) -> bool:
        """Do one step; returns whether it was done within its time. What is not is cancelled, and told."""
        self._awaited = awaited
        task = asyncio.create_task(work, name="a step of the ending")
        hurried = asyncio.create_task(self._lifecycle.hurried.wait(), name="hurried")
        await asyncio.wait({task, hurried}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if hurried.done() and not task.done():
            await asyncio.wait({task}, timeout=HURRIED_STEP_S)
        hurried.cancel()
        if task.done():
            task.result()
            return True
        log.error("not waited for any longer", extra={"what": _told(awaited()), "seconds": round(within_s, 1)})
        task.cancel()
        return False

    async def _hurry(self) -> None:
        await self._lifecycle.hurried.wait()
        log.warning("asked again to end: nothing is waited for any longer", extra={"what": _told(self.awaited())})
        self._lifecycle.deadline = time.monotonic() + HURRIED_WITHIN_S

    async def _tell(self) -> None:
        pause_s = TELL_FIRST_S
        while True:
            await asyncio.sleep(pause_s)
            what = _told(self.awaited())
            since_s = time.monotonic() - self._began
            if what:
                log.info("ending", extra={"waits_for": what, "seconds": round(since_s, 1)})
            # A grace period may be longer than what the unit of the service allows.
            more_us = int((TELL_EVERY_S * 3) * 1e6)
            notify(self._environment, f"EXTEND_TIMEOUT_USEC={more_us}\nSTATUS=ending; waits for {what or 'nothing'}")
            pause_s = TELL_EVERY_S

    def _end_by_force(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            left_s = self._lifecycle.ends_within_s or 0.0
            if not left_s:
                break
            time.sleep(min(left_s, 0.2))
        names: list[str] = []
        with contextlib.suppress(RuntimeError):  # it ended just now
            names = [task.get_name() for task in asyncio.all_tasks(loop)]
        threads = [thread.name for thread in threading.enumerate() if not thread.daemon]
        what = _told([*self.awaited(), *(f"task {name}" for name in names), *(f"thread {name}" for name in threads)])
        log.critical("ended by force: this did not end", extra={"what": what})
        for handler in logging.getLogger().handlers:
            handler.flush()
        os._exit(ExitCode.TIMED_OUT)


def _told(what: Iterable[str]) -> str:
    """Return a list for people, the first few by name."""
    named = list(what)
    more = f" and {len(named) - _TOLD} more" if len(named) > _TOLD else ""
    return ", ".join(named[:_TOLD]) + more
