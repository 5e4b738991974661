"""Which ticket a mail belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from master.configuration.settings import MailboxSettings
from master.ledger.rows import mail_threads, mails, tickets
from master.ledger.rows.mail_records import MailThread
from master.services.mailbox.mail_content import MailContent

MOST_IDS = 100
_NUMBER = re.compile(r"\[#(\d{1,9})\]")


def ticket_of(connection: Connection, mailbox: str, mail: MailContent) -> str | None:
    """Return the id of the ticket that a mail continues; None if it begins something.

    Only who wrote the mail that opened a ticket continues it, by a reference or by its number.
    """
    if not mail.sender:
        return None
    sender = mail.sender.lower()
    threads = [
        thread
        for address in dict.fromkeys((sender, answered_at(mail)))
        for thread in mail_threads.of_address(connection, mailbox, address)
    ]
    known = {message_id: thread for thread in reversed(threads) for message_id in ids_of(thread)}
    found = next((known[one] for one in mail.references if one in known), None)
    if found is None:
        found = _by_number(connection, [one for one in threads if one.address == sender], mail)
    if found is None:
        return None
    ticket = tickets.find(connection, found.ticket_id)
    return None if ticket is None or ticket.state == "deleted" else ticket.id


def _by_number(connection: Connection, threads: Sequence[MailThread], mail: MailContent) -> MailThread | None:
    """Return the thread whose number is in the subject, which anybody can guess.

    So the address has to be the sender's own, and as good as it was in the mail that opened the ticket: vouched for,
    unless that was not either.
    """
    number = _NUMBER.search(mail.subject)
    for thread in threads if number is not None else ():
        ticket = tickets.find(connection, thread.ticket_id)
        if ticket is not None and number is not None and ticket.number == int(number[1]):
            opened_by = mails.get(connection, ticket.id)
            was_trusted = opened_by is None or opened_by.is_trusted
            return thread if mail.verdict.is_trusted or not was_trusted else None
    return None


def answered_at(mail: MailContent) -> str:
    """Return where an answer to a mail goes: contact forms name the person in Reply-To."""
    return (mail.reply_to or mail.sender).lower()


def ids_of(thread: MailThread) -> list[str]:
    """Return the Message-IDs of a thread, the oldest first."""
    return msgspec.json.decode(thread.message_ids, type=list[str])


def with_id(thread: MailThread, message_id: str) -> str:
    """Return the Message-IDs of a thread with one more, for the ledger."""
    known = ids_of(thread)
    if message_id and message_id not in known:
        # The first stays: it is what the thread is named by.
        known = [*known[:1], *known[1:][-(MOST_IDS - 2) :], message_id]
    return msgspec.json.encode(known).decode()


def own_address(settings: MailboxSettings) -> str:
    """Return the address that a mailbox writes from."""
    return settings.user if "@" in settings.user else f"{settings.user}@{settings.smtp_host or settings.host}"
