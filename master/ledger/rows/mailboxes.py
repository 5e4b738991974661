"""Rows of ``gmail_watch``: what is known of each mailbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from master.ledger.rows.mail_records import Mailbox
from master.ledger.schema.tables import gmail_watch


def find(connection: Connection, name: str) -> Mailbox | None:
    """Return a mailbox by its name."""
    row = connection.execute(select(gmail_watch).where(gmail_watch.c.name == name)).one_or_none()
    return None if row is None else _record(row)


def load_all(connection: Connection) -> list[Mailbox]:
    """Return all mailboxes that were ever watched, by name."""
    return [_record(row) for row in connection.execute(select(gmail_watch).order_by(gmail_watch.c.name))]


def insert(connection: Connection, mailbox: Mailbox) -> None:
    """Add a mailbox."""
    names = Mailbox.__struct_fields__
    connection.execute(gmail_watch.insert().values(**{name: getattr(mailbox, name) for name in names}))


def change(connection: Connection, mailbox_id: str, *, at: datetime, **values: object) -> None:
    """Change a mailbox."""
    connection.execute(gmail_watch.update().where(gmail_watch.c.id == mailbox_id).values(changed_at=at, **values))


def _record(row: Row[Any]) -> Mailbox:
    return Mailbox(**row._mapping)
