"""The connections of an intake: so many at a time, strangers make room first, none outlives its intake."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from handshake.crowd import Crowd

log = logging.getLogger(__name__)

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter, asyncio.Task[None]], Awaitable[None]]
"""Reads requests from a connection, and answers them; the task is its own."""


class Connections:
    """Serve connections.

    Parameters
    ----------
    who
        Who connects, for the log.
    most
        Connections at a time.
    one_each
        Whether one who is known needs one connection alone; then the second of one makes room too.
    """

    def __init__(self, converse: Converse, *, who: str, most: int, one_each: bool) -> None:
        self._converse = converse
        self._who = who
        self.crowd: Crowd[asyncio.Task[None]] = Crowd(most, one_each=one_each)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends, or has to make room."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served in a task")
        self._tasks.add(task)
        leaving = self.crowd.enter(task, 0)
        if leaving is not None:
            self.crowd.leave(leaving)
            leaving.cancel()
        try:
            await self._converse(reader, writer, task)
        except OSError as error:
            # Broken, timed out, or gone before its answer could be ended (ENOTCONN).
            log.debug("a connection ended", extra={"of": self._who, "why": type(error).__name__})
        except asyncio.CancelledError:
            # By the intake's end, or to make room: nobody awaits it.
            log.debug("a connection made room", extra={"of": self._who})
        finally:
            self._tasks.discard(task)
            self.crowd.leave(task)
            writer.transport.abort()

    async def end(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
