"""How many tickets somebody may have, by who they are: the category's numbers, or those of their roles."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from master.configuration.settings import TicketCategory
from master.ledger.rows import tickets
from master.ledger.rows.records import Ticket
from master.services.people.ticket_errors import TicketRefused

_DAY = timedelta(days=1)


class TicketLimits(NamedTuple):
    """The limits of one person in one category."""

    most_open: int
    most_a_day: int


def limits_of(category: TicketCategory, roles: Collection[int]) -> TicketLimits:
    """Return the limits of somebody with these roles: the highest of those that are named, or the category's."""
    held = [one for one in category.limits_by_role if one.role_id in roles]
    if not held:
        return TicketLimits(category.most_open_each, category.most_a_day)
    opened = [category.most_open_each if one.most_open is None else one.most_open for one in held]
    a_day = [category.most_a_day if one.most_a_day is None else one.most_a_day for one in held]
    return TicketLimits(max(opened), max(a_day))


def beyond(connection: Connection, new: Ticket, limits: TicketLimits) -> TicketRefused | None:
    """Return why somebody may not open another ticket; None if he may.

    Counted in the transaction that inserts the ticket, of one writer: two presses at once are not both below a limit.
    """
    if (refused := too_many_open(connection, new, limits)) is not None:
        return refused
    today = tickets.count_since(connection, new.guild_id, new.author_id, new.category, new.opened_at - _DAY)
    if today >= limits.most_a_day:
        return TicketRefused(
            "too_many_today",
            f"you opened {today} ticket{'s' * (today != 1)} of this kind within a day, which is as many as you may",
        )
    return None


def too_many_open(connection: Connection, new: Ticket, limits: TicketLimits) -> TicketRefused | None:
    """Return why somebody may not have another ticket open; None if he may."""
    if limits.most_open == 0:
        return TicketRefused("not_allowed", "with your roles you cannot open tickets of this kind")
    live = tickets.count_live(connection, new.guild_id, new.author_id, new.category)
    if live >= limits.most_open:
        return TicketRefused(
            "too_many_open",
            f"you have {live} open ticket{'s' * (live != 1)} of this kind, which is as many as there may be",
        )
    return None
