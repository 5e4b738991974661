"""Tickets as operators and moderators see them, and by what they call them."""

from __future__ import annotations

import re

import msgspec

from master.ledger.rows import ticket_permissions
from master.ledger.rows import tickets as rows
from master.ledger.rows.records import Ticket, TicketPermission
from master.services.core.ticket_views import TicketDetails, TicketPermissionRow, TicketRow
from master.services.people.ticket_errors import NoSuchTicket
from master.services.people.ticket_tools import TicketTools
from master.services.people.tickets import Tickets

_NUMBER = re.compile(r"(?:#|ticket-)?([0-9]{1,9})", re.IGNORECASE)
_MENTION = re.compile(r"<#([0-9]{1,18}|[1-8][0-9]{18})>")
"""What the ledger has room for: 63 bits."""
_ID_CHARACTERS = 26
_LIVE = ("asking", "granting", "granted", "revoking")
_LISTED = ("queued", "opening", "open", "closing", "closed")


class TicketShowing:
    """Show tickets, and who is in them."""

    def __init__(self, tools: TicketTools, tickets: Tickets) -> None:
        self._tools, self._tickets = tools, tickets

    async def find(self, word: str) -> Ticket:
        """Return a ticket by its number, its channel or its id.

        Raises
        ------
        NoSuchTicket
        """
        ledger, text = self._tools.ledger, word.strip()
        found = None
        if mention := _MENTION.fullmatch(text):
            found = await ledger.read(lambda c: rows.find_by_channel(c, int(mention[1])))
        elif number := _NUMBER.fullmatch(text):
            found = await ledger.read(lambda c: rows.find_by_number(c, self._tools.guild_id, int(number[1])))
        else:
            found = await ledger.read(lambda c: rows.find(c, text.upper()))
        if found is None or found.guild_id != self._tools.guild_id:
            raise NoSuchTicket(
                "no_such_ticket",
                f"there is no ticket {text[:40]!r}",
                hint="`/ticket list` and `fleet tickets` list them",
            )
        return found

    async def listing(self, *, node: str = "", everything: bool = False, limit: int = 50) -> list[TicketRow]:
        """Return tickets, newest first; those whose channel is gone only with ``everything``."""
        node_id = self._tools.directory.find(node).id if node else None
        states = () if everything else _LISTED
        found = await self._tools.ledger.read(lambda c: rows.recent(c, node_id=node_id, states=states, limit=limit))
        return [await self.row(ticket) for ticket in found]

    async def row(self, ticket: Ticket) -> TicketRow:
        """Return a ticket as faces show it."""
        return TicketRow(
            id=ticket.id,
            number=ticket.number,
            node=self._tools.directory.name_of(ticket.node_id),
            category=ticket.category,
            state=ticket.state,
            channel_id=ticket.channel_id or 0,
            is_thread=ticket.is_thread,
            author_id=ticket.author_id,
            claimed_by=ticket.claimed_by or 0,
            priority=ticket.priority,
            topic=ticket.topic,
            opened_at=ticket.opened_at.timestamp(),
            last_at=ticket.last_at.timestamp(),
            warned_at=None if ticket.warned_at is None else ticket.warned_at.timestamp(),
            closed_at=None if ticket.closed_at is None else ticket.closed_at.timestamp(),
            closed_by=ticket.closed_by or 0,
            reason=ticket.reason,
            position=await self._tickets.position(ticket),
        )

    async def show(self, word: str) -> TicketDetails:
        """Return one ticket with the answers of its form, and who was let in."""
        ticket = await self.find(word)
        held = await self._tools.ledger.read(lambda c: ticket_permissions.of_ticket(c, ticket.id))
        return TicketDetails(
            ticket=await self.row(ticket),
            questions=self._tools.category_of(ticket).questions,
            answers=msgspec.json.decode(ticket.answers, type=tuple[str, ...]),
            permissions=tuple(self._permission(one, ticket) for one in reversed(held)),
        )

    async def permissions(self, *, everything: bool = False, limit: int = 50) -> list[TicketPermissionRow]:
        """Return permissions, newest first; those that are over only with ``everything``."""
        if everything:
            found = await self._tools.ledger.read(lambda c: ticket_permissions.recent(c, limit=limit))
        else:
            found = await self._tools.ledger.read(lambda c: ticket_permissions.in_states(c, _LIVE))
            found = found[::-1][:limit]
        return [await self.permission(one) for one in found]

    async def find_permission(self, word: str) -> str:
        """Return the id of the permission that begins so, of those that are not over.

        Raises
        ------
        TicketRefused
            None does, or several.
        """
        wanted = word.strip().upper()
        if len(wanted) == _ID_CHARACTERS:
            return wanted
        found = await self._tools.ledger.read(lambda c: ticket_permissions.in_states(c, _LIVE))
        matching = [one.id for one in found if one.id.startswith(wanted)]
        if len(matching) != 1:
            words = f"{len(matching)} begin with {wanted!r}" if matching else f"there is no such request: {wanted!r}"
            raise NoSuchTicket("no_such_request", words, hint="`/ticket permissions` lists them")
        return matching[0]

    async def permission(self, held: TicketPermission) -> TicketPermissionRow:
        """Return a permission as faces show it."""
        return self._permission(held, await self._tools.ledger.read(lambda c: rows.find(c, held.ticket_id)))

    def _permission(self, held: TicketPermission, ticket: Ticket | None) -> TicketPermissionRow:
        return TicketPermissionRow(
            id=held.id,
            ticket_id=held.ticket_id,
            ticket=0 if ticket is None else ticket.number,
            node="" if ticket is None else self._tools.directory.name_of(ticket.node_id),
            subject_id=held.subject_id,
            permission_set=held.permission_set,
            state=held.state,
            at=held.at.timestamp(),
            until=None if held.until is None else held.until.timestamp(),
            decided_by=held.decided_by,
            detail=held.detail,
        )
