"""Operations on mailboxes, and on the mails that came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, operation
from master.operations.parameters import (
    MailAnswerParams,
    MailboxParams,
    MailboxPasswordParams,
    MailParams,
    MailsParams,
    MailTicketParams,
    NoParams,
)
from master.services.core.mailbox_views import MailAnswerRow, MailboxRow, MailboxTested, MailRow
from master.services.core.permissions import Permission
from master.services.core.ticket_views import TicketRow

if TYPE_CHECKING:
    from master.ledger.rows.records import Ticket
    from master.services.container import Services


@operation("mailboxes", parameters=NoParams, result=list[MailboxRow], permission=Permission.VIEW)
async def listing(call: Call[Services], parameters: NoParams) -> list[MailboxRow]:
    """Show the mailboxes that are watched."""
    return await call.services.mailboxes.listing()


@operation(
    "mailbox_test",
    parameters=MailboxParams,
    result=MailboxTested,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def test(call: Call[Services], parameters: MailboxParams) -> MailboxTested:
    """Say step by step what of a mailbox works, and what its rules would do; nothing is done."""
    call.entry.detail = parameters.mailbox
    return await call.services.mailboxes.test(parameters.mailbox)


@operation(
    "mailbox_pause",
    parameters=MailboxParams,
    result=MailboxRow,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def pause(call: Call[Services], parameters: MailboxParams) -> MailboxRow:
    """Stop watching a mailbox; what comes meanwhile is seen when it is resumed."""
    call.entry.detail = parameters.mailbox
    return await call.services.mailboxes.set_paused(parameters.mailbox, paused=True)


@operation(
    "mailbox_resume",
    parameters=MailboxParams,
    result=MailboxRow,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def resume(call: Call[Services], parameters: MailboxParams) -> MailboxRow:
    """Watch a mailbox again that was paused, or whose login was refused."""
    call.entry.detail = parameters.mailbox
    return await call.services.mailboxes.set_paused(parameters.mailbox, paused=False)


@operation(
    "mailbox_password",
    parameters=MailboxPasswordParams,
    result=MailboxRow,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def password(call: Call[Services], parameters: MailboxPasswordParams) -> MailboxRow:
    """Set what a mailbox is opened with, and open it."""
    from handshake.redaction import Secret

    call.entry.detail = parameters.mailbox
    return await call.services.mailboxes.set_password(parameters.mailbox, Secret(parameters.secret))


@operation("mails", parameters=MailsParams, result=list[MailRow], permission=Permission.VIEW)
async def mails(call: Call[Services], parameters: MailsParams) -> list[MailRow]:
    """Show mails that came, and what came of them, newest first."""
    return await call.services.mailboxes.mails(
        mailbox=parameters.mailbox, failed=parameters.failed, limit=parameters.limit
    )


@operation("mail_again", parameters=MailParams, result=MailRow, permission=Permission.OPERATE, audit=Audit.ONE_ROW)
async def again(call: Call[Services], parameters: MailParams) -> MailRow:
    """Act on a mail again about which something failed, or of which nobody can tell."""
    call.entry.detail = parameters.mail
    return await call.services.mailboxes.again(parameters.mail)


@operation(
    "mail_answer",
    parameters=MailAnswerParams,
    result=MailAnswerRow,
    permission=Permission.MEMBER,
    audit=Audit.ONE_ROW,
)
async def answer(call: Call[Services], parameters: MailAnswerParams) -> MailAnswerRow:
    """Answer by mail who opened a ticket; for the staff of its category."""
    ticket = await _ticket_of(call, parameters.ticket)
    return await call.services.mailboxes.answer(ticket, parameters.text, actor=call.actor.label)


@operation(
    "mail_ticket_close",
    parameters=MailTicketParams,
    result=TicketRow,
    permission=Permission.MEMBER,
    audit=Audit.ONE_ROW,
)
async def close_ticket(call: Call[Services], parameters: MailTicketParams) -> TicketRow:
    """Close a ticket that came by mail; for the staff of its category."""
    ticket, ticketing = await _ticket_of(call, parameters.ticket), call.services.ticketing
    closed = await ticketing.tickets.close(ticket, "", person_id=_person_of(call), actor=call.actor.label)
    return await ticketing.showing.row(await ticketing.work.do(closed.id) or closed)


async def _ticket_of(call: Call[Services], word: str) -> Ticket:
    """Return a ticket, if who asks is of its staff."""
    from master.services.people.ticket_errors import TicketRefused

    ticketing = call.services.ticketing
    ticket = await ticketing.showing.find(word)
    call.entry.detail = f"ticket {ticket.number}"
    person_id = _person_of(call)
    if person_id and not await ticketing.tickets.is_staff(ticket, person_id):
        raise TicketRefused("not_staff", f"<@{person_id}> is not of the staff for {ticket.category}")
    return ticket


def _person_of(call: Call[Services]) -> int:
    """Return who asks on Discord; 0 for the box itself."""
    return 0 if call.actor.owns_box else int(call.actor.identity)
