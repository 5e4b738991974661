"""Shows on a patch's message how it goes on this node: reactions, which are a view. Proof is the signed status."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import discord

from handshake.messages import PatchOrder
from nodekit.call_failures import ANY_FAILURE

log = logging.getLogger("node")

EMOJIS = {
    "received": "\N{INBOX TRAY}",
    "staged": "\N{PACKAGE}",
    "applied": "\N{WHITE HEAVY CHECK MARK}",
    "failed": "\N{CROSS MARK}",
    "rollback_failed": "\N{CROSS MARK}",
    "rolled_back": "\N{BLACK LEFT-POINTING DOUBLE TRIANGLE}",
}


class Reactions:
    """Adds reactions to the messages of patches, one after the other: Discord takes four a second."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self._waiting: deque[tuple[PatchOrder, str]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._refused: set[int] = set()
        """Messages that are deleted, or that this bot may not react to: told once."""

    def show(self, patch: PatchOrder, status: str) -> None:
        """Show a status on the message of a patch, if it has one; returns at once."""
        emoji = EMOJIS.get(status)
        if emoji is None or not patch.message_id or not patch.channel_id:
            return
        self._waiting.append((patch, emoji))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._react(), name="patch reactions")

    async def _react(self) -> None:
        while self._waiting:
            patch, emoji = self._waiting.popleft()
            if patch.message_id in self._refused:
                continue
            channel = self._client.get_partial_messageable(patch.channel_id)
            try:
                await channel.get_partial_message(patch.message_id).add_reaction(emoji)
            except ANY_FAILURE as error:
                self._refused.add(patch.message_id)
                log.warning("no reactions on the message of the patch: %s", error)

    def end(self) -> None:
        """Add no more."""
        if self._task is not None:
            self._task.cancel()
