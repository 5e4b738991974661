"""Rows of ``giveaways``, ``giveaway_entries`` and ``giveaway_winners``.

Each change of a state names the state that it goes out from: of two masters that find the same end due, one draws.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from msgspec import structs
from sqlalchemy import Connection, and_, func, or_, select

from master.ledger.rows.records import Giveaway, GiveawayEntry, GiveawayWinner
from master.ledger.schema.tables import giveaway_entries, giveaway_winners, giveaways

_OPEN = ("scheduled", "open")


def insert(connection: Connection, giveaway: Giveaway) -> None:
    """Add a giveaway."""
    connection.execute(giveaways.insert().values(**structs.asdict(giveaway)))


def get(connection: Connection, giveaway_id: str) -> Giveaway | None:
    """Return a giveaway; None if there is none."""
    row = connection.execute(select(giveaways).where(giveaways.c.id == giveaway_id)).first()
    return None if row is None else Giveaway(**row._mapping)


def beginning_with(connection: Connection, prefix: str, *, guild_id: int, limit: int = 2) -> list[Giveaway]:
    """Return the giveaways whose ids begin so.

    Parameters
    ----------
    guild_id
        Only those of this server; 0: of any.
    """
    query = select(giveaways).where(giveaways.c.id.startswith(prefix, autoescape=True)).order_by(giveaways.c.id)
    if guild_id:
        query = query.where(giveaways.c.guild_id == guild_id)
    return [Giveaway(**row._mapping) for row in connection.execute(query.limit(limit))]


def recent(connection: Connection, *, guild_id: int, limit: int) -> list[Giveaway]:
    """Return the giveaways that were made last, the latest first; ``guild_id`` 0: of any server."""
    query = select(giveaways).order_by(giveaways.c.id.desc()).limit(limit)
    if guild_id:
        query = query.where(giveaways.c.guild_id == guild_id)
    return [Giveaway(**row._mapping) for row in connection.execute(query)]


def count_open(connection: Connection, guild_id: int) -> int:
    """Return how many giveaways of a server are open or scheduled."""
    query = select(func.count()).select_from(giveaways)
    query = query.where(giveaways.c.guild_id == guild_id, giveaways.c.state.in_(_OPEN))
    return int(connection.execute(query).scalar_one())


def unfinished(connection: Connection, now: datetime) -> list[Giveaway]:
    """Return the giveaways that are not at their end, or not told of, or that have claims which ran out."""
    overdue = select(giveaway_winners.c.giveaway_id).where(
        giveaway_winners.c.state == "told", giveaway_winners.c.claim_until <= now
    )
    query = select(giveaways).where(
        or_(
            giveaways.c.state.in_((*_OPEN, "drawing")),
            giveaways.c.told_draws < giveaways.c.draws,
            and_(giveaways.c.state == "drawn", giveaways.c.id.in_(overdue)),
        )
    )
    return [Giveaway(**row._mapping) for row in connection.execute(query.order_by(giveaways.c.id))]


def next_claim_end(connection: Connection) -> datetime | None:
    """Return when the next claim runs out; None when none is open."""
    table = giveaway_winners
    query = select(table.c.claim_until).where(table.c.state == "told", table.c.claim_until.is_not(None))
    row = connection.execute(query.order_by(table.c.claim_until).limit(1)).first()
    return None if row is None else row[0]


def change(connection: Connection, giveaway_id: str, was: Collection[str], **values: Any) -> bool:
    """Write columns of a giveaway that is in one of these states; False when it is in another by now."""
    query = giveaways.update().where(giveaways.c.id == giveaway_id, giveaways.c.state.in_(tuple(was)))
    return connection.execute(query.values(**values)).rowcount == 1


def add_draw(connection: Connection, giveaway_id: str, draw: int, *, at: datetime, by: str) -> bool:
    """Count a further draw; False when another master has made it."""
    query = giveaways.update().where(
        giveaways.c.id == giveaway_id, giveaways.c.state == "drawn", giveaways.c.draws == draw
    )
    return connection.execute(query.values(draws=draw + 1, changed_at=at, changed_by=by)).rowcount == 1


# Entries


def entered(connection: Connection, giveaway_id: str, user_ids: Sequence[int]) -> set[int]:
    """Return who of these is in; at most 1,000 are asked about."""
    table = giveaway_entries
    query = select(table.c.user_id).where(table.c.giveaway_id == giveaway_id, table.c.user_id.in_(user_ids))
    return set(connection.scalars(query))


def add_entries(connection: Connection, entries: Sequence[GiveawayEntry]) -> None:
    """Add entries, in one statement."""
    connection.execute(giveaway_entries.insert(), [structs.asdict(entry) for entry in entries])


def remove_entries(connection: Connection, giveaway_id: str, user_ids: Sequence[int]) -> None:
    """Remove entries; at most 1,000."""
    table = giveaway_entries
    connection.execute(table.delete().where(table.c.giveaway_id == giveaway_id, table.c.user_id.in_(user_ids)))


def count_entries(connection: Connection, giveaway_id: str) -> int:
    """Return how many people are in."""
    query = select(func.count()).select_from(giveaway_entries)
    return int(connection.execute(query.where(giveaway_entries.c.giveaway_id == giveaway_id)).scalar_one())


def entries_of(connection: Connection, giveaway_id: str) -> list[tuple[int, int]]:
    """Return who is in with how many entries, by user id."""
    table = giveaway_entries
    query = select(table.c.user_id, table.c.weight).where(table.c.giveaway_id == giveaway_id)
    return [(user_id, weight) for user_id, weight in connection.execute(query.order_by(table.c.user_id))]


# Winners


def add_winners(connection: Connection, winners: Sequence[GiveawayWinner]) -> None:
    """Add the winners of a draw."""
    connection.execute(giveaway_winners.insert(), [structs.asdict(winner) for winner in winners])


def winners_of(connection: Connection, giveaway_id: str) -> list[GiveawayWinner]:
    """Return all winners of all draws, in their order."""
    table = giveaway_winners
    query = select(table).where(table.c.giveaway_id == giveaway_id).order_by(table.c.draw, table.c.place)
    return [GiveawayWinner(**row._mapping) for row in connection.execute(query)]


def change_winner(connection: Connection, winner: GiveawayWinner, **values: Any) -> bool:
    """Write columns of a winner; False when its state is another by now."""
    table = giveaway_winners
    query = table.update().where(
        table.c.giveaway_id == winner.giveaway_id,
        table.c.draw == winner.draw,
        table.c.place == winner.place,
        table.c.state == winner.state,
    )
    return connection.execute(query.values(**values)).rowcount == 1
