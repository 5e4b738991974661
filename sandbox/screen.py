"""What people see happen on the sandbox, in the order in which it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sandbox.events import Event
from sandbox.interactions import Interaction
from sandbox.records import Message
from sandbox.server import Sandbox
from sandbox.showing import excerpt, form_lines, message_lines


class Screen:
    """Shows messages, reactions, forms, and what only one person sees.

    Parameters
    ----------
    show
        Gets the lines of what happened, and the same as an object for JSON.
    """

    def __init__(self, sandbox: Sandbox, show: Callable[[list[str], dict[str, Any]], None]) -> None:
        self._world = sandbox.world
        self._show = show
        self._following: set[asyncio.Task[None]] = set()
        self.lines: list[str] = []
        self.changed = asyncio.Event()
        self._world.listeners.append(self._on_event)

    async def close(self) -> None:
        """Show no more."""
        self._world.listeners.remove(self._on_event)
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    def follow(self, interaction: Interaction) -> None:
        """Show what comes of an interaction for its person alone: forms, and messages that only that one sees."""
        task = asyncio.create_task(self._follow(interaction), name="screen: interaction")
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, interaction: Interaction) -> None:
        seen: dict[int, list[str]] = {}
        if interaction.modal is not None:
            self._tell(form_lines(interaction.modal), "form", form=interaction.modal["title"])
        while True:
            # Taken before it is looked: what changes meanwhile is seen in the next round.
            changed = interaction.changed
            for message in filter(None, [interaction.message, *interaction.followups]):
                if message.ephemeral_for is not None and message is not interaction.source:
                    self._tell_if_new(message, seen)
            await changed.wait()

    def _tell_if_new(self, message: Message, seen: dict[int, list[str]]) -> None:
        before = seen.get(message.id)
        lines = message_lines(self._world, message)
        if lines != before:
            seen[message.id] = lines
            self._tell_message(message, edited=before is not None and not before[0].endswith("is thinking ..."))

    def _on_event(self, event: Event) -> None:
        channel = self._world.channels.get(event.channel_id or 0)
        message = (
            channel.messages.get(int(event.data.get("message_id") or event.data.get("id") or 0)) if channel else None
        )
        match event.name:
            case "MESSAGE_CREATE" | "MESSAGE_UPDATE" if message is not None:
                self._tell_message(message, edited=message.edited_timestamp is not None)
            case "MESSAGE_DELETE" if channel is not None:
                self._tell([f"#{channel.name} a message was deleted"], "deleted", id=event.data["id"])
            case "MESSAGE_REACTION_ADD" | "MESSAGE_REACTION_REMOVE" if message is not None and channel is not None:
                who = self._world.users[int(event.data["user_id"])].username
                emoji = event.data["emoji"]["name"]
                what = f"reacts {emoji} to" if event.name.endswith("ADD") else f"takes {emoji} back from"
                self._tell([f"#{channel.name} {who} {what} {excerpt(message)!r}"], "reaction", by=who, emoji=emoji)
            case "TYPING_START" if channel is not None and event.channel_id is not None:
                who = self._world.users[int(event.data["user_id"])].username
                self._tell([f"#{channel.name} {who} is typing ..."], "typing", by=who)

    def _tell_message(self, message: Message, *, edited: bool) -> None:
        private = self._world.users.get(message.ephemeral_for or 0)
        self._tell(
            message_lines(self._world, message, edited=edited),
            "message",
            id=str(message.id),
            channel=self._world.channels[message.channel_id].name,
            author=message.author.username,
            content=message.content,
            embeds=message.embeds,
            components=message.components,
            only_for=None if private is None else private.username,
            edited=edited,
        )

    def _tell(self, lines: list[str], kind: str, **fields: Any) -> None:
        self.lines += lines
        self._show(lines, {"event": kind, **fields})
        self.changed.set()
        self.changed = asyncio.Event()
