"""Which ticket a mail belongs to."""

from __future__ import annotations

import re

import msgspec
from sqlalchemy import Connection

from master.configuration.settings import MailboxSettings
from master.ledger.rows import mail_threads, tickets
from master.ledger.rows.mail_records import MailThread
from master.services.mailbox.mail_content import MailContent

MOST_IDS = 100
_NUMBER = re.compile(r"\[#(\d{1,9})\]")


def ticket_of(connection: Connection, mailbox: str, mail: MailContent) -> str | None:
    """Return the id of the ticket that a mail continues; None if it begins something.

    Only who wrote the mail that opened a ticket continues it: anybody may write its number into a subject.
    """
    if not mail.sender:
        return None
    addresses = {mail.sender.lower(), answered_at(mail)}
    threads = [one for address in addresses for one in mail_threads.of_address(connection, mailbox, address)]
    known = {message_id: thread for thread in reversed(threads) for message_id in ids_of(thread)}
    found = next((known[one] for one in mail.references if one in known), None)
    if found is None:
        number = _NUMBER.search(mail.subject)
        for thread in threads if number is not None else ():
            ticket = tickets.find(connection, thread.ticket_id)
            if ticket is not None and number is not None and ticket.number == int(number[1]):
                found = thread
    if found is None:
        return None
    ticket = tickets.find(connection, found.ticket_id)
    return None if ticket is None or ticket.state == "deleted" else ticket.id


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
