"""Giveaways as people use them: started, entered, ended, drawn again, claimed, checked."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import structs
from sqlalchemy import Connection

from master.bus import EventBus
from master.configuration.settings import Settings
from master.errors import FleetError
from master.events import GiveawayChanged
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows import giveaways
from master.ledger.rows.records import Giveaway, GiveawayWinner
from master.security.vault import SeedVault
from master.services.core.actors import Actor
from master.services.core.auditing import AuditEntry
from master.services.core.errors import DiscordUnavailable, TierUnknown
from master.services.core.giveaway_views import (
    ClaimView,
    EntryView,
    GiveawayDetails,
    GiveawayRules,
    GiveawayView,
)
from master.services.people.giveaway_draw import SEED_BYTES, seed_hash
from master.services.people.giveaway_drawing import GiveawayDrawing, Vacancy
from master.services.people.giveaway_entries import GiveawayEntries, Taken
from master.services.people.giveaway_errors import GiveawayRefused, NotEligible, NothingToClaim
from master.services.people.giveaway_keeper import GiveawayKeeper
from master.services.people.giveaway_prizes import Prizes
from master.services.people.giveaway_records import GiveawayRecords
from master.services.people.giveaway_rules import Entrant, encoded, refusal, rules_of, unknown_tiers, weight_of
from master.services.people.giveaway_telling import GiveawayTelling, standing
from master.supervision.clock import Clock
from master.wording import encodable

SHORTEST_S, LONGEST_S = 10.0, 366 * 86_400.0
_MOST_KNOWN = 200
_ANY_OPEN = ("scheduled", "open")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A giveaway to start.

    Parameters
    ----------
    starts_in_s
        0: at once.
    duration_s
        From its start on.
    claim_s
        How long winners have to claim; 0: they need not, or as the settings say for a licence.
    """

    guild_id: int
    channel_id: int
    started_by: int
    prize: str
    duration_s: float
    winners: int = 1
    description: str = ""
    rules: GiveawayRules = GiveawayRules()
    prize_tier: str = ""
    claim_s: int = 0
    starts_in_s: float = 0.0


