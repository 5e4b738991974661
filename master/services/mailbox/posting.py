"""Posts mails: in a channel, as a notice for operators, or in their ticket."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from master.ledger.rows import mail_threads, tickets
from master.ledger.rows.records import Ticket
from master.services.core.discord_port import Notice
from master.services.core.errors import DiscordForbidden, DiscordPortError, DiscordUnavailable
from master.services.mailbox.acting import CannotTell, Deed, Job, NotYet
from master.services.mailbox.errors import MailRefused
from master.services.mailbox.mail_notices import footer_of, mail_notice, ticket_buttons
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.threads import with_id

_CLOCKS_DIFFER = timedelta(minutes=10)
_DISCORD_EPOCH_MS = 1_420_070_400_000
_MOST_MESSAGES = 1_000
"""Of a channel since a post was begun: among more it is not looked for."""


class Posting:
    """Post mails, and find those that were posted."""

    def __init__(self, tools: MailTools) -> None:
        self._tools = tools

    @property
    def in_channel(self) -> Deed:
        """``post`` and ``notify``."""
        return Deed(self._post, self._find_post)

    @property
    def in_ticket(self) -> Deed:
        """``write``."""
        return Deed(self._write, self._find_written)

    async def _post(self, job: Job) -> str:
        channel_id = self._channel_of(job)
        notice = mail_notice(job.mail, job.content, job.action, self._tools.settings().colours)
        return await self._send(channel_id, notice)

    async def _find_post(self, job: Job) -> str:
        return await self._find(self._channel_of(job), job)

    def _channel_of(self, job: Job) -> int:
        log_id = self._tools.settings().channels.log
        channel_id = log_id if job.action.action == "notify" else job.plan.channel_id or log_id
        if not channel_id:
            raise MailRefused(
                "there is no channel for it",
                hint="CHANNEL_ID of the rule, of the mailbox, or LOG of CHANNELS in config.py",
            )
        return channel_id

    async def _send(self, channel_id: int, notice: Notice) -> str:
        posted = await self._tools.port.post(channel_id, notice)
        return f"message {posted.channel_id}/{posted.id}"

    async def _find(self, channel_id: int, job: Job) -> str:
        """Return the message of an action that was begun; empty if there is none."""
        since = _snowflake(job.action.changed_at - _CLOCKS_DIFFER)
        try:
            found = await self._tools.port.messages_since(channel_id, since, limit=_MOST_MESSAGES)
        except DiscordUnavailable:
            raise
        except DiscordForbidden as error:
            raise CannotTell(f"{error.message}: whether it was posted cannot be seen") from error
        if not found and ((await self._tools.port.channel(channel_id)).last_message_id or 0) > since:
            # Without Read Message History Discord returns no messages, and no error.
            raise CannotTell("its channel's history cannot be read: whether it was posted cannot be seen")
        own, mark = self._tools.own_user_id(), f"{footer_of(job.mail.id, job.action.number)} ·"
        for message in found:
            if message.author_id == own and any(footer.startswith(mark) for footer in message.footers):
                return f"message {message.channel_id}/{message.id}"
        if len(found) >= _MOST_MESSAGES:
            raise CannotTell(
                f"{len(found)} messages were written in its channel since: it is not looked for among them"
            )
        return ""

    # In a ticket

    async def _write(self, job: Job) -> str:
        ticket = await self._open_ticket(job)
        settings = self._tools.settings()
        mailbox = settings.mailboxes.get(job.mail.mailbox)
        buttons = ticket_buttons(ticket.id, can_answer=mailbox is not None and bool(mailbox.smtp_host))
        notice = mail_notice(job.mail, job.content, job.action, settings.colours, buttons)
        result = await self._send(ticket.channel_id or 0, notice)
        await self._note(ticket, job)
        return result

    async def _find_written(self, job: Job) -> str:
        ticket = await self._open_ticket(job)
        result = await self._find(ticket.channel_id or 0, job)
        if result:
            await self._note(ticket, job)
        return result

    async def _open_ticket(self, job: Job) -> Ticket:
        """Return the mail's ticket, once it has a channel in which is written.

        Raises
        ------
        NotYet
        MailRefused
        """
        ticketing = self._tools.ticketing
        ticket = await self._tools.ledger.read(lambda connection: tickets.find(connection, job.plan.ticket_id))
        if ticket is None or ticket.state == "deleted":
            raise MailRefused("its ticket is gone")
        if ticket.state == "closed":
            ticket = await ticketing.tickets.reopen(ticket, actor=f"mail:{job.mail.mailbox}")
        try:
            ticket = await ticketing.work.do(ticket.id) or ticket
        except DiscordUnavailable:
            raise
        except DiscordPortError as error:
            raise MailRefused(error.message, hint=error.hint or "`fleet tickets check` looks at all") from error
        if ticket.state != "open" or ticket.channel_id is None:
            raise NotYet(f"ticket {ticket.number} is {ticket.state}")
        return ticket

    async def _note(self, ticket: Ticket, job: Job) -> None:
        """Write down that a mail belongs to a ticket, which is not stale then."""
        now = self._tools.clock.now()

        def write(connection: Connection) -> None:
            thread = mail_threads.find(connection, ticket.id)
            if thread is not None and job.mail.message_id:
                known = with_id(thread, job.mail.message_id)
                values = {"message_ids": known, "last_message_id": job.mail.message_id}
                mail_threads.change(connection, ticket.id, at=now, **values)

        await self._tools.ledger.write(write)
        await self._tools.ticketing.tickets.touch(ticket)


def _snowflake(moment: datetime) -> int:
    """Return the lowest id of what Discord made since a moment."""
    return max(0, int(moment.timestamp() * 1000) - _DISCORD_EPOCH_MS) << 22
