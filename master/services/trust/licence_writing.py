"""Changes of licences in the ledger: the licence and what became of it are one write, or neither is written."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from master.configuration.settings import LicenceTier
from master.ledger.identifiers import ulid_of
from master.ledger.rows import licence_events, licences
from master.ledger.rows.records import Licence, LicenceChange, LicenceEvent
from master.services.core.actors import Actor
from master.services.trust.licence_rules import PAST, LicenceAction, LicenceRefused, moved

KEEPER = Actor(face="system", identity="licences", name="the keeper of licences")
"""Who ends licences whose time is over."""


def note(
    connection: Connection, licence_id: str, what: LicenceChange, *, at: datetime, actor: str, detail: str = ""
) -> None:
    """Write down what became of a licence."""
    event = LicenceEvent(id=ulid_of(at), at=at, licence_id=licence_id, what=what, actor=actor, detail=detail)
    licence_events.insert(connection, event)


def write_change(connection: Connection, before: Licence, after: Licence) -> None:
    """Write a licence as it is now.

    Raises
    ------
    LicenceRefused
        It was changed since it was read.
    """
    if not licences.change(connection, before, after):
        raise LicenceRefused(f"licence {before.id} was changed a moment ago", hint="look again: `fleet licence show`")


def apply(
    connection: Connection,
    licence: Licence,
    action: LicenceAction,
    tier: LicenceTier,
    *,
    at: datetime,
    actor: str,
    detail: str = "",
    days: int | None = None,
    to: int | None = None,
    guild_id: int | None = None,
) -> Licence:
    """Carry out a legal action on a licence; returns it as it is now. ``moved`` describes the parameters.

    Raises
    ------
    LicenceRefused
        It is not legal.
    """
    after = moved(licence, action, tier, now=at, actor=actor, days=days, to=to, guild_id=guild_id)
    write_change(connection, licence, after)
    note(connection, licence.id, PAST[action], at=at, actor=actor, detail=detail)
    return after