class Giveaways:
    """All that people do with giveaways.

    Parameters
    ----------
    settings
        Returns the settings in effect.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        records: GiveawayRecords,
        entries: GiveawayEntries,
        drawing: GiveawayDrawing,
        telling: GiveawayTelling,
        keeper: GiveawayKeeper,
        prizes: Prizes,
        seeds: SeedVault,
        bus: EventBus,
        clock: Clock,
        settings: Callable[[], Settings],
    ) -> None:
        self.records = records
        self.keeper = keeper
        self.entries = entries
        self._ledger = ledger
        self._drawing = drawing
        self._telling = telling
        self._prizes = prizes
        self._seeds = seeds
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._known: dict[str, Giveaway] = {}
        """Open giveaways that were pressed on lately."""
        bus.on(GiveawayChanged, self._forget)

    async def run(self) -> None:
        """Open, end, draw and tell giveaways when it is time, until cancelled."""
        await self.keeper.run()

    # Moderators

    async def start(self, entry: AuditEntry, wanted: Wanted) -> GiveawayView:
        """Start a giveaway, or schedule it; its message is posted at once unless Discord is away.

        Parameters
        ----------
        entry
            The audit row, which has the seed's hash; written in the transaction that adds the giveaway.

        Raises
        ------
        GiveawayRefused
            It is too short or too long, or the server has as many as it may have.
        TierUnknown
        DiscordPortError
            Its message cannot be posted; it is cancelled.
        LedgerError
        """
        self._check_tiers(wanted.rules, wanted.prize_tier)
        _check_duration(wanted.duration_s)
        now = self._clock.now()
        giveaway_id, seed = new_ulid(self._clock), secrets.token_bytes(SEED_BYTES)
        starts_at = now + timedelta(seconds=wanted.starts_in_s)
        giveaway = Giveaway(
            id=giveaway_id,
            guild_id=wanted.guild_id,
            channel_id=wanted.channel_id,
            prize=encodable(wanted.prize),
            description=encodable(wanted.description),
            winners=wanted.winners,
            rules=encoded(wanted.rules),
            prize_tier=wanted.prize_tier,
            claim_s=wanted.claim_s,
            started_by=wanted.started_by,
            starts_at=starts_at,
            ends_at=starts_at + timedelta(seconds=wanted.duration_s),
            state="scheduled" if wanted.starts_in_s else "open",
            seed_hash=seed_hash(seed),
            sealed_seed=self._seeds.seal(giveaway_id, seed),
            changed_at=now,
            changed_by=entry.actor.label,
        )
        entry.detail = f"{giveaway_id}: seed hash {giveaway.seed_hash.hex()}; {wanted.winners} x {giveaway.prize}"[:400]
        most = self._settings().giveaways.most_open

        def write(connection: Connection) -> None:
            if giveaways.count_open(connection, wanted.guild_id) >= most:
                raise GiveawayRefused(
                    f"this server has {most} giveaways that are open or scheduled, which is the most it may have",
                    hint="end one, or raise GIVEAWAYS['MOST_OPEN'] in config.py",
                )
            giveaways.insert(connection, giveaway)
            entry.append(connection)

        await self._ledger.write(write)
        entry.written = True
        self._publish(giveaway.id, "scheduled" if wanted.starts_in_s else "started", entry.actor, giveaway.prize)
        await self._advance(giveaway.id)
        return await self.records.view(giveaway.id)

    async def edit(
        self,
        guild_id: int,
        word: str,
        actor: Actor,
        *,
        prize: str | None = None,
        description: str | None = None,
        winners: int | None = None,
        ends_in_s: float | None = None,
    ) -> GiveawayView:
        """Change a giveaway that is open or scheduled; None leaves a value. Who may enter does not change.

        Parameters
        ----------
        ends_in_s
            From now on; of a scheduled one from its start on.

        Raises
        ------
        NoSuchGiveaway
        GiveawayRefused
        LedgerError
        """
        found = await self.records.find(guild_id, word)
        values: dict[str, Any] = {"prize": prize, "description": description, "winners": winners}
        values = {name: value for name, value in values.items() if value is not None}
        if ends_in_s is not None:
            _check_duration(ends_in_s)
            values["ends_at"] = max(self._clock.now(), found.starts_at) + timedelta(seconds=ends_in_s)
        if not values:
            raise GiveawayRefused("nothing to change was named", hint="name a prize, winners, a description or an end")
        await self._change(found, actor, "edited", _ANY_OPEN, values)
        self.keeper.count_changed(found.id)
        return await self.records.view(found.id)

    async def end(self, guild_id: int, word: str, actor: Actor) -> GiveawayDetails:
        """End an open giveaway now, and draw its winners.

        Raises
        ------
        NoSuchGiveaway
        GiveawayRefused
            It is not open.
        FleetError
        """
        found = await self.records.find(guild_id, word)
        async with self.keeper.alone(found.id):
            if not await self._drawing.begin(found, actor=actor):
                raise await self._wrong_state(found, "ended")
            self._publish(found.id, "ended", actor, found.prize)
            await self._finish(found.id)
        return await self.records.details(found.id)

    async def cancel(self, guild_id: int, word: str, actor: Actor, *, why: str) -> GiveawayDetails:
        """Cancel a giveaway that is open or scheduled: nobody wins it.

        Raises
        ------
        NoSuchGiveaway
        GiveawayRefused
            It was drawn, or cancelled already.
        FleetError
        """
        found = await self.records.find(guild_id, word)
        async with self.keeper.alone(found.id):
            # Its message is still to say so: what is not told yet is made up for.
            values = {"state": "cancelled", "reason": encodable(why)[:400], "draws": 1}
            await self._change(found, actor, "cancelled", _ANY_OPEN, values)
            await self._finish(found.id)
        return await self.records.details(found.id)

    async def reroll(
        self, guild_id: int, word: str, actor: Actor, *, user_id: int = 0, why: str = ""
    ) -> GiveawayDetails:
        """Draw again for one winner, or for all that there are; nobody who has won wins again.

        Raises
        ------
        NoSuchGiveaway
        GiveawayRefused
            It is not drawn, or ``user_id`` is none of its winners.
        FleetError
        """
        found = await self.records.find(guild_id, word)
        async with self.keeper.alone(found.id):
            found = await self.records.find(guild_id, found.id)
            if found.state != "drawn":
                raise await self._wrong_state(found, "drawn again")
            winners = standing(await self._drawing.winners_of(found))
            replaced: list[tuple[GiveawayWinner, Vacancy]] = [
                (winner, "replaced") for winner in winners if user_id in (0, winner.user_id)
            ]
            if not replaced:
                raise GiveawayRefused(
                    "this user is none of its winners" if user_id else "it has no winner to draw again for",
                    hint="`fleet giveaway show` lists the winners of each draw",
                )
            if not await self.keeper.draw_again(found, replaced, why=why or "asked for", actor=actor):
                raise GiveawayRefused("somebody else has drawn it again just now", hint="look at it, and try again")
            await self._finish(found.id)
        return await self.records.details(found.id)

    # Members

    async def enter(self, guild_id: int, giveaway_id: str, entrant: Entrant) -> EntryView:
        """Enter somebody; a second press is no second entry.

        Raises
        ------
        NoSuchGiveaway
        NotEligible
        GiveawayRefused
            It is not open.
        LedgerError
        """
        giveaway = await self._open_one(guild_id, giveaway_id)
        rules = rules_of(giveaway)
        lacks = refusal(rules, entrant, self._clock.now())
        if not lacks and rules.tier and not await self._prizes.holds(entrant.user_id, rules.tier):
            lacks = f"it is for who holds a licence of the tier {rules.tier}"
        if lacks:
            raise NotEligible("you cannot enter this giveaway", hint=lacks)
        weight = weight_of(rules, entrant)
        return self._taken(giveaway, await self.entries.enter(giveaway.id, entrant.user_id, weight), weight)

    async def leave(self, guild_id: int, giveaway_id: str, user_id: int) -> EntryView:
        """Take somebody out of a giveaway.

        Raises
        ------
        NoSuchGiveaway
        GiveawayRefused
            It is not open.
        LedgerError
        """
        giveaway = await self._open_one(guild_id, giveaway_id)
        return self._taken(giveaway, await self.entries.leave(giveaway.id, user_id), 0)

    async def claim(self, guild_id: int, giveaway_id: str, user_id: int) -> ClaimView:
        """Hand a winner his prize; a licence that he has not redeemed gets a new code each time.

        Raises
        ------
        NoSuchGiveaway
        NothingToClaim
        FleetError
        """
        giveaway = await self.records.find(guild_id, giveaway_id)
        async with self.keeper.alone(giveaway.id):
            winners = [w for w in await self._drawing.winners_of(giveaway) if w.user_id == user_id]
            if not winners:
                raise NothingToClaim("you have not won this giveaway")
            winner = winners[-1]
            if winner.state == "told":
                now = self._clock.now()
                if winner.claim_until is not None and winner.claim_until <= now:
                    raise NothingToClaim("the time to claim this prize is over", hint="it is drawn again")
                if await self._drawing.set_winner(winner, state="claimed", detail="claimed"):
                    self._publish(giveaway.id, "claimed", None, f"{giveaway.prize}: {user_id}")
                winner = structs.replace(winner, state="claimed")
            if winner.state != "claimed":
                gone = winner.state in ("unclaimed", "left", "replaced")
                raise NothingToClaim("this prize went on to somebody else" if gone else "a moment, please: try again")
            code = await self._telling.fresh_code(giveaway, winner) if giveaway.prize_tier else None
        return ClaimView(prize=giveaway.prize, tier=giveaway.prize_tier, code="" if code is None else code.reveal())

    # Shared

    def _forget(self, event: GiveawayChanged) -> None:
        self._known.pop(event.giveaway_id, None)

    def _taken(self, giveaway: Giveaway, taken: Taken, weight: int) -> EntryView:
        if taken.outcome == "closed":
            self._known.pop(giveaway.id, None)
            raise _closed(giveaway)
        if taken.outcome in ("entered", "left"):
            self.keeper.count_changed(giveaway.id)
        return EntryView(
            outcome=taken.outcome,
            prize=giveaway.prize,
            ends_at=giveaway.ends_at.timestamp(),
            entries=taken.entries,
            weight=weight if taken.outcome in ("entered", "already") else 0,
        )

    async def _open_one(self, guild_id: int, giveaway_id: str) -> Giveaway:
        known = self._known.get(giveaway_id)
        if known is None or known.guild_id != guild_id:
            known = await self.records.find(guild_id, giveaway_id)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[known.id] = known
        if known.state != "open":
            raise _closed(known)
        return known

    async def _change(
        self, giveaway: Giveaway, actor: Actor, what: str, was: tuple[str, ...], values: Mapping[str, Any]
    ) -> None:
        written = {**values, "changed_at": self._clock.now(), "changed_by": actor.label}
        if not await self._ledger.write(lambda connection: giveaways.change(connection, giveaway.id, was, **written)):
            raise await self._wrong_state(giveaway, what)
        self._publish(giveaway.id, what, actor, giveaway.prize)

    async def _wrong_state(self, giveaway: Giveaway, what: str) -> FleetError:
        now = (await self.records.view(giveaway.id)).state
        return GiveawayRefused(f"a giveaway that is {now} cannot be {what}", hint="`/giveaway list` shows their states")

    async def _advance(self, giveaway_id: str) -> None:
        async with self.keeper.alone(giveaway_id):
            await self._finish(giveaway_id)

    async def _finish(self, giveaway_id: str) -> None:
        """Carry out what is due; while Discord is away, the keeper does it later."""
        try:
            await self.keeper.advance_now(giveaway_id)
        except DiscordUnavailable:
            self.keeper.look_again()
        else:
            self.keeper.look_again()

    def _publish(self, giveaway_id: str, what: str, actor: Actor | None, detail: str) -> None:
        label = "" if actor is None else actor.label
        self._bus.publish(
            GiveawayChanged(at=self._clock.now(), giveaway_id=giveaway_id, what=what, actor=label, detail=detail)
        )

    def _check_tiers(self, rules: GiveawayRules, prize_tier: str) -> None:
        tiers = {tier.name: tier for tier in self._settings().licence_tiers}
        unknown = unknown_tiers(rules, prize_tier, tiers)
        if unknown:
            raise TierUnknown(f"there is no licence tier {unknown[0]!r}", hint=f"LICENCES has: {', '.join(tiers)}")


def _check_duration(seconds: float) -> None:
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise GiveawayRefused(
            f"a giveaway lasts from {SHORTEST_S:g} seconds to a year", hint="type 30m, 12h, 7d, or 1d12h"
        )


def _closed(giveaway: Giveaway) -> GiveawayRefused:
    words = {"scheduled": "has not begun", "cancelled": "was cancelled"}.get(giveaway.state, "has ended")
    return GiveawayRefused(f"this giveaway {words}")
