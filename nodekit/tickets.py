"""Tickets, for a cog: the master holds them, makes and closes their channels, and lets people in.

So a node needs neither Manage Channels nor Manage Roles: it asks, signed with its key, and the master decides. That a
ticket changed, whoever did it, comes as the event ``ticket_changed`` with the ticket's id.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import discord
import msgspec

from handshake.messages import (
    PermissionSet,
    TicketAction,
    TicketCategoryView,
    TicketPermissionRequest,
    TicketPermissionResponse,
    TicketRequest,
    TicketResponse,
    TicketView,
)
from nodekit.attachment import attachment_of
from nodekit.link import MasterAway, NodeLink, NotAnswered

__all__ = [
    "PRIORITIES",
    "PermissionSet",
    "Priority",
    "TicketCategoryView",
    "TicketDesk",
    "TicketPermissionResponse",
    "TicketResponse",
    "TicketView",
]

Priority = Literal["low", "normal", "high", "urgent"]
PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high", "urgent")

FRESH_S = 60.0
"""How long the categories are taken for those that the master has; they change with its config."""
WITHIN_S = 30.0
"""How long whoever pressed waits for a master that is being restarted; Discord gives a deferred answer 15 minutes."""
QUICK_S = 1.5
"""For a form: Discord takes it within three seconds, or not at all."""
TEXT_CHARACTERS, ANSWER_CHARACTERS = 400, 1_000
ANSWERS_BYTES = 5_000
"""Of all answers of a form: a message of the local socket has 8,192, in base64 and with what else is in it."""
_MASTER_AWAY = "Whoever keeps the tickets is not there now. Nothing was done: try again in a minute."
_NOT_ANSWERED = "Whoever keeps the tickets did not answer in time. Look whether it was done before you try again."
_MALFORMED = "Whoever keeps the tickets answered with something else: it is older than this bot."


class TicketDesk:
    """Asks the master about this node's tickets.

    No method raises for what the master or the connection to it does: the answer says that it was not done, with a
    ``code`` and a ``reason`` that a person may read.

    Parameters
    ----------
    client
        The bot, attached to its fleet.
    """

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self._categories: tuple[TicketCategoryView, ...] = ()
        self._read_at = float("-inf")

    # Looking

    async def categories(self, *, quick: bool = False) -> tuple[TicketCategoryView, ...]:
        """Return the kinds of tickets that this node may open.

        Parameters
        ----------
        quick
            Within the time that a form has, else those known from before.
        """
        if time.monotonic() - self._read_at > FRESH_S:
            answer = await self._ask(TicketRequest("categories"), QUICK_S if quick else WITHIN_S)
            if answer.done:
                self._categories, self._read_at = answer.categories, time.monotonic()
        return self._categories

    async def find(self, ticket_id: str) -> TicketResponse:
        """Return a ticket as it is now, whatever became of it; ``not_your_ticket`` if it is none of this node's."""
        return await self._ask(TicketRequest("list", ticket_id=ticket_id))

    async def list(self, author: discord.abc.Snowflake | None = None) -> TicketResponse:
        """Return this node's tickets that are not deleted, or one person's: open ones first, the newest first.

        An answer has room for about twenty; ``position`` says how many more there are.
        """
        return await self._ask(TicketRequest("list", subject_id=0 if author is None else author.id))

    # Doing

    async def open(self, category: str, author: discord.abc.Snowflake, answers: Sequence[str] = ()) -> TicketResponse:
        """Open a ticket, or have it wait in the queue when the category is full: ``position`` says where."""
        request = TicketRequest("open", actor_id=author.id, category=category[:100], answers=_that_fit(answers))
        return await self._ask(request)

    async def claim(self, ticket_id: str, actor: discord.abc.Snowflake) -> TicketResponse:
        """Have one of the staff take a ticket: from then on only they and its author write in it."""
        return await self._do("claim", ticket_id, actor)

    async def release(self, ticket_id: str, actor: discord.abc.Snowflake) -> TicketResponse:
        """Release a ticket to all of the staff."""
        return await self._do("release", ticket_id, actor)

    async def transfer(self, ticket_id: str, actor: discord.abc.Snowflake, to: discord.abc.Snowflake) -> TicketResponse:
        """Pass a ticket on to another of the staff."""
        return await self._ask(TicketRequest("transfer", ticket_id, actor.id, subject_id=to.id))

    async def set_priority(self, ticket_id: str, actor: discord.abc.Snowflake, priority: Priority) -> TicketResponse:
        """Set a ticket's priority."""
        return await self._do("priority", ticket_id, actor, priority)

    async def set_topic(self, ticket_id: str, actor: discord.abc.Snowflake, topic: str) -> TicketResponse:
        """Set what a ticket is about: not the channel's topic, which Discord lets be edited twice in ten minutes."""
        return await self._do("topic", ticket_id, actor, topic)

    async def close(self, ticket_id: str, actor: discord.abc.Snowflake, reason: str = "") -> TicketResponse:
        """Close a ticket: its people may read on."""
        return await self._do("close", ticket_id, actor, reason)

    async def reopen(self, ticket_id: str, actor: discord.abc.Snowflake) -> TicketResponse:
        """Open a closed ticket again."""
        return await self._do("reopen", ticket_id, actor)

    async def delete(self, ticket_id: str, actor: discord.abc.Snowflake) -> TicketResponse:
        """Delete a closed ticket's channel, with all that is written in it."""
        return await self._do("delete", ticket_id, actor)

    async def touch(self, ticket_id: str, actor: discord.abc.Snowflake) -> TicketResponse:
        """Tell that somebody wrote in a ticket, so that it does not go stale; once a minute is enough."""
        return await self._do("touch", ticket_id, actor)

    # People

    async def add(
        self,
        ticket_id: str,
        actor: discord.abc.Snowflake,
        person: discord.abc.Snowflake,
        permission_set: PermissionSet = "participant",
        *,
        for_s: float = 0.0,
    ) -> TicketPermissionResponse:
        """Ask for somebody to be let into a ticket, with a named set of permissions.

        Parameters
        ----------
        actor
            Who asks the node for it.
        for_s
            For how long; 0: as long as it is open, at most what the master allows.
        """
        return await self._ask_permission(
            TicketPermissionRequest(ticket_id, person.id, "grant", permission_set, for_s, actor.id)
        )

    async def remove(
        self, ticket_id: str, actor: discord.abc.Snowflake, person: discord.abc.Snowflake
    ) -> TicketPermissionResponse:
        """Ask for somebody to be taken out of a ticket."""
        return await self._ask_permission(TicketPermissionRequest(ticket_id, person.id, "revoke", actor_id=actor.id))

    # Asking

    async def _do(
        self, action: TicketAction, ticket_id: str, actor: discord.abc.Snowflake, text: str = ""
    ) -> TicketResponse:
        return await self._ask(TicketRequest(action, ticket_id, actor.id, text=text[:TEXT_CHARACTERS]))

    async def _ask(self, request: TicketRequest, within_s: float = WITHIN_S) -> TicketResponse:
        try:
            # Asked twice, all but a new ticket is the same as asked once.
            answer = await self._link().ask(request, within_s=within_s, again=request.action != "open")
        except MasterAway:
            return TicketResponse(done=False, code="master_away", reason=_MASTER_AWAY)
        except NotAnswered:
            return TicketResponse(done=False, code="not_answered", reason=_NOT_ANSWERED)
        if isinstance(answer, TicketResponse):
            return answer
        return TicketResponse(done=False, code="malformed", reason=_MALFORMED)

    async def _ask_permission(self, request: TicketPermissionRequest) -> TicketPermissionResponse:
        try:
            answer = await self._link().ask(request, within_s=WITHIN_S, again=True)
        except MasterAway:
            return TicketPermissionResponse(granted=False, code="master_away", reason=_MASTER_AWAY)
        except NotAnswered:
            return TicketPermissionResponse(granted=False, code="not_answered", reason=_NOT_ANSWERED)
        if isinstance(answer, TicketPermissionResponse):
            return answer
        return TicketPermissionResponse(granted=False, code="malformed", reason=_MALFORMED)

    def _link(self) -> NodeLink:
        """Return the connection to the master.

        Raises
        ------
        MasterAway
            The bot belongs to no fleet, or has not logged in.
        """
        attachment = attachment_of(self._client)
        if attachment is None or attachment.link is None:
            raise MasterAway("this bot belongs to no fleet")
        return attachment.link


def _that_fit(answers: Sequence[str]) -> tuple[str, ...]:
    """Return a form's answers as a message of the local socket has room for them."""
    most = ANSWERS_BYTES // max(1, min(len(answers), 5))
    return tuple(_cut(answer[:ANSWER_CHARACTERS], most) for answer in answers[:5])


def _cut(text: str, most_bytes: int) -> str:
    """Return as much of a text as has so many bytes, as JSON."""
    while (size := len(msgspec.json.encode(text))) > most_bytes:
        text = text[: len(text) * most_bytes // size - 1]
    return text
