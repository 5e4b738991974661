"""Licences: issued, redeemed, checked and changed; the one place through which every face does that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Literal

from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.messages import LicenceStatus
from master.bus import EventBus
from master.events import LicenceChanged
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import licence_events, licence_uses, licences
from master.ledger.rows.records import Licence, LicenceState
from master.services.core.actors import Actor
from master.services.people.licence_cache import LicenceCache
from master.services.people.licence_files import WantedLicence
from master.services.people.licence_guesses import Guesses
from master.services.trust.licence_rules import (
    PAST,
    Judgement,
    LicenceAction,
    LicenceIsYours,
    LicenceMistyped,
    LicenceNotFound,
    LicenceOfAnother,
    LicenceOfNode,
    LicenceRefused,
    TooManyPeople,
    TooManyTransfers,
    judge,
    replace_reason,
)
from master.services.trust.licence_writing import apply
from master.services.trust.licence_writing import note as note_event
from master.services.trust.licensing import IssuedLicence, Licensing
from master.supervision.clock import Clock

TRANSFER_PERIOD = timedelta(days=30)
SHORTEST_ID = 4
"""Characters of an id that name a licence, if it is the only one that begins so."""

Change = Literal["renew", "suspend", "reinstate", "revoke"]
Reach = Callable[[Licence, LicenceAction], Awaitable[None]]
"""Makes a change known to the nodes that use a licence."""


async def _reach_nothing(_licence: Licence, _action: LicenceAction) -> None:
    """Reach no node: none runs."""


def _tell_nobody(_user_id: int) -> None:
    """Tell no node: none runs."""


class Licences:
    """Issue, redeem, check and change licences.

    Parameters
    ----------
    guesses
        Limits wrong codes.
    reach
        Makes a change known to nodes; nothing without a master.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        licensing: Licensing,
        bus: EventBus,
        clock: Clock,
        guesses: Guesses,
        reach: Reach = _reach_nothing,
    ) -> None:
        self._ledger, self._licensing = ledger, licensing
        self._bus, self._clock = bus, clock
        self.guesses = guesses
        self.reach = reach
        self.tell_of: Callable[[int], None] = _tell_nobody
        """Has the nodes that asked about a person ask again."""
        self._cache = LicenceCache()

    async def issue(
        self,
        tier: str,
        *,
        actor: Actor,
        origin: str = "",
        holder_id: int | None = None,
        note: str = "",
        days: int | None = None,
    ) -> IssuedLicence:
        """Issue a licence; its code is in the answer, and nowhere else.

        Parameters
        ----------
        tier
            Of the config; empty for the first one.
        origin
            Who or what it is for, ``giveaway:...``; empty: the actor.
        holder_id
            The only person who may redeem it.
        days
            For how many days; None: as the tier says, 0: for ever.

        Raises
        ------
        TierUnknown
        LedgerError
        """
        issued = self._licensing.issue(
            None, tier, days=days, holder_id=holder_id, origin=origin or actor.label, note=note
        )

        def write(connection: Connection) -> None:
            licences.insert(connection, issued.record)
            record, detail = issued.record, f"{issued.record.tier}; {issued.record.origin}"
            note_event(connection, record.id, "issued", at=record.issued_at, actor=actor.label, detail=detail)

        await self._ledger.write(write)
        self._announce(issued.record, "issued", actor)
        return issued

    async def take_in(self, wanted: Sequence[WantedLicence], *, actor: Actor) -> list[IssuedLicence]:
        """Issue the licences of a file, all or none; those that are redeemed are their holders' at once.

        Raises
        ------
        TierUnknown
        LedgerError
        """
        now, origin = self._clock.now(), f"import:{actor.label}"
        made: list[IssuedLicence] = []
        for row in wanted:
            issued = self._licensing.issue(
                None,
                row.tier,
                days=row.days,
                expires_at=row.expires_at,
                holder_id=row.holder_id,
                origin=origin,
                note=row.note,
            )
            if row.redeemed:
                active = replace(issued.record, state=LicenceState.ACTIVE, activated_at=now)
                issued = IssuedLicence(active, issued.code)
            made.append(issued)

        def write(connection: Connection) -> None:
            for issued in made:
                record = issued.record
                licences.insert(connection, record)
                note_event(connection, record.id, "issued", at=now, actor=actor.label, detail=origin)
                if record.state is LicenceState.ACTIVE:
                    note_event(connection, record.id, "redeemed", at=now, actor=actor.label, detail=origin)
                    licence_uses.put(connection, record.id, "person", str(record.holder_id), at=now)

        await self._ledger.write(write)
        self._cache.clear()
        for issued in made:
            self._announce(issued.record, "issued", actor, detail=origin)
        return made

    def read_code(self, text: str, *, user_id: int) -> bytes:
        """Return the keyed hash of a genuine code, which is looked up by it; counts wrong ones.

        Parameters
        ----------
        user_id
            Who typed it; 0: somebody on the box, who is not limited.

        Raises
        ------
        TooManyGuesses
            It was not looked at.
        LicenceMistyped
        """
        if user_id:
            self.guesses.check(user_id)
        code_hash = self._licensing.hash_of(text)
        if code_hash is None:
            if user_id:
                self.guesses.note_wrong(user_id)
            raise LicenceMistyped(
                "this is no licence code of this fleet", hint="copy it exactly as it was shown: FM1- and 8 groups of 5"
            )
        return code_hash

    async def redeem(self, code_text: str, *, user_id: int, guild_id: int, actor: Actor) -> Licence:
        """Make a licence a person's, by its code.

        Raises
        ------
        LicenceRefused
            Its subclass and reason say why not.
        LedgerError
        """
        code_hash = self.read_code(code_text, user_id=0 if actor.face in ("cli", "system") else user_id)
        return await self.redeem_hash(code_hash, user_id=user_id, guild_id=guild_id, actor=actor)

    async def redeem_hash(self, code_hash: bytes, *, user_id: int, guild_id: int, actor: Actor) -> Licence:
        """Redeem the licence whose code has this keyed hash; as :meth:`redeem`."""
        find = partial(licences.find_by_hash, code_hash=code_hash)
        return await self._redeem(find, user_id=user_id, guild_id=guild_id, actor=actor)

    async def redeem_issued(self, licence_id: str, *, user_id: int, guild_id: int, actor: Actor) -> Licence:
        """Make a licence a person's without its code: a prize that is claimed; as :meth:`redeem`."""
        find = partial(licences.get, licence_id=licence_id)
        return await self._redeem(find, user_id=user_id, guild_id=guild_id, actor=actor)

    async def _redeem(
        self, find: Callable[[Connection], Licence | None], *, user_id: int, guild_id: int, actor: Actor
    ) -> Licence:
        now = self._clock.now()

        def write(connection: Connection) -> Licence:
            licence = find(connection)
            if licence is None:
                raise LicenceNotFound("this licence is not on record here", hint="ask who issued it")
            tier = self._licensing.tier_of(licence)
            self._check_redeemable(connection, licence, user_id)
            after = apply(
                connection,
                licence,
                "redeem",
                tier,
                at=now,
                actor=actor.label,
                detail=f"by {user_id}",
                to=user_id,
                guild_id=guild_id or None,
            )
            licence_uses.put(connection, licence.id, "person", str(user_id), at=now)
            return after

        after = await self._ledger.write(write)
        self._announce(after, "redeemed", actor, user_id=user_id)
        # A refusal is remembered too.
        self.tell_of(user_id)
        return after

    def _check_redeemable(self, connection: Connection, licence: Licence, user_id: int) -> None:
        """Check that a person may redeem a licence, apart from its state."""
        tier = self._licensing.tier_of(licence)
        if licence.node_id is not None:
            raise LicenceOfNode("this is a bot's own licence: nobody redeems it", hint="")
        found = judge(licence, tier, self._clock.now())
        if not found.is_valid:
            raise refusal(found, licence)
        if licence_uses.has(connection, licence.id, "person", str(user_id)):
            raise LicenceIsYours("you redeemed this licence before; it is yours")
        people = licence_uses.count_people(connection, licence.id)
        # Not by its state: a node may have used it before.
        if not people and licence.holder_id not in (None, user_id):
            raise LicenceOfAnother("this licence is meant for somebody else")
        if people >= tier.people:
            many = "somebody" if tier.people == 1 else f"{tier.people} people, as many as may,"
            hint = "ask whoever gave you the code for one of your own, or its holder for `/licence transfer`"
            raise TooManyPeople(f"{many} redeemed this licence before", hint=hint)

    async def check_person(self, user_id: int, feature: str = "") -> LicenceStatus:
        """Return what a person's best licence is worth now, for a feature or at all; never fails."""
        known = self._cache.get(user_id)
        if known is None:
            generation = self._cache.generation
            try:
                known = tuple(await self._ledger.read(partial(licences.list_of_person, user_id=user_id)))
            except LedgerError:
                return LicenceStatus(state="unknown", reason="unavailable")
            self._cache.put(user_id, known, generation=generation)
        return self.status_of(known, feature)

    def status_of(self, known: tuple[Licence, ...], feature: str = "") -> LicenceStatus:
        """Return what the best of some licences is worth now."""
        if not known:
            return LicenceStatus(state="unknown", reason="not_found")
        now, tier_of = self._clock.now(), self._licensing.tier_of
        if len(known) == 1:
            return self._licensing.status_of(judge(known[0], tier_of(known[0]), now, feature=feature))
        found = [judge(licence, tier_of(licence), now) for licence in known]
        good = [one for one in found if one.is_valid and (not feature or feature in one.features)]
        if good:
            return self._licensing.status_of(max(good, key=_worth))
        best = max(found, key=_worth)
        return self._licensing.status_of(replace_reason(best, "no_feature") if best.is_valid else best)

    async def find(self, wanted: str) -> Licence:
        """Return a licence by its id, or by how that begins.

        Raises
        ------
        LicenceNotFound
            There is none, or more than one.
        LedgerError
        """
        return await self._ledger.read(partial(find_licence, wanted=wanted))

    async def find_for(self, wanted: str, *, user_id: int | None) -> Licence:
        """Return a licence of a person: for anybody else it is not there. None: whoever holds it.

        Raises
        ------
        LicenceNotFound
        LedgerError
        """
        if user_id is None:
            return await self.find(wanted)
        mine = await self._ledger.read(partial(licences.list_of_person, user_id=user_id))
        found = [licence for licence in mine if licence.id.startswith(wanted.strip().lower()) and wanted.strip()]
        if len(found) != 1 or found[0].holder_id != user_id:
            raise LicenceNotFound(f"you hold no licence {wanted[:40]!r}", hint="`/licence show` has yours")
        return found[0]

    async def change(
        self, licence_id: str, action: Change, *, actor: Actor, days: int | None = None, why: str = ""
    ) -> Licence:
        """Renew, suspend, reinstate or revoke a licence; nodes that use it know at once.

        Parameters
        ----------
        days
            For how many days it is renewed; None: as its tier says, 0: for ever.
        why
            For its history.

        Raises
        ------
        LicenceRefused
        LedgerError
        """
        return await self._apply(licence_id, action, actor=actor, days=days, detail=why)

    async def expire(self, licence_id: str, *, actor: Actor) -> Licence:
        """End a licence whose time is over."""
        return await self._apply(licence_id, "expire", actor=actor)

    async def _apply(
        self, licence_id: str, action: LicenceAction, *, actor: Actor, days: int | None = None, detail: str = ""
    ) -> Licence:
        now = self._clock.now()

        def write(connection: Connection) -> Licence:
            licence = find_licence(connection, licence_id)
            tier = self._licensing.tier_of(licence)
            return apply(connection, licence, action, tier, at=now, actor=actor.label, days=days, detail=detail)

        after = await self._ledger.write(write)
        self._announce(after, PAST[action], actor, detail=detail)
        await self.reach(after, action)
        return after

    async def transfer(
        self, licence_id: str, *, to_user_id: int, actor: Actor, held_by: int | None = None, limited: bool = True
    ) -> Licence:
        """Pass a licence on to another person.

        Parameters
        ----------
        held_by
            Whose it has to be as it is written: of two who pass it on at once the second has it no more. None: anybody.
        limited
            Whether the tier's transfers a month count: for its holder, not for who moderates.

        Raises
        ------
        LicenceRefused
        LedgerError
        """
        now = self._clock.now()

        def write(connection: Connection) -> tuple[Licence, int | None]:
            licence = find_licence(connection, licence_id)
            tier = self._licensing.tier_of(licence)
            if licence.node_id is not None:
                raise LicenceOfNode(f"licence {licence.id} is a bot's own: it is not passed on")
            if held_by is not None and licence.holder_id != held_by:
                raise LicenceOfAnother(f"licence {licence.id} is somebody else's by now")
            if licence.holder_id == to_user_id or licence_uses.has(connection, licence.id, "person", str(to_user_id)):
                raise LicenceIsYours(f"licence {licence.id} is that person's already")
            made = licence_events.count_since(connection, licence.id, "transferred", now - TRANSFER_PERIOD)
            if limited and made >= tier.transfers_a_month:
                times = f"at most {tier.transfers_a_month} times in 30 days" if tier.transfers_a_month else "not"
                raise TooManyTransfers(f"a {tier.name} licence may {times} be passed on", hint="ask a moderator")
            detail = f"from {licence.holder_id} to {to_user_id}"
            after = apply(
                connection, licence, "transfer", tier, at=now, actor=actor.label, detail=detail, to=to_user_id
            )
            if licence.holder_id is not None:
                licence_uses.remove(connection, licence.id, "person", str(licence.holder_id))
            licence_uses.put(connection, licence.id, "person", str(to_user_id), at=now)
            return after, licence.holder_id

        after, before = await self._ledger.write(write)
        self._announce(after, "transferred", actor, user_id=to_user_id, detail=f"from {before}")
        self.tell_of(to_user_id)
        if before is not None:
            self._cache.forget(after.id, before)
            self.tell_of(before)
        return after

    def _announce(
        self, licence: Licence, what: str, actor: Actor, *, user_id: int | None = None, detail: str = ""
    ) -> None:
        people = (licence.holder_id, user_id)
        self._cache.forget(licence.id, *(who for who in people if who is not None))
        self._bus.publish(
            LicenceChanged(
                at=self._clock.now(),
                licence_id=licence.id,
                what=what,
                node_id=licence.node_id or "",
                holder_id=user_id or licence.holder_id or 0,
                actor=actor.label,
                detail=detail,
            )
        )


_WORTH = {"valid": 5, "grace": 4, "expired": 3, "suspended": 2, "revoked": 1}


def _worth(found: Judgement) -> tuple[bool, int, int]:
    return found.is_valid, _WORTH.get(found.reason, 0), len(found.features)


def refusal(found: Judgement, licence: Licence) -> LicenceRefused:
    """Return the error for a licence that does not count."""
    for kind in LicenceRefused.__subclasses__():
        if kind.reason == found.reason:
            return kind(found.trouble)
    return LicenceRefused(found.trouble)


def find_licence(connection: Connection, wanted: str) -> Licence:
    """Return a licence by its id, or by how that begins.

    Raises
    ------
    LicenceNotFound
    """
    wanted = wanted.strip().lower()
    found = licences.list_beginning(connection, wanted) if len(wanted) >= SHORTEST_ID else []
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(licence.id for licence in found)
        raise LicenceNotFound(f"{wanted!r} may be any of several licences: {ids}", hint="give the whole id")
    raise LicenceNotFound(f"there is no licence {wanted[:40]!r}", hint="`fleet licence list` has their ids")
