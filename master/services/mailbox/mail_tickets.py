"""Opens tickets for mails. Nobody on Discord wrote them: they are the master's and its staff's, no node is in them."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from sqlalchemy import Connection

from master.configuration.settings import TicketCategory
from master.ledger.rows import mail_threads, tickets
from master.ledger.rows.mail_records import MailThread
from master.ledger.rows.records import Node
from master.services.mailbox.acting import Deed, Job
from master.services.mailbox.errors import MailRefused
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.threads import answered_at

MOST_AN_HOUR = 30
"""Of one mailbox: whoever forges senders could fill the server with channels."""


class MailTickets:
    """Open tickets for mails. A ticket has its mail's id, so that a second try finds the first."""

    def __init__(self, tools: MailTools) -> None:
        self._tools = tools

    @property
    def deed(self) -> Deed:
        """``ticket``."""
        return Deed(self._open, self._find)

    async def _find(self, job: Job) -> str:
        found = await self._tools.ledger.read(lambda connection: tickets.find(connection, job.mail.id))
        return "" if found is None else f"ticket {found.number}"

    async def _open(self, job: Job) -> str:
        categories = self._tools.settings().tickets.categories
        category = categories.get(job.plan.category)
        if category is None:
            known = ", ".join(categories) or "none"
            raise MailRefused(f"TICKETS has no category {job.plan.category!r}", hint=f"it has: {known}")
        address = answered_at(job.content)
        if not address:
            raise MailRefused("it has no one sender who could be answered")
        node = self._node_for(category)
        thread = MailThread(
            ticket_id=job.mail.id,
            mailbox=job.mail.mailbox,
            address=address,
            subject=job.mail.subject,
            last_message_id=job.mail.message_id,
            message_ids=msgspec.json.encode([job.mail.message_id] if job.mail.message_id else []).decode(),
            changed_at=self._tools.clock.now(),
        )

        def also(connection: Connection) -> None:
            self._check_limits(connection, thread, category)
            mail_threads.insert(connection, thread)

        ticket = await self._tools.ticketing.tickets.open_by_mail(
            job.mail.id, node, job.plan.category, topic=f"{address}: {job.mail.subject}", also=also
        )
        return f"ticket {ticket.number}"

    def _node_for(self, category: TicketCategory) -> Node:
        """Return the bot that the ticket is counted to: the ledger knows of no ticket without one."""
        may = [
            node
            for node in self._tools.ticketing.tools.directory
            if self._tools.ticketing.tickets.may_open(node, category)
        ]
        if not may:
            raise MailRefused(
                "no bot of the fleet may open tickets of this category", hint="NODES of the category in TICKETS"
            )
        return min(may, key=lambda node: node.name.casefold())

    def _check_limits(self, connection: Connection, thread: MailThread, category: TicketCategory) -> None:
        live = mail_threads.count_live(connection, thread.mailbox, thread.address, tickets.LIVE)
        if live >= category.most_open_each:
            raise MailRefused(f"{thread.address} has {live} open tickets, as many as there may be")
        hour_ago = self._tools.clock.now() - timedelta(hours=1)
        if mail_threads.count_since(connection, thread.mailbox, hour_ago) >= MOST_AN_HOUR:
            raise MailRefused(f"mails opened {MOST_AN_HOUR} tickets within an hour, as many as may be")
