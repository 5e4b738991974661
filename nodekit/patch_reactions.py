"""Shows on a patch's message how it goes on this node: reactions, which are a view. Proof is the signed status."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import discord
import msgspec

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


MOST_PATCHES = 3
"""Of which a node knows what it showed: it may have been ordered to take a patch before that was posted."""


class Reactions:
    """Adds reactions to the messages of patches, one after the other: Discord takes four a second."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self._waiting: deque[tuple[PatchOrder, str]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._refused: set[int] = set()
        """Messages that are deleted, or that this bot may not react to: told once."""
        self._shown: dict[str, list[str]] = {}
        """What happened with each patch, the latest patch last."""
        self._posted: dict[str, PatchOrder] = {}
        """Orders that name a message, by patch."""

    def show(self, patch: PatchOrder, status: str) -> None:
        """Show a status on the message of a patch, now or once it is posted; returns at once."""
        emoji = EMOJIS.get(status)
        if emoji is None:
            return
        shown = self._shown.setdefault(patch.patch_id, [])
        if emoji not in shown:
            shown.append(emoji)
        self._forget_old()
        self._add(self.with_message(patch), emoji)

    def posted(self, patch: PatchOrder) -> None:
        """Show what happened with a patch on its message, of which nothing was known before; returns at once."""
        self._posted[patch.patch_id] = patch
        for emoji in self._shown.setdefault(patch.patch_id, []):
            self._add(patch, emoji)
        self._forget_old()

    def with_message(self, patch: PatchOrder) -> PatchOrder:
        """Return an order with the message of its patch, if that is known from another one."""
        known = self._posted.get(patch.patch_id)
        if known is None or patch.message_id:
            return patch
        return msgspec.structs.replace(patch, channel_id=known.channel_id, message_id=known.message_id)

    def _forget_old(self) -> None:
        for patch_id in list(self._shown)[:-MOST_PATCHES]:
            del self._shown[patch_id]
            self._posted.pop(patch_id, None)

    def _add(self, patch: PatchOrder, emoji: str) -> None:
        if not patch.message_id or not patch.channel_id:
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
