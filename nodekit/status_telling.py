"""Tells the master how a patch goes: each status until it has taken it, in their order. Imported with the first."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import msgspec

from handshake.errors import TransportError
from handshake.messages import PatchStatus
from nodekit.link import NodeLink

log = logging.getLogger("node")

AGAIN_S = 1.0
MOST_UNANSWERED = 5
"""A master that is there and does not answer takes no statuses: it is older than this nodekit."""
DETAIL_BYTES = 3_000
"""Of a detail, as JSON has it: a message of the local socket has room for more, and a traceback needs no more."""


class StatusTelling:
    """Tells statuses, one after the other."""

    def __init__(self, link: NodeLink) -> None:
        self._link = link
        self._waiting: deque[PatchStatus] = deque()
        self._task: asyncio.Task[None] | None = None

    def tell(self, status: PatchStatus) -> None:
        """Tell a status as soon as the master listens."""
        self._waiting.append(msgspec.structs.replace(status, detail=bounded(status.detail)))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell_all(), name="patch statuses")

    async def _tell_all(self) -> None:
        unanswered = 0
        while self._waiting:
            await self._link.verified.wait()
            try:
                await self._link.tell(self._waiting[0])
            except (TransportError, TimeoutError) as error:
                unanswered += isinstance(error, TimeoutError)
                log.debug("the status of a patch is not told yet: %s", error or type(error).__name__)
                if unanswered < MOST_UNANSWERED:
                    await asyncio.sleep(AGAIN_S)
                    continue
                log.warning("the master does not take the status %s of a patch", self._waiting[0].status)
            unanswered = 0
            self._waiting.popleft()

    async def told(self) -> None:
        """Wait until all is told."""
        if self._task is not None:
            await self._task

    def end(self) -> None:
        """Tell nothing more."""
        if self._task is not None:
            self._task.cancel()


def bounded(text: str) -> str:
    """Return the end of a text that fits in a message; a traceback says at its end what went wrong."""
    kept = text[-DETAIL_BYTES:]
    while len(msgspec.json.encode(kept)) > DETAIL_BYTES:
        kept = kept[max(1, len(kept) // 8) :]
    return kept
