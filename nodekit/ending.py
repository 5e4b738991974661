"""Says where a node hangs that was asked to end and does not: the master would kill it without a word of it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback

log = logging.getLogger(__name__)

STUCK_AFTER_S = 5.0
"""The master waits for GRACE_S, ten seconds by default."""
_NAMES = 5


def watch_ending(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Log what still runs if this process has not ended by itself in some seconds; call it once it is asked to.

    Parameters
    ----------
    loop
        Whose tasks are named; None if there is none.
    """
    # A daemon: Python does not wait for it.
    watch = threading.Timer(STUCK_AFTER_S, _tell, (loop, threading.get_ident()))
    watch.daemon = True
    watch.name = "ending"
    watch.start()


def _tell(loop: asyncio.AbstractEventLoop | None, main: int) -> None:
    log.warning("asked to end %.0f s ago, and still here: %s", STUCK_AFTER_S, "; ".join(_what_runs(loop, main)))


def _what_runs(loop: asyncio.AbstractEventLoop | None, main: int) -> list[str]:
    found = []
    if loop is not None and not loop.is_closed():
        tasks = sorted({getattr(task.get_coro(), "__qualname__", task.get_name()) for task in asyncio.all_tasks(loop)})
        found += [f"task {name}" for name in tasks[:_NAMES]]
    threads = [one.name for one in threading.enumerate() if not one.daemon and one.ident != main]
    found += [f"thread {name}" for name in threads[:_NAMES]]
    frame = sys._current_frames().get(main)
    if frame is not None:
        place = traceback.extract_stack(frame)[-1]
        found.append(f"at {place.filename}:{place.lineno} in {place.name}")
    return found
