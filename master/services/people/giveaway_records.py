"""Reads giveaways from the ledger, with or without a running master. Every look-up is by server and id."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import giveaways
from master.ledger.rows.records import Giveaway, GiveawayWinner
from master.services.core.giveaway_views import (
    DrawView,
    GiveawayDetails,
    GiveawaysView,
    GiveawayView,
    WinnerView,
)
from master.services.people import giveaway_draw
from master.services.people.giveaway_errors import GiveawayRefused, NoSuchGiveaway
from master.services.people.giveaway_rules import rules_of

SHARED_S = 30.0
"""For so long all who check a draw get what was computed for the first of them."""
STANDING = ("drawn", "told", "claimed")
"""States of winners whose prize did not go on to others."""
_LIST_HINT = "`fleet giveaway list`, or `/giveaway list`, shows those that there are"


class GiveawayRecords:
    """Find and show giveaways."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._recomputing = asyncio.Lock()
        self._latest: tuple[str, int, DrawView] | None = None
        """The draw that was recomputed last: anybody may press **Check the draw**, as often as they like."""

    async def find(self, guild_id: int, word: str) -> Giveaway:
        """Return a giveaway by its id, or by as much of it as no other begins with.

        Parameters
        ----------
        guild_id
            The server on which it has to be; 0: any, for the command line of who owns the box.

        Raises
        ------
        NoSuchGiveaway
        LedgerError
        """
        typed = word.strip().upper()
        read = partial(giveaways.beginning_with, prefix=typed[:26], guild_id=guild_id)
        found = await self._ledger.read(read) if typed else []
        if len(found) != 1:
            many = "more than one giveaway begins with" if found else "there is no giveaway"
            raise NoSuchGiveaway(f"{many} {word[:40]!r}", hint=_LIST_HINT)
        return found[0]

    async def list(self, guild_id: int, limit: int) -> GiveawaysView:
        """Return the giveaways of a server, the latest first; ``guild_id`` 0: of all.

        Raises
        ------
        LedgerError
        """

        def read(connection: Connection) -> tuple[GiveawayView, ...]:
            found = giveaways.recent(connection, guild_id=guild_id, limit=limit)
            return tuple(_view(connection, giveaway) for giveaway in found)

        return GiveawaysView(giveaways=await self._ledger.read(read))

    async def view(self, giveaway_id: str) -> GiveawayView:
        """Return one giveaway as lists have it.

        Raises
        ------
        NoSuchGiveaway
        LedgerError
        """
        return (await self.details(giveaway_id)).giveaway

    async def details(self, giveaway_id: str) -> GiveawayDetails:
        """Return all that is known of a giveaway.

        Raises
        ------
        NoSuchGiveaway
        LedgerError
        """

        def read(connection: Connection) -> GiveawayDetails | None:
            found = giveaways.get(connection, giveaway_id)
            return None if found is None else _details(connection, found)

        details = await self._ledger.read(read)
        if details is None:
            raise NoSuchGiveaway(f"there is no giveaway {giveaway_id!r}", hint=_LIST_HINT)
        return details

    async def draw(self, giveaway: Giveaway) -> DrawView:
        """Recompute what was drawn, and return the file from which anybody can.

        Raises
        ------
        GiveawayRefused
            It is not drawn yet.
        LedgerError
        """
        async with self._recomputing:
            known = self._latest
            if known is not None and known[:2] == (giveaway.id, giveaway.draws):
                return known[2]
            view = await self._recompute(giveaway)
            self._latest = (giveaway.id, giveaway.draws, view)
            asyncio.get_running_loop().call_later(SHARED_S, self._forget, view)
            return view

    def _forget(self, view: DrawView) -> None:
        if self._latest is not None and self._latest[2] is view:
            self._latest = None

    async def _recompute(self, giveaway: Giveaway) -> DrawView:
        entries, winners = await self._ledger.read(partial(_drawn, giveaway_id=giveaway.id), timeout_s=30.0)
        seed = giveaway.seed
        if giveaway.state != "drawn" or seed is None or giveaway.entries_hash is None:
            hint = f"its seed's SHA-256 is {giveaway.seed_hash.hex()}; the seed is shown with the draw"
            raise GiveawayRefused(f"the giveaway of {giveaway.prize} is {giveaway.state}, not drawn", hint=hint)
        return await asyncio.to_thread(_draw_view, giveaway, seed, giveaway.entries_hash, entries, winners)


