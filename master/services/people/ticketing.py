"""All services of tickets, built together; what others use of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from master.services.people.ticket_channels import TicketChannels
from master.services.people.ticket_check import TicketCheck
from master.services.people.ticket_desk import TicketDesk
from master.services.people.ticket_gate import TicketGate
from master.services.people.ticket_news import TicketNews
from master.services.people.ticket_permissions import TicketPermissions
from master.services.people.ticket_showing import TicketShowing
from master.services.people.ticket_tools import TicketTools
from master.services.people.ticket_upkeep import TicketUpkeep
from master.services.people.ticket_work import TicketWork
from master.services.people.tickets import Tickets
from master.services.trust.orders import NodeOrders


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticketing:
    """The services of tickets."""

    tools: TicketTools
    tickets: Tickets
    permissions: TicketPermissions
    desk: TicketDesk
    work: TicketWork
    upkeep: TicketUpkeep
    check: TicketCheck
    showing: TicketShowing


def build_ticketing(
    tools: TicketTools,
    orders: NodeOrders,
    *,
    is_verified: Callable[[str], bool],
    is_running: Callable[[str], bool],
) -> Ticketing:
    """Build the services of tickets; nothing is started yet."""
    news = TicketNews(orders, tools.directory, is_running)
    work = TicketWork(tools, TicketChannels(tools), news.tell)
    gate = TicketGate(tools, is_verified)
    tickets = Tickets(tools, work)
    permissions = TicketPermissions(tools, gate, tickets, work)
    check = TicketCheck(tools)
    desk = TicketDesk(tools, gate, tickets, work)
    closers = (desk.close, permissions.close, news.close)
    return Ticketing(
        tools=tools,
        tickets=tickets,
        permissions=permissions,
        desk=desk,
        work=work,
        upkeep=TicketUpkeep(tools, tickets, permissions, work, check.tell, closers),
        check=check,
        showing=TicketShowing(tools, tickets),
    )
