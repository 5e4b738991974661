"""Rows of ``mail_threads`` and ``mail_answers``: tickets that came by mail, and what was answered."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, func, select

from master.ledger.rows.mail_records import MailAnswer, MailThread
from master.ledger.schema.tables import mail_answers, mail_threads, tickets


def find(connection: Connection, ticket_id: str) -> MailThread | None:
    """Return the thread of a ticket."""
    row = connection.execute(select(mail_threads).where(mail_threads.c.ticket_id == ticket_id)).one_or_none()
    return None if row is None else MailThread(**row._mapping)


def of_address(connection: Connection, mailbox: str, address: str, *, limit: int = 50) -> list[MailThread]:
    """Return the threads with somebody, the newest first."""
    query = select(mail_threads).where(mail_threads.c.mailbox == mailbox, mail_threads.c.address == address)
    query = query.order_by(mail_threads.c.ticket_id.desc()).limit(limit)
    return [MailThread(**row._mapping) for row in connection.execute(query)]


def insert(connection: Connection, thread: MailThread) -> None:
    """Add a thread."""
    names = MailThread.__struct_fields__
    connection.execute(mail_threads.insert().values(**{name: getattr(thread, name) for name in names}))


def change(connection: Connection, ticket_id: str, *, at: datetime, **values: object) -> None:
    """Change a thread."""
    statement = mail_threads.update().where(mail_threads.c.ticket_id == ticket_id)
    connection.execute(statement.values(changed_at=at, **values))


def count_live(connection: Connection, mailbox: str, address: str, states: Collection[str]) -> int:
    """Return how many tickets somebody has in some states."""
    mine = (mail_threads.c.mailbox == mailbox, mail_threads.c.address == address)
    joined = mail_threads.join(tickets, tickets.c.id == mail_threads.c.ticket_id)
    query = select(func.count()).select_from(joined).where(*mine, tickets.c.state.in_(states))
    return connection.execute(query).scalar_one()


def count_since(connection: Connection, mailbox: str, since: datetime) -> int:
    """Return how many tickets a mailbox has opened since a moment."""
    joined = mail_threads.join(tickets, tickets.c.id == mail_threads.c.ticket_id)
    query = select(func.count()).select_from(joined)
    return connection.execute(query.where(mail_threads.c.mailbox == mailbox, tickets.c.opened_at >= since)).scalar_one()


# Answers


def insert_answer(connection: Connection, answer: MailAnswer) -> None:
    """Add an answer."""
    names = MailAnswer.__struct_fields__
    connection.execute(mail_answers.insert().values(**{name: getattr(answer, name) for name in names}))


def answers_in(connection: Connection, states: Collection[str], *, limit: int) -> list[MailAnswer]:
    """Return answers in some states, the oldest first."""
    query = select(mail_answers).where(mail_answers.c.state.in_(states)).order_by(mail_answers.c.id).limit(limit)
    return [MailAnswer(**row._mapping) for row in connection.execute(query)]


def count_answers(connection: Connection, ticket_id: str, since: datetime) -> int:
    """Return how many answers were written in a ticket since a moment."""
    query = select(func.count()).select_from(mail_answers)
    return connection.execute(
        query.where(mail_answers.c.ticket_id == ticket_id, mail_answers.c.at >= since)
    ).scalar_one()


def change_answer(
    connection: Connection, answer_id: str, *, was: Collection[str], at: datetime, **values: object
) -> bool:
    """Change an answer that is in one of the states ``was``; tells whether it was."""
    statement = mail_answers.update().where(mail_answers.c.id == answer_id, mail_answers.c.state.in_(was))
    return bool(connection.execute(statement.values(changed_at=at, **values)).rowcount)
