"""Tickets: opened, claimed, closed and deleted, on request of nodes and of operators.

Each use case checks, writes down what is to be, and leaves the rest to :class:`TicketWork`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from functools import partial
from typing import get_args

import msgspec
from sqlalchemy import Connection

from master.configuration.settings import TicketCategory
from master.ledger.identifiers import new_ulid
from master.ledger.rows import ticket_permissions, tickets
from master.ledger.rows.records import Node, Ticket, TicketPriority, TicketState
from master.services.people.ticket_errors import NoSuchTicket, TicketRefused
from master.services.people.ticket_limits import TicketLimits, beyond, limits_of, too_many_open
from master.services.people.ticket_tools import TicketTools
from master.services.people.ticket_work import TicketWork
from master.wording import visible

TOUCHED_EVERY = timedelta(minutes=1)
"""What is written in a ticket moves its time on at most so often."""
_REASON_CHARACTERS, _TOPIC_CHARACTERS = 400, 200
_PRIORITIES = get_args(TicketPriority)
_ENDING: tuple[TicketState, ...] = ("closing", "closed")


class Tickets:
    """The use cases of tickets. ``person_id`` is who asks, 0 for the node or an operator themselves.

    What is so already is done: a node that does not hear an answer asks again.
    """

    def __init__(self, tools: TicketTools, work: TicketWork) -> None:
        self._tools, self._work = tools, work

    # Reading

    async def get(self, ticket_id: str, node: Node | None = None) -> Ticket:
        """Return a ticket; with ``node`` only one of its own.

        Raises
        ------
        NoSuchTicket
            Of another node's the same is said as of none.
        """
        found = await self._tools.ledger.read(lambda connection: tickets.find(connection, ticket_id))
        is_foreign = node is not None and found is not None and (found.node_id != node.id or not found.author_id)
        if found is None or found.guild_id != self._tools.guild_id or is_foreign:
            raise NoSuchTicket("not_your_ticket", "there is no such ticket")
        return found

    async def position(self, ticket: Ticket) -> int:
        """Return a ticket's place in the queue for its category's channels; 0 if it does not wait."""
        if ticket.state != "queued":
            return 0
        queue = await self.queue()
        place = self._tools.category_of(ticket).channel_id
        ahead = [one for one in queue if self._tools.category_of(one).channel_id == place and one.id <= ticket.id]
        return len(ahead)

    async def queue(self) -> list[Ticket]:
        """Return all tickets that wait, the first first."""
        return await self._tools.ledger.read(lambda connection: tickets.in_states(connection, ("queued",)))

    def may_open(self, node: Node, category: TicketCategory) -> bool:
        """Tell whether a node may open tickets of a category."""
        return not category.nodes or node.name.casefold() in {name.casefold() for name in category.nodes}

    # Opening

    async def open(
        self, node: Node, category_name: str, person_id: int, *, topic: str = "", answers: Sequence[str] = ()
    ) -> Ticket:
        """Write a new ticket down: it is opened, or it waits for room.

        Raises
        ------
        TicketRefused
            The node may not open it, or its author has too many.
        """
        category = self._tools.settings().tickets.categories.get(category_name)
        if category is None or not self.may_open(node, category):
            raise TicketRefused("no_such_category", f"{node.name} has no ticket category {category_name[:40]!r}")
        is_person = person_id and not self._tools.is_own_bot(person_id)
        roles = await self._tools.roles_of(person_id) if is_person else None
        if roles is None:
            raise TicketRefused("not_a_member", "whoever opens a ticket has to be on the server")
        limits = None if self._tools.is_staff(category, person_id, roles) else limits_of(category, roles)
        now = self._tools.clock.now()
        new = Ticket(
            id=new_ulid(self._tools.clock),
            number=0,
            guild_id=self._tools.guild_id,
            node_id=node.id,
            category=category_name,
            state="opening",
            author_id=person_id,
            topic=visible(topic)[:_TOPIC_CHARACTERS],
            answers=msgspec.json.encode(list(answers)).decode(),
            opened_at=now,
            last_at=now,
            changed_at=now,
        )
        insert = partial(_insert, new, limits, self._beside(category))
        return self._announced(await self._tools.ledger.write(insert))

    def _beside(self, category: TicketCategory) -> frozenset[str]:
        """Return the kinds of tickets whose channels are in the same category of Discord: they wait in one queue."""
        known = self._tools.settings().tickets.categories
        return frozenset(name for name, one in known.items() if one.channel_id == category.channel_id)

    async def open_by_mail(
        self, ticket_id: str, node: Node, category_name: str, *, topic: str, also: Callable[[Connection], None]
    ) -> Ticket:
        """Write a ticket down that nobody on the server wrote: it is its staff's, whatever node it counts to.

        Parameters
        ----------
        ticket_id
            Of its mail: it is opened once.
        also
            Writes what belongs to it, in the same transaction; what it raises undoes both.
        """
        now = self._tools.clock.now()
        new = Ticket(
            id=ticket_id,
            number=0,
            guild_id=self._tools.guild_id,
            node_id=node.id,
            category=category_name,
            state="opening",
            author_id=0,
            topic=visible(topic)[:_TOPIC_CHARACTERS],
            opened_at=now,
            last_at=now,
            changed_at=now,
        )

        beside = self._beside(self._tools.category_of(new))

        def write(connection: Connection) -> Ticket | TicketRefused:
            known = tickets.find(connection, ticket_id)
            if known is not None:
                return known
            made = _insert(new, None, beside, connection)
            also(connection)
            return made

        return self._announced(await self._tools.ledger.write(write))

    def _announced(self, ticket: Ticket | TicketRefused) -> Ticket:
        if isinstance(ticket, TicketRefused):
            raise ticket
        actor = f"discord:{ticket.author_id}" if ticket.author_id else "mail"
        self._tools.publish(ticket, ticket.state, actor=actor)
        # The upkeep sleeps for as long as there is no ticket: from now on one becomes stale, or waits for room.
        self._work.woken.set()
        return ticket

    # While it is open

    async def claim(self, ticket: Ticket, person_id: int) -> Ticket:
        """Have somebody of the staff take a ticket: nobody else but its author writes in it then."""
        await self._require_staff(ticket, person_id)
        if ticket.claimed_by == person_id:
            return ticket
        now = self._tools.clock.now()
        claimed = await self._tools.ledger.write(
            lambda connection: tickets.claim(connection, ticket.id, person_id, at=now)
        )
        if claimed is None:
            ticket = await self.get(ticket.id)
            if ticket.state == "open" and ticket.claimed_by == person_id:
                return ticket
            if ticket.state == "open" and ticket.claimed_by is not None:
                raise TicketRefused("claimed", f"it is claimed already, by <@{ticket.claimed_by}>")
        return await self._told(claimed, ticket, "claimed", person_id, "")

    async def release(self, ticket: Ticket, person_id: int) -> Ticket:
        """Release a claimed ticket to all of the staff."""
        await self._require_staff(ticket, person_id)
        if ticket.claimed_by is None:
            return ticket
        return await self._change(ticket, ("open",), "released", person_id, claimed_by=None)

    async def release_former(self, ticket: Ticket) -> Ticket | None:
        """Release a ticket whose claimer is no longer of the staff; None if he is, or has released it meanwhile.

        Raises
        ------
        DiscordPortError
            Nobody knows.
        """
        former = ticket.claimed_by
        if former is None or await self.is_staff(ticket, former):
            return None
        now = self._tools.clock.now()

        def write(connection: Connection) -> Ticket | None:
            found = tickets.find(connection, ticket.id)
            if found is None or found.claimed_by != former:
                return None
            return tickets.change(connection, ticket.id, was=("open",), at=now, claimed_by=None)

        released = await self._tools.ledger.write(write)
        if released is not None:
            detail = f"ticket {released.number}: {former} is no longer of the staff"
            self._tools.publish(released, "released", actor="system:tickets", detail=detail)
        return released

    async def transfer(self, ticket: Ticket, person_id: int, subject_id: int) -> Ticket:
        """Pass a ticket on to somebody else of the staff."""
        await self._require_staff(ticket, person_id)
        await self._require_staff(ticket, subject_id)
        return await self._change(ticket, ("open",), "transferred", person_id, claimed_by=subject_id)

    async def set_priority(self, ticket: Ticket, person_id: int, priority: str) -> Ticket:
        """Set a ticket's priority."""
        await self._require_staff(ticket, person_id)
        if priority not in _PRIORITIES:
            raise TicketRefused("no_such_priority", f"a priority is one of {', '.join(_PRIORITIES)}")
        return await self._change(ticket, ("open",), "priority", person_id, priority=priority)

    async def set_topic(self, ticket: Ticket, person_id: int, topic: str) -> Ticket:
        """Set a ticket's topic. It is in the ledger and on the panel: a channel's may hardly ever be edited."""
        await self._require_party(ticket, person_id)
        return await self._change(ticket, ("open",), "topic", person_id, topic=visible(topic)[:_TOPIC_CHARACTERS])

    async def touch(self, ticket: Ticket) -> Ticket:
        """Note that something was written in a ticket: it is not stale."""
        now = self._tools.clock.now()
        if ticket.state != "open" or (ticket.warned_at is None and now - ticket.last_at < TOUCHED_EVERY):
            return ticket
        touched = await self._tools.ledger.write(
            lambda connection: tickets.change(connection, ticket.id, was=("open",), at=now, last_at=now, warned_at=None)
        )
        return touched or ticket

    # Its end

    async def close(self, ticket: Ticket, reason: str, *, person_id: int = 0, actor: str = "") -> Ticket:
        """Close a ticket: its author and staff only read it from then on, others are taken out.

        Raises
        ------
        TicketRefused
            It is deleted, or ``person_id`` is neither its author nor staff.
        """
        if person_id:
            await self._require_party(ticket, person_id)
        if ticket.state in _ENDING:
            return ticket
        now = self._tools.clock.now()
        values: dict[str, object] = {
            "closed_at": now,
            "closed_by": person_id or None,
            "reason": visible(reason)[:_REASON_CHARACTERS],
        }
        if ticket.state == "queued":
            return await self._change(ticket, ("queued",), "closed", person_id, actor, state="deleted", **values)

        def write(connection: Connection) -> Ticket | None:
            changed = tickets.change(connection, ticket.id, was=("opening", "open"), at=now, state="closing", **values)
            if changed is not None:
                _end_permissions(connection, changed, self._tools)
            return changed

        closing = await self._tools.ledger.write(write)
        if closing is None and (found := await self.get(ticket.id)).state in _ENDING:
            return found  # By somebody else, at the same moment.
        return await self._told(closing, ticket, "closing", person_id, actor)

    async def reopen(self, ticket: Ticket, *, person_id: int = 0, actor: str = "") -> Ticket:
        """Open a closed ticket again; who was let in before has to be let in again."""
        if person_id:
            await self._require_party(ticket, person_id)
        if ticket.state == "open":
            return ticket
        limits = await self._limits_of_author(ticket) if person_id == ticket.author_id else None
        now = self._tools.clock.now()
        values: dict[str, object] = {"closed_at": None, "closed_by": None, "reason": "", "warned_at": None}
        values |= {"state": "open", "last_at": now}

        def write(connection: Connection) -> Ticket | None:
            # Closed ones do not count to what an author may have open; together they would be any number.
            if limits is not None and (refused := too_many_open(connection, ticket, limits)) is not None:
                raise refused
            return tickets.change(connection, ticket.id, was=("closed",), at=now, **values)

        return await self._told(await self._tools.ledger.write(write), ticket, "reopened", person_id, actor)

    async def _limits_of_author(self, ticket: Ticket) -> TicketLimits | None:
        """Return how many tickets a ticket's author may have; None: any number."""
        category, author_id = self._tools.category_of(ticket), ticket.author_id
        roles = await self._tools.roles_of(author_id) or frozenset()
        return None if self._tools.is_staff(category, author_id, roles) else limits_of(category, roles)

    async def delete(self, ticket: Ticket, *, person_id: int = 0, actor: str = "") -> Ticket:
        """Delete a closed ticket's channel, with all that was written in it; its record stays."""
        if person_id:
            await self._require_staff(ticket, person_id)
        if ticket.state == "deleted":
            return ticket
        return await self._change(ticket, ("closed",), "deleting", person_id, actor, state="deleted")

    # Parts

    async def _require_staff(self, ticket: Ticket, person_id: int) -> None:
        if not await self.is_staff(ticket, person_id):
            raise TicketRefused("not_staff", f"<@{person_id}> is not of the staff for {ticket.category}")

    async def _require_party(self, ticket: Ticket, person_id: int) -> None:
        if person_id != ticket.author_id:
            await self._require_staff(ticket, person_id)

    async def is_staff(self, ticket: Ticket, person_id: int) -> bool:
        """Tell whether somebody is of the staff for a ticket; Discord is asked for his roles."""
        roles = await self._tools.roles_of(person_id) if person_id else None
        return roles is not None and self._tools.is_staff(self._tools.category_of(ticket), person_id, roles)

    async def _change(
        self,
        ticket: Ticket,
        was: Collection[str],
        what: str,
        person_id: int,
        actor: str = "",
        **values: object,
    ) -> Ticket:
        now = self._tools.clock.now()
        changed = await self._tools.ledger.write(
            lambda connection: tickets.change(connection, ticket.id, was=was, at=now, **values)
        )
        return await self._told(changed, ticket, what, person_id, actor)

    async def _told(self, changed: Ticket | None, before: Ticket, what: str, person_id: int, actor: str) -> Ticket:
        if changed is None:
            state = (await self.get(before.id)).state
            raise TicketRefused(f"is_{state}", f"ticket {before.number} is {state}: that is not possible")
        detail = f"ticket {changed.number}" + (f": {changed.reason}" if changed.reason else "")
        self._tools.publish(changed, what, actor=actor or (f"discord:{person_id}" if person_id else ""), detail=detail)
        return changed


def _insert(
    new: Ticket, limits: TicketLimits | None, beside: Collection[str], connection: Connection
) -> Ticket | TicketRefused:
    """Insert a ticket within its author's limits; None: without any."""
    if limits is not None and (refused := beyond(connection, new, limits)) is not None:
        return refused
    waits = any(one.category in beside for one in tickets.in_states(connection, ("queued",)))
    state: TicketState = "queued" if waits else "opening"
    ticket = msgspec.structs.replace(new, number=tickets.next_number(connection, new.guild_id), state=state)
    tickets.insert(connection, ticket)
    return ticket


def _end_permissions(connection: Connection, ticket: Ticket, tools: TicketTools) -> None:
    """Take back what is in force in a ticket that is closed, and answer what was asked for."""
    now = tools.clock.now()
    for one in ticket_permissions.of_ticket(connection, ticket.id, ("asking", "granting", "granted")):
        state = "refused" if one.state == "asking" else "revoking"
        ticket_permissions.change(
            connection, one.id, was=(one.state,), at=now, state=state, detail="the ticket was closed"
        )