def draws_of(winners: Sequence[GiveawayWinner], count: int) -> list[giveaway_draw.Draw]:
    """Return the draws of a giveaway: each leaves out the winners of those before it."""
    draws, former = [], tuple[int, ...]()
    for number in range(count):
        won = tuple(winner.user_id for winner in winners if winner.draw == number)
        draws.append(giveaway_draw.Draw(without=former, winners=won))
        former += won
    return draws


def _drawn(connection: Connection, giveaway_id: str) -> tuple[list[tuple[int, int]], list[GiveawayWinner]]:
    return giveaways.entries_of(connection, giveaway_id), giveaways.winners_of(connection, giveaway_id)


def _draw_view(
    giveaway: Giveaway,
    seed: bytes,
    entries_hash: bytes,
    entries: Sequence[tuple[int, int]],
    winners: Sequence[GiveawayWinner],
) -> DrawView:
    draws = draws_of(winners, giveaway.draws)
    document = giveaway_draw.document(giveaway.id, giveaway.prize, seed, entries, draws)
    checked = giveaway_draw.check(document)
    problems = list(checked.problems)
    if giveaway_draw.seed_hash(seed) != giveaway.seed_hash:
        problems.append("the seed is not the one whose hash was published at the start")
    if checked.entries_hash != entries_hash.hex():
        problems.append("the entries are not those of the draw: some were added, changed or removed after it")
    return DrawView(
        id=giveaway.id,
        prize=giveaway.prize,
        seed_hash=giveaway.seed_hash.hex(),
        entries_hash=entries_hash.hex(),
        entries=len(entries),
        draws=giveaway.draws,
        winners=draws[-1].winners if draws else (),
        problems=tuple(problems),
        document=document,
    )


def _view(connection: Connection, giveaway: Giveaway) -> GiveawayView:
    return _view_with(connection, giveaway, giveaways.winners_of(connection, giveaway.id))


def _view_with(connection: Connection, giveaway: Giveaway, winners: Sequence[GiveawayWinner]) -> GiveawayView:
    return GiveawayView(
        id=giveaway.id,
        guild_id=giveaway.guild_id,
        channel_id=giveaway.channel_id,
        message_id=giveaway.message_id,
        prize=giveaway.prize,
        winners=giveaway.winners,
        state=giveaway.state,
        starts_at=giveaway.starts_at.timestamp(),
        ends_at=giveaway.ends_at.timestamp(),
        entries=giveaways.count_entries(connection, giveaway.id),
        seed_hash=giveaway.seed_hash.hex(),
        won_by=tuple(winner.user_id for winner in winners if winner.state in STANDING),
    )


def _details(connection: Connection, giveaway: Giveaway) -> GiveawayDetails:
    winners = giveaways.winners_of(connection, giveaway.id)
    return GiveawayDetails(
        giveaway=_view_with(connection, giveaway, winners),
        description=giveaway.description,
        rules=rules_of(giveaway),
        prize_tier=giveaway.prize_tier,
        claim_s=giveaway.claim_s,
        started_by=giveaway.started_by,
        entries_hash="" if giveaway.entries_hash is None else giveaway.entries_hash.hex(),
        drawn_at=_seconds(giveaway.drawn_at),
        changed_at=giveaway.changed_at.timestamp(),
        changed_by=giveaway.changed_by,
        reason=giveaway.reason,
        winners=tuple(
            WinnerView(
                user_id=winner.user_id,
                draw=winner.draw,
                place=winner.place,
                state=winner.state,
                claim_until=_seconds(winner.claim_until),
                detail=winner.detail,
            )
            for winner in winners
        ),
    )


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
