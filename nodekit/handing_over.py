"""Hands a client over to its successor: from one moment on, what Discord sends is the successor's.

The sequence number of an event is on disk before the event is handled. A client that went on reading while its cogs are
unloaded, or whose listeners end with the event loop, would lose events that its successor does not ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import discord
from discord.gateway import DiscordWebSocket

log = logging.getLogger(__name__)

HANDLING_S = 1.5
"""For what is being handled at that moment. Commands that come meanwhile wait for the successor, and Discord gives them
three seconds."""
_HANDLING = (
    "discord.py: ",
    "CommandTree-invoker",
    "discord-ui-view-dispatch-",
    "discord-ui-modal-dispatch-",
    "discord-ui-dynamic-item-",
)
"""How discord.py names the tasks of listeners, commands, buttons and forms."""
_LASTING = ("discord.py: on_ready", "discord.py: on_connect", "discord.py: on_resumed")
"""Listeners in which bots begin what never ends, and that handle nothing a person did."""


class HandingOver:
    """The end of one client that has a successor; make it before the client connects."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self._websocket: DiscordWebSocket | None = None
        self._began = False
        state = client._connection
        self._update, state._update_references = state._update_references, self._use  # type: ignore[method-assign]

    def _use(self, ws: DiscordWebSocket) -> None:
        """Note the newest connection; discord.py tells of it before anything is read from it."""
        self._websocket = ws
        if self._began:
            _deafen(ws)
        self._update(ws)

    async def run(self) -> None:
        """Hear nothing more, and wait until what was heard is handled."""
        self._began = True
        if self._websocket is not None:
            _deafen(self._websocket)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANDLING_S):
                # In turns: what handles an event may bring about another.
                while handling := _handling():
                    await asyncio.wait(handling)
        if left := sorted({task.get_name().removeprefix(_HANDLING[0]) for task in _handling()}):
            log.info("still at work after %g s, and ended: %s", HANDLING_S, ", ".join(left))


def _handling() -> set[asyncio.Task[Any]]:
    """Return the tasks that handle events, without the one that asks."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return {task for task in tasks if task.get_name().startswith(_HANDLING) and task.get_name() not in _LASTING}


def _deafen(websocket: DiscordWebSocket) -> None:
    """Read nothing more from a connection, and leave its session open when it is closed."""
    close, closed = websocket.close, asyncio.Event()

    async def received_message(_message: Any, /) -> None:
        # Not even its sequence number: a heartbeat would tell Discord that it has arrived.
        await closed.wait()

    async def close_resumable(code: int = 4000) -> None:
        # 1000, which discord.py uses, would end the session: docs/events/gateway#disconnecting.
        try:
            await close(code=4000)
        finally:
            closed.set()

    websocket.received_message = received_message  # type: ignore[method-assign]
    websocket.close = close_resumable  # type: ignore[method-assign]
