"""Answers to mails, written in their tickets: on record before they are sent, and never sent twice by guess."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime

from sqlalchemy import Connection

from handshake.redaction import Secret
from master.configuration.settings import MailboxSettings
from master.events import AlertLevel
from master.ledger.errors import LedgerError
from master.ledger.identifiers import new_ulid
from master.ledger.rows import mail_threads, tickets
from master.ledger.rows.mail_records import AnswerState, MailAnswer, Mailbox, MailThread
from master.ledger.rows.records import Ticket
from master.services.core.discord_port import Embed, Notice
from master.services.core.errors import DiscordPortError
from master.services.core.mailbox_views import MailAnswerRow
from master.services.mailbox.errors import MailboxError, MailRefused, MailServerAway
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.smtp import NotKnownWhetherSent, send
from master.services.mailbox.threads import ids_of, own_address, with_id
from master.wording import as_code, as_markdown, visible

log = logging.getLogger(__name__)

MOST_AN_HOUR = 20
"""In one ticket."""
AGAIN_FIRST_S, AGAIN_LAST_S = 5.0, 300.0
GIVEN_UP_AFTER = timedelta(days=1)
_MOST_REFERENCES, _DETAIL, _SHOWN = 20, 400, 3_500

Sending = Callable[..., Awaitable[None]]


class Answering:
    """Take answers, and send them one after the other.

    Parameters
    ----------
    secret_of
        Returns what to log in with.
    """

    def __init__(
        self, tools: MailTools, secret_of: Callable[[Mailbox], Awaitable[Secret[str]]], sending: Sending = send
    ) -> None:
        self._tools, self._secret_of, self._send = tools, secret_of, sending
        self.woken = asyncio.Event()
        self._failures = 0

    async def answer(self, ticket: Ticket, text: str, *, actor: str) -> MailAnswerRow:
        """Take an answer to who opened a ticket by mail; it is sent soon.

        Raises
        ------
        MailRefused
            The ticket did not come by mail, is over, or there is no way to answer.
        LedgerError
        """
        if ticket.state != "open":
            raise MailRefused(f"ticket {ticket.number} is {ticket.state}: nothing is answered in it")
        thread = await self._tools.ledger.read(lambda connection: mail_threads.find(connection, ticket.id))
        if thread is None:
            raise MailRefused(f"ticket {ticket.number} did not come by mail", hint="write in its channel instead")
        settings = self._tools.settings().mailboxes.get(thread.mailbox)
        if settings is None or not settings.smtp_host:
            raise MailRefused(
                f"nothing can be sent from the mailbox {thread.mailbox}", hint="SMTP_HOST in MAILBOXES names the server"
            )
        now, answer_id = self._tools.clock.now(), new_ulid(self._tools.clock)
        answer = MailAnswer(
            id=answer_id,
            ticket_id=ticket.id,
            at=now,
            text=text,
            written_by=actor[:120],
            message_id=f"<{answer_id.lower()}@{own_address(settings).rpartition('@')[2]}>",
            state="waiting",
            changed_at=now,
        )
        refused = await self._tools.ledger.write(lambda connection: _put(connection, answer, ticket))
        if refused:
            raise MailRefused(refused, hint="somebody at the other end may be a machine")
        self.woken.set()
        await self._show(ticket, thread, answer)
        return MailAnswerRow(ticket=ticket.number, to=thread.address, state=answer.state)

    async def _show(self, ticket: Ticket, thread: MailThread, answer: MailAnswer) -> None:
        """Show staff what is answered; the answer goes out without that too."""
        who = answer.written_by
        by = f"<@{who.removeprefix('discord:')}>" if who.startswith("discord:") else as_markdown(who)
        embed = Embed(
            title=f"Answered by mail, to {as_markdown(thread.address)}"[:250],
            description=f"{by}\n```\n{as_code(answer.text)[:_SHOWN]}\n```",
            colour=self._tools.settings().colours.success,
            footer=f"Answer {answer.id}",
        )
        try:
            await self._tools.port.post(ticket.channel_id or 0, Notice(embeds=(embed,), nonce=answer.id[-24:]))
            await self._tools.ticketing.tickets.touch(ticket)
        except (DiscordPortError, LedgerError) as error:
            log.warning("an answer is not shown in its ticket", extra={"answer": answer.id, "why": error.message})

    # Sending

    async def run(self) -> None:
        """Send until cancelled."""
        await self._look_at_interrupted()
        while True:
            self.woken.clear()
            pause_s: float | None = None
            try:
                await self._send_all()
                self._failures = 0
            except LedgerError:
                await self._tools.ledger.wait_available()
                pause_s = AGAIN_FIRST_S
            except MailServerAway as error:
                self._failures += 1
                pause_s = min(AGAIN_FIRST_S * 2.0 ** min(self._failures - 1, 20), AGAIN_LAST_S)
                log.info("answers wait for the mail server", extra={"why": error.message})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.woken.wait()

    async def _look_at_interrupted(self) -> None:
        """Ask about what was being sent when an earlier master ended: whether it was, nobody can look up."""
        while True:
            try:
                found = await self._tools.ledger.read(
                    lambda connection: mail_threads.answers_in(connection, ("sending",), limit=500)
                )
                for answer in found:
                    await self._end(answer, "asked", "the master ended while it was sent")
                return
            except LedgerError:
                await self._tools.ledger.wait_available()
                await asyncio.sleep(AGAIN_FIRST_S)

    async def _send_all(self) -> None:
        found = await self._tools.ledger.read(
            lambda connection: mail_threads.answers_in(connection, ("waiting",), limit=100)
        )
        away: MailServerAway | None = None
        for answer in found:
            try:
                await self._send_one(answer)
            except NotKnownWhetherSent as error:
                await self._end(answer, "asked", error.message)
            except MailServerAway as error:
                if self._tools.clock.now() - answer.at > GIVEN_UP_AFTER:
                    await self._end(answer, "failed", f"{error.message}, for a day")
                    continue
                await self._change(answer, ("sending",), "waiting", error.message)
                away = error
            except MailboxError as error:
                await self._end(answer, "failed", " ".join(filter(None, (error.message, error.hint))))
        if away is not None:
            raise away

    async def _send_one(self, answer: MailAnswer) -> None:
        ledger = self._tools.ledger
        thread = await ledger.read(lambda connection: mail_threads.find(connection, answer.ticket_id))
        ticket = await ledger.read(lambda connection: tickets.find(connection, answer.ticket_id))
        settings = None if thread is None else self._tools.settings().mailboxes.get(thread.mailbox)
        if thread is None or ticket is None or settings is None:
            raise MailRefused("its mailbox is not in MAILBOXES any more")
        secret = await self._secret_of(await self._tools.row(thread.mailbox))
        mail = written(answer, thread, ticket, settings)
        await self._change(answer, ("waiting",), "sending", "")
        await self._send(settings, secret, mail, to=thread.address)
        await self._end(answer, "sent", "")

    async def _change(self, answer: MailAnswer, was: tuple[AnswerState, ...], state: AnswerState, detail: str) -> None:
        now = self._tools.clock.now()
        await self._tools.ledger.write(
            lambda connection: mail_threads.change_answer(
                connection, answer.id, was=was, at=now, state=state, detail=detail[:_DETAIL]
            )
        )

    async def _end(self, answer: MailAnswer, state: AnswerState, detail: str) -> None:
        await self._change(answer, ("waiting", "sending"), state, detail)
        if state != "sent":
            await self._alert(answer, state, detail)
        self._tools.tell_act(answer.ticket_id, "", "", "answer", f"{state}{': ' if detail else ''}{detail}")

    async def _alert(self, answer: MailAnswer, state: AnswerState, detail: str) -> None:
        ticket = await self._tools.ledger.read(lambda connection: tickets.find(connection, answer.ticket_id))
        number = 0 if ticket is None else ticket.number
        what = "may not have been sent" if state == "asked" else "was not sent"
        self._tools.alerts.raise_alert(
            AlertLevel.WARNING,
            f"An answer by mail {what}",
            key=f"mail answer:{answer.id}",
            text=f"Ticket {number}: {detail}"[:1_000]
            + "\nIt is not sent again by itself: answer once more if need be.",
            fields=(("By", answer.written_by or "-"),),
        )


def written(answer: MailAnswer, thread: MailThread, ticket: Ticket, settings: MailboxSettings) -> EmailMessage:
    """Return an answer as a mail; programs show it in the thread of what it answers."""
    mail = EmailMessage()
    mail["From"], mail["To"] = own_address(settings), thread.address
    subject = visible(thread.subject).removeprefix("Re: ").strip()[:200]
    mark = f"[#{ticket.number}]"
    mail["Subject"] = f"Re: {subject}" + ("" if mark in subject else f" {mark}")
    mail["Message-ID"], mail["Date"] = answer.message_id, format_datetime(answer.at)
    known = [one for one in ids_of(thread) if one != answer.message_id]
    if thread.last_message_id:
        mail["In-Reply-To"] = thread.last_message_id
    if known:
        mail["References"] = " ".join(known[-_MOST_REFERENCES:])
    # Absence notes would come back as mails of that person.
    mail["X-Auto-Response-Suppress"] = "OOF, AutoReply"
    mail.set_content(answer.text)
    return mail


def _put(connection: Connection, answer: MailAnswer, ticket: Ticket) -> str:
    """Write an answer down, and that mails that answer it belong to its ticket; returns why not."""
    hour_ago = answer.at - timedelta(hours=1)
    if mail_threads.count_answers(connection, ticket.id, hour_ago) >= MOST_AN_HOUR:
        return f"{MOST_AN_HOUR} answers were written in ticket {ticket.number} within an hour, as many as may be"
    thread = mail_threads.find(connection, ticket.id)
    if thread is None:
        return f"ticket {ticket.number} did not come by mail"
    mail_threads.insert_answer(connection, answer)
    known = with_id(thread, answer.message_id)
    mail_threads.change(connection, ticket.id, at=answer.at, message_ids=known)
    return ""
