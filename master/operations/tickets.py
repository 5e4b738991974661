"""Operations on tickets, and on who is let into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, operation
from master.operations.parameters import (
    NoParams,
    TicketCloseParams,
    TicketDecideParams,
    TicketParams,
    TicketPermissionParams,
    TicketPermissionsParams,
    TicketsParams,
)
from master.services.core.permissions import Permission
from master.services.core.ticket_views import TicketDetails, TicketFinding, TicketPermissionRow, TicketRow

if TYPE_CHECKING:
    from master.ledger.rows.records import Ticket
    from master.services.container import Services


@operation("tickets", parameters=TicketsParams, result=list[TicketRow], permission=Permission.MODERATE)
async def listing(call: Call[Services], parameters: TicketsParams) -> list[TicketRow]:
    """Show tickets, newest first."""
    showing = call.services.ticketing.showing
    return await showing.listing(node=parameters.node, everything=parameters.all, limit=parameters.limit)


@operation("ticket_show", parameters=TicketParams, result=TicketDetails, permission=Permission.MODERATE)
async def show(call: Call[Services], parameters: TicketParams) -> TicketDetails:
    """Show a ticket, and who was let into it."""
    return await call.services.ticketing.showing.show(parameters.ticket)


@operation(
    "ticket_close",
    parameters=TicketCloseParams,
    result=TicketRow,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
)
async def close(call: Call[Services], parameters: TicketCloseParams) -> TicketRow:
    """Close a ticket: its author only reads it from then on; it can be reopened."""
    ticketing, ticket = call.services.ticketing, await _find(call, parameters.ticket)
    return await _done(call, await ticketing.tickets.close(ticket, parameters.reason, actor=call.actor.label))


@operation(
    "ticket_reopen", parameters=TicketParams, result=TicketRow, permission=Permission.MODERATE, audit=Audit.ONE_ROW
)
async def reopen(call: Call[Services], parameters: TicketParams) -> TicketRow:
    """Open a closed ticket again."""
    ticket = await _find(call, parameters.ticket)
    return await _done(call, await call.services.ticketing.tickets.reopen(ticket, actor=call.actor.label))


@operation(
    "ticket_delete",
    parameters=TicketParams,
    result=TicketRow,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def delete(call: Call[Services], parameters: TicketParams) -> TicketRow:
    """Delete a closed ticket's channel, with all that was written in it."""
    ticket = await _find(call, parameters.ticket)
    return await _done(call, await call.services.ticketing.tickets.delete(ticket, actor=call.actor.label))


@operation(
    "ticket_permissions",
    parameters=TicketPermissionsParams,
    result=list[TicketPermissionRow],
    permission=Permission.MODERATE,
)
async def permissions(call: Call[Services], parameters: TicketPermissionsParams) -> list[TicketPermissionRow]:
    """Show who is let into which ticket, and what nodes ask for."""
    return await call.services.ticketing.showing.permissions(everything=parameters.all, limit=parameters.limit)


@operation(
    "ticket_permission_decide",
    parameters=TicketDecideParams,
    result=TicketPermissionRow,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
)
async def decide(call: Call[Services], parameters: TicketDecideParams) -> TicketPermissionRow:
    """Let somebody into a ticket whom a node asked for, or refuse it."""
    verb, ticketing = "grant" if parameters.grant else "refuse", call.services.ticketing
    call.entry.detail = f"{verb} {parameters.permission}"
    permission_id = await ticketing.showing.find_permission(parameters.permission)
    held = await ticketing.permissions.decide(permission_id, grant=parameters.grant, actor=call.actor.label)
    row = await ticketing.showing.permission(held)
    call.entry.detail = f"{verb} {row.permission_set} in ticket {row.ticket} to {row.subject_id}"
    return row


@operation(
    "ticket_permission_revoke",
    parameters=TicketPermissionParams,
    result=TicketPermissionRow,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
)
async def revoke(call: Call[Services], parameters: TicketPermissionParams) -> TicketPermissionRow:
    """Take somebody out of a ticket who was let in."""
    call.entry.detail = parameters.permission
    ticketing = call.services.ticketing
    permission_id = await ticketing.showing.find_permission(parameters.permission)
    held = await ticketing.permissions.revoke(permission_id, actor=call.actor.label)
    row = await ticketing.showing.permission(held)
    call.entry.detail = f"{row.permission_set} in ticket {row.ticket} of {row.subject_id}"
    return row


@operation("ticket_check", parameters=NoParams, result=list[TicketFinding], permission=Permission.MODERATE)
async def check(call: Call[Services], parameters: NoParams) -> list[TicketFinding]:
    """Look whether the master may do all that tickets need, in each category."""
    return list(await call.services.ticketing.check.look())


async def _find(call: Call[Services], word: str) -> Ticket:
    call.entry.detail = word[:60]
    ticket = await call.services.ticketing.showing.find(word)
    call.entry.detail, call.entry.node_id = f"ticket {ticket.number}", ticket.node_id
    return ticket


async def _done(call: Call[Services], ticket: Ticket) -> TicketRow:
    """Carry out what is on record now, and show what became of it."""
    ticketing = call.services.ticketing
    ticketing.work.tell(ticket)
    done = await ticketing.work.do(ticket.id)
    return await ticketing.showing.row(done or ticket)
