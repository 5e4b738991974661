"""Rows of ``mails`` and ``mail_actions``: each mail once, and what it sets off."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from master.ledger.rows.mail_records import Mail, MailAction
from master.ledger.schema.tables import mail_actions, mails


def is_known(connection: Connection, mailbox: str, mail_hash: bytes) -> bool:
    """Tell whether a mail came before, under whichever UID."""
    query = select(mails.c.id).where(mails.c.mailbox == mailbox, mails.c.mail_hash == mail_hash)
    return connection.execute(query).scalar() is not None


def insert(connection: Connection, mail: Mail, actions: Sequence[MailAction]) -> None:
    """Add a mail with its actions."""
    connection.execute(mails.insert().values(**_values(mail)))
    for action in actions:
        connection.execute(mail_actions.insert().values(**_values(action)))


def get(connection: Connection, mail_id: str) -> Mail | None:
    """Return a mail."""
    row = connection.execute(select(mails).where(mails.c.id == mail_id)).one_or_none()
    return None if row is None else Mail(**row._mapping)


def beginning_with(connection: Connection, beginning: str, *, limit: int = 2) -> list[Mail]:
    """Return the mails whose ids begin so."""
    end = beginning + "\x7f"
    query = select(mails).where(mails.c.id >= beginning, mails.c.id < end).order_by(mails.c.id).limit(limit)
    return [Mail(**row._mapping) for row in connection.execute(query)]


def recent(connection: Connection, *, mailbox: str = "", states: Collection[str] = (), limit: int) -> list[Mail]:
    """Return mails, newest first, without their content."""
    conditions: list[ColumnElement[bool]] = []
    if mailbox:
        conditions.append(mails.c.mailbox == mailbox)
    if states:
        conditions.append(mails.c.state.in_(states))
    columns = [column for column in mails.c if column.name != "content"]
    query = select(*columns).where(*conditions).order_by(mails.c.id.desc()).limit(limit)
    return [Mail(content="", **row._mapping) for row in connection.execute(query)]


def count_by_state(connection: Connection) -> dict[tuple[str, str], int]:
    """Return how many mails there are, by mailbox and state."""
    query = select(mails.c.mailbox, mails.c.state, func.count()).group_by(mails.c.mailbox, mails.c.state)
    return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def change(connection: Connection, mail_id: str, *, at: datetime, **values: object) -> None:
    """Change a mail."""
    connection.execute(mails.update().where(mails.c.id == mail_id).values(changed_at=at, **values))


# Actions


def actions_of(connection: Connection, mail_ids: Collection[str]) -> list[MailAction]:
    """Return the actions of some mails, in their order."""
    query = select(mail_actions).where(mail_actions.c.mail_id.in_(mail_ids))
    return [_action(row) for row in connection.execute(query.order_by(mail_actions.c.mail_id, mail_actions.c.number))]


def open_actions(connection: Connection, *, after: str = "", limit: int) -> list[MailAction]:
    """Return actions that are not done, of the oldest mails first; of those behind a mail."""
    query = select(mail_actions).where(mail_actions.c.state.in_(("planned", "doing")), mail_actions.c.mail_id > after)
    query = query.order_by(mail_actions.c.mail_id, mail_actions.c.number).limit(limit)
    return [_action(row) for row in connection.execute(query)]


def change_action(
    connection: Connection, mail_id: str, number: int, *, was: Collection[str], at: datetime, **values: object
) -> bool:
    """Change an action that is in one of the states ``was``; tells whether it was."""
    condition = (mail_actions.c.mail_id == mail_id) & (mail_actions.c.number == number)
    statement = mail_actions.update().where(condition, mail_actions.c.state.in_(was))
    return bool(connection.execute(statement.values(changed_at=at, **values)).rowcount)


def _values(record: Mail | MailAction) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _action(row: Row[Any]) -> MailAction:
    return MailAction(**row._mapping)
