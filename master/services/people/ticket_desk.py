"""Answers what nodes ask about their tickets: :class:`TicketRequest`, each with a :class:`TicketResponse`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from handshake.messages import (
    Acknowledgement,
    TicketCategoryView,
    TicketRequest,
    TicketResponse,
    TicketView,
)
from handshake.signing import Message
from master.errors import FleetError
from master.ledger.rows import tickets as rows
from master.ledger.rows.records import Node, Ticket
from master.services.core.errors import DiscordForbidden, DiscordPortError, DiscordUnavailable
from master.services.people.ticket_errors import TicketRefused
from master.services.people.ticket_gate import TicketGate
from master.services.people.ticket_tools import TicketTools
from master.services.people.ticket_work import TicketWork
from master.services.people.tickets import Tickets
from master.services.trust.source import Source

log = logging.getLogger(__name__)

ANSWER_WITHIN_S = 3.0
"""A node's messages are taken one after the other: its pulses wait behind a request. What takes longer goes on after
the answer, and the node is told by an order."""
_LINE_CHARACTERS, _MOST_LISTED = 400, 500
_MOST_BYTES = 5_500
"""Of the tickets in one answer: a signed message has 8,192 at most, and base64 makes four of three."""

Act = Callable[[Ticket, TicketRequest], Awaitable[Ticket]]


class TicketDesk:
    """Take requests of nodes."""

    def __init__(self, tools: TicketTools, gate: TicketGate, tickets: Tickets, work: TicketWork) -> None:
        self._tools, self._gate, self._tickets, self._work = tools, gate, tickets, work
        self._working: set[asyncio.Task[Ticket | None]] = set()
        self._acts: dict[str, Act] = {
            "claim": lambda ticket, body: tickets.claim(ticket, body.actor_id),
            "release": lambda ticket, body: tickets.release(ticket, body.actor_id),
            "transfer": lambda ticket, body: tickets.transfer(ticket, body.actor_id, body.subject_id),
            "priority": lambda ticket, body: tickets.set_priority(ticket, body.actor_id, body.text),
            "topic": lambda ticket, body: tickets.set_topic(ticket, body.actor_id, body.text),
            "close": lambda ticket, body: tickets.close(ticket, body.text, person_id=body.actor_id),
            "reopen": lambda ticket, body: tickets.reopen(ticket, person_id=body.actor_id),
            "delete": lambda ticket, body: tickets.delete(ticket, person_id=body.actor_id),
        }

    async def handle(
        self, node: Node, body: TicketRequest, message: Message, source: Source
    ) -> TicketResponse | Acknowledgement:
        """Handle a request."""
        if not self._gate.is_verified(node.id):
            return Acknowledgement(order="verify_again")
        try:
            await self._gate.require(node, body.actor_id)
            return await self._answer(node, body)
        except TicketRefused as error:
            return TicketResponse(done=False, code=error.why, reason=error.message[:_LINE_CHARACTERS])
        except FleetError as error:
            log.warning("a ticket request could not be answered", extra={"node": node.name, "why": error.message})
            return TicketResponse(done=False, code="unavailable", reason=error.message[:_LINE_CHARACTERS])

    async def _answer(self, node: Node, body: TicketRequest) -> TicketResponse:
        match body.action:
            case "categories":
                return TicketResponse(done=True, categories=self._categories(node))
            case "list":
                return await self._list(node, body)
            case "open":
                ticket = await self._tickets.open(
                    node, body.category, body.actor_id, topic=body.text, answers=body.answers
                )
                return await self._carried_out(ticket)
            case "touch":
                touched = await self._tickets.touch(await self._tickets.get(body.ticket_id, node))
                return TicketResponse(done=touched.state == "open", tickets=(view_of(touched),))
            case action:
                ticket = await self._tickets.get(body.ticket_id, node)
                return await self._carried_out(await self._acts[action](ticket, body))

    def _categories(self, node: Node) -> tuple[TicketCategoryView, ...]:
        found = self._tools.settings().tickets.categories
        return tuple(
            TicketCategoryView(
                name=name,
                questions=category.questions[:5],
                log_channel_id=category.log_channel_id,
                staff_roles=tuple(sorted(category.staff_roles)),
            )
            for name, category in found.items()
            if self._tickets.may_open(node, category)
        )

    async def _list(self, node: Node, body: TicketRequest) -> TicketResponse:
        """Return one ticket, or all that are not over, closed ones last; ``position`` is how many more than fit."""
        if body.ticket_id:
            ticket = await self._tickets.get(body.ticket_id, node)
            return TicketResponse(
                done=True, code=ticket.state, position=await self._tickets.position(ticket), tickets=(view_of(ticket),)
            )
        states = (*rows.LIVE, "closed")
        found = await self._tools.ledger.read(
            lambda connection: rows.recent(
                connection, node_id=node.id, author_id=body.subject_id or None, states=states, limit=_MOST_LISTED
            )
        )
        # A message has room for about twenty: what somebody waits for goes before what is done.
        found.sort(key=lambda ticket: ticket.state == "closed")
        shown = list[TicketView]()
        room = _MOST_BYTES
        # Those that came by mail are not its own.
        found = [ticket for ticket in found if ticket.author_id]
        for ticket in found:
            view = view_of(ticket)
            room -= len(msgspec.json.encode(view)) + 1
            if room < 0:
                break
            shown.append(view)
        return TicketResponse(done=True, position=len(found) - len(shown), tickets=tuple(shown))

    async def _carried_out(self, ticket: Ticket) -> TicketResponse:
        """Return the answer once it is done on Discord, or before that if it takes long."""
        task = asyncio.get_running_loop().create_task(self._work.do(ticket.id), name="ticket")
        self._working.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait({task}, timeout=ANSWER_WITHIN_S)
        if not done:
            return TicketResponse(done=True, code=ticket.state, tickets=(view_of(ticket),))
        try:
            ticket = task.result() or ticket
        except DiscordUnavailable:
            reason = "Discord does not answer; it is done once it does"
            return TicketResponse(done=True, code="waiting", reason=reason, tickets=(view_of(ticket),))
        except DiscordPortError as error:
            code = "forbidden" if isinstance(error, DiscordForbidden) else "refused"
            reason = " ".join(filter(None, (error.message, error.hint)))[:_LINE_CHARACTERS]
            return TicketResponse(done=False, code=code, reason=reason)
        position = await self._tickets.position(ticket)
        return TicketResponse(done=True, code=ticket.state, position=position, tickets=(view_of(ticket),))

    def _ended(self, task: asyncio.Task[Ticket | None]) -> None:
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, FleetError):
            log.error("a ticket could not be worked on", exc_info=error)

    async def close(self) -> None:
        """Cut off what is under way; the next master goes on with it."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)


def view_of(ticket: Ticket) -> TicketView:
    """Return a ticket as its node sees it."""
    return TicketView(
        id=ticket.id,
        number=ticket.number,
        category=ticket.category,
        state=ticket.state,
        channel_id=ticket.channel_id or 0,
        author_id=ticket.author_id,
        claimed_by=ticket.claimed_by or 0,
        priority=ticket.priority,
        topic=ticket.topic,
        opened_at=ticket.opened_at.timestamp(),
        closed_by=ticket.closed_by or 0,
        reason=ticket.reason,
    )
