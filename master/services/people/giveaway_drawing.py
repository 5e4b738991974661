"""Draws winners, on record before anybody is told: who starts after a kill goes on where the ledger says.

A draw is a function of what is in the ledger (``giveaway_draw``), so that whoever repeats it finds the same winners; a
compare-and-set of the state lets one write them, with its row of the audit log in the same transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from master.bus import EventBus
from master.events import GiveawayChanged
from master.ledger.database import Ledger
from master.ledger.rows import giveaways
from master.ledger.rows.records import Giveaway, GiveawayWinner
from master.security.vault import SeedVault
from master.services.core.actors import SYSTEM, Actor
from master.services.core.auditing import AuditEntry, Auditor
from master.services.people.giveaway_draw import entries_hash, pick
from master.supervision.clock import Clock

DRAW = "giveaway_draw"
"""A draw's name in the audit log: of each there is one row."""
_READ_TIMEOUT_S = 30.0

Vacancy = Literal["unclaimed", "left", "replaced"]


class _Overtaken(Exception):
    """Another master, or another request, was first; nothing was written."""


class GiveawayDrawing:
    """Draw, and draw again.

    Parameters
    ----------
    seeds
        Opens what was sealed when a giveaway was started.
    """

    def __init__(self, *, ledger: Ledger, auditor: Auditor, seeds: SeedVault, bus: EventBus, clock: Clock) -> None:
        self._ledger = ledger
        self._auditor = auditor
        self._seeds = seeds
        self._bus = bus
        self._clock = clock

    async def begin(self, giveaway: Giveaway, *, actor: Actor = SYSTEM) -> bool:
        """Close the entries; False if another has done so, or it was cancelled.

        Raises
        ------
        LedgerError
        """
        now = self._clock.now()

        def close(connection: Connection) -> bool:
            values = {"state": "drawing", "changed_at": now, "changed_by": actor.label}
            if giveaway.ends_at > now:
                values["ends_at"] = now
            return giveaways.change(connection, giveaway.id, ["open"], **values)

        return await self._ledger.write(close)

    async def draw(self, giveaway: Giveaway) -> bool:
        """Draw the winners of a giveaway whose entries are closed; False if another has.

        Raises
        ------
        VaultError
            Its seed cannot be decrypted.
        LedgerError
        """
        seed = self._seeds.unseal(giveaway.id, giveaway.sealed_seed)
        entries = await self._entries_of(giveaway)
        hashed, won = await asyncio.to_thread(_first_draw, giveaway, seed, entries)
        now = self._clock.now()
        entry = self._auditor.entry(SYSTEM, DRAW)
        entry.detail = _told(giveaway.id, 0, won, hashed)

        def write(connection: Connection) -> None:
            if not giveaways.change(
                connection,
                giveaway.id,
                ["drawing"],
                state="drawn",
                seed=seed,
                entries_hash=hashed,
                draws=1,
                drawn_at=now,
                changed_at=now,
                changed_by=SYSTEM.label,
            ):
                raise _Overtaken
            _add(connection, giveaway.id, 0, won, now)
            entry.append(connection)

        return await self._write(giveaway, entry, write, "drawn")

    async def draw_again(
        self, giveaway: Giveaway, vacated: Sequence[tuple[GiveawayWinner, Vacancy]], *, actor: Actor = SYSTEM, why: str
    ) -> bool:
        """Draw as many winners as prizes are free again; all former winners are left out. False if another has.

        Parameters
        ----------
        vacated
            Winners whose prize goes on, and why.

        Raises
        ------
        LedgerError
        """
        if giveaway.seed is None or giveaway.entries_hash is None:
            raise RuntimeError(f"giveaway {giveaway.id} is not drawn")
        seed, hashed, draw = giveaway.seed, giveaway.entries_hash, giveaway.draws
        entries = await self._entries_of(giveaway)
        former = [w.user_id for w in await self.winners_of(giveaway)]
        won = await asyncio.to_thread(pick, seed, hashed, draw, entries, len(vacated), without=former)
        now = self._clock.now()
        entry = self._auditor.entry(actor, DRAW)
        entry.detail = f"{_told(giveaway.id, draw, won, hashed)}; {why}"[:400]

        def write(connection: Connection) -> None:
            if not giveaways.add_draw(connection, giveaway.id, draw, at=now, by=actor.label):
                raise _Overtaken
            for winner, state in vacated:
                if not giveaways.change_winner(connection, winner, state=state, changed_at=now, detail=why[:400]):
                    raise _Overtaken
            _add(connection, giveaway.id, draw, won, now)
            entry.append(connection)

        return await self._write(giveaway, entry, write, "drawn_again")

    async def winners_of(self, giveaway: Giveaway) -> list[GiveawayWinner]:
        """Return all winners of all draws.

        Raises
        ------
        LedgerError
        """
        return await self._ledger.read(lambda connection: giveaways.winners_of(connection, giveaway.id))

    async def set_winner(self, winner: GiveawayWinner, **values: Any) -> bool:
        """Write columns of a winner; False when his state is another by now.

        Raises
        ------
        LedgerError
        """
        now = self._clock.now()
        return await self._ledger.write(
            lambda connection: giveaways.change_winner(connection, winner, changed_at=now, **values)
        )

    async def _entries_of(self, giveaway: Giveaway) -> list[tuple[int, int]]:
        return await self._ledger.read(
            lambda connection: giveaways.entries_of(connection, giveaway.id), timeout_s=_READ_TIMEOUT_S
        )

    async def _write(
        self, giveaway: Giveaway, entry: AuditEntry, write: Callable[[Connection], None], what: str
    ) -> bool:
        try:
            await self._ledger.write(write)
        except _Overtaken:
            return False
        self._auditor.announce(entry)
        self._bus.publish(
            GiveawayChanged(
                at=self._clock.now(), giveaway_id=giveaway.id, what=what, actor=entry.actor.label, detail=giveaway.prize
            )
        )
        return True


def claim_until(giveaway: Giveaway, now: datetime, default_s: float) -> datetime | None:
    """Return until when a winner may claim; None where he need not, or has for ever."""
    seconds = giveaway.claim_s or (default_s if giveaway.prize_tier else 0)
    return now + timedelta(seconds=seconds) if seconds else None


def _first_draw(giveaway: Giveaway, seed: bytes, entries: Sequence[tuple[int, int]]) -> tuple[bytes, list[int]]:
    hashed = entries_hash(giveaway.id, entries)
    return hashed, pick(seed, hashed, 0, entries, giveaway.winners)


def _add(connection: Connection, giveaway_id: str, draw: int, won: Sequence[int], now: datetime) -> None:
    winners = [
        GiveawayWinner(giveaway_id=giveaway_id, draw=draw, place=place, user_id=user_id, state="drawn", changed_at=now)
        for place, user_id in enumerate(won)
    ]
    if winners:
        giveaways.add_winners(connection, winners)


def _told(giveaway_id: str, draw: int, won: Sequence[int], hashed: bytes) -> str:
    return f"{giveaway_id} draw {draw}: {len(won)} won; entries {hashed.hex()}"
