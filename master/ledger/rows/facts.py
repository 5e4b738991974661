"""Rows of ``facts``: what there is one of in a fleet, such as its id."""

from __future__ import annotations

from sqlalchemy import Connection, select

from master.ledger.schema.tables import facts


def get(connection: Connection, name: str) -> str | None:
    """Return a fact."""
    return connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar_one_or_none()


def get_or_add(connection: Connection, name: str, value: str) -> str:
    """Return a fact; the value becomes it if there is none yet."""
    found = get(connection, name)
    if found is not None:
        return found
    connection.execute(facts.insert().values(name=name, value=value))
    return value
