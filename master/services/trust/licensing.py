"""Licences: issue and check them. A code is shown once and stored only as a keyed hash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from handshake.messages import LicenceCheck, LicenceStatus
from handshake.redaction import Secret
from handshake.signing import Message
from master.configuration.settings import LicenceTier
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import licence_uses, licences
from master.ledger.rows.records import Licence, LicenceState, Node
from master.security.errors import InvalidLicenceCode
from master.security.licence_codes import LicenceCodes
from master.services.core.errors import TierUnknown
from master.services.trust.licence_rules import Judgement, LicenceAction, judge, replace_reason
from master.services.trust.licence_writing import KEEPER, apply
from master.services.trust.source import Source
from master.supervision.clock import Clock

HOLDS = timedelta(hours=24)
"""How long an answer holds at most while the master is away."""


@dataclass(frozen=True, slots=True)
class IssuedLicence:
    """A new licence with its code, which cannot be read again later."""

    record: Licence
    code: Secret[str]


class Licensing:
    """Issue licences and check the codes that nodes present."""

    def __init__(self, codes: LicenceCodes, tiers: tuple[LicenceTier, ...], clock: Clock) -> None:
        self._codes = codes
        self._tiers = tiers
        self._clock = clock

    @property
    def tier_names(self) -> tuple[str, ...]:
        """Names of the tiers in the config."""
        return tuple(tier.name for tier in self._tiers)

    @property
    def tiers(self) -> tuple[LicenceTier, ...]:
        """The tiers in the config."""
        return self._tiers

    def update_tiers(self, tiers: tuple[LicenceTier, ...]) -> None:
        """Apply changed tiers; what issued licences are for follows them, when they end does not."""
        self._tiers = tiers

    def tier_of(self, licence: Licence) -> LicenceTier:
        """Return a licence's tier; one that is gone from the config has no features, no role, no grace."""
        for tier in self._tiers:
            if tier.name.casefold() == licence.tier.casefold():
                return tier
        return LicenceTier(name=licence.tier)

    def issue(
        self,
        node_id: str | None,
        tier_name: str = "",
        *,
        days: int | None = None,
        holder_id: int | None = None,
        origin: str = "",
        note: str = "",
        expires_at: datetime | None = None,
    ) -> IssuedLicence:
        """Create a licence; the caller writes its record.

        Parameters
        ----------
        node_id
            The node whose own it is; None for a licence that people redeem, or that several nodes use.
        tier_name
            A tier in the config; empty for the first one.
        days
            For how many days; None: as the tier says, 0: for ever.
        holder_id
            The only person who may redeem it; None: whoever has the code.
        expires_at
            When it ends, instead of days.

        Raises
        ------
        TierUnknown
            No such tier.
        """
        tier = self.tier_named(tier_name)
        now = self._clock.now()
        days = tier.days if days is None else days
        if expires_at is None and days:
            expires_at = now + timedelta(days=days)
        code = self._codes.issue(expires_at=expires_at)
        record = Licence(
            id=code.licence_id,
            node_id=node_id,
            tier=tier.name,
            state=LicenceState.ISSUED,
            code_hash=self._codes.hash(code.text.reveal()),
            issued_at=now,
            expires_at=expires_at,
            holder_id=holder_id,
            origin=origin,
            note=note,
        )
        return IssuedLicence(record, code.text)

    def tier_named(self, name: str) -> LicenceTier:
        """Return a tier of the config; the first one for an empty name.

        Raises
        ------
        TierUnknown
        """
        for tier in self._tiers:
            if not name or tier.name.casefold() == name.casefold():
                return tier
        raise TierUnknown(
            f"there is no licence tier {name[:40]!r}",
            hint=f"LICENCES in config.py has: {', '.join(self.tier_names)}",
        )

    def hash_of(self, text: str) -> bytes | None:
        """Return the keyed hash of a genuine code; None for any other text."""
        try:
            self._codes.parse(text)
        except InvalidLicenceCode:
            return None
        return self._codes.hash(text)

    def judge(self, connection: Connection, node_id: str, code_hash: bytes) -> Judgement:
        """Check whether the licence with ``code_hash`` covers ``node_id``; only reads.

        A node's own licence covers it alone; any other one as many nodes as its tier says.
        """
        licence = licences.find_by_hash(connection, code_hash)
        if licence is None:
            return Judgement("not_found")
        if licence.node_id is not None and licence.node_id != node_id:
            return Judgement("wrong_node")
        tier = self.tier_of(licence)
        found = judge(licence, tier, self._clock.now())
        if found.is_valid and licence.node_id is None:
            found = self._counted(connection, found, licence, tier, node_id)
        if found.is_valid and found.becomes is None and licence.state is LicenceState.ISSUED:
            found = replace(found, becomes=LicenceState.ACTIVE)
        return found

    def _counted(
        self, connection: Connection, found: Judgement, licence: Licence, tier: LicenceTier, node_id: str
    ) -> Judgement:
        block = licences.own_block(connection, node_id)
        if block is not None:
            return replace_reason(found, "revoked" if block is LicenceState.REVOKED else "suspended")
        if licence_uses.has(connection, licence.id, "node", node_id):
            return found
        if tier.nodes and licence_uses.count_nodes(connection, licence.id) >= tier.nodes:
            return replace_reason(found, "too_many_nodes")
        return replace(found, is_new_use=True)

    def settle(self, connection: Connection, node_id: str, code_hash: bytes) -> Judgement:
        """Write what :meth:`judge` finds: the first use activates a licence, its date ends it; each node counts."""
        found, now = self.judge(connection, node_id, code_hash), self._clock.now()
        licence = found.licence
        if licence is None:
            return found
        if found.is_new_use:
            licence_uses.put(connection, licence.id, "node", node_id, at=now)
        if found.is_valid:
            licence_uses.remove_other_of_node(connection, node_id, licence.id)
        if found.becomes is not None:
            is_first = found.becomes is LicenceState.ACTIVE
            detail = f"node {node_id}" if is_first else ""
            action: LicenceAction = "redeem" if is_first else "expire"
            apply(connection, licence, action, self.tier_of(licence), at=now, actor=KEEPER.label, detail=detail)
        return found

    def status(self, connection: Connection, node_id: str, code_hash: bytes, feature: str = "") -> LicenceStatus:
        """Return the status of the licence that a node presents."""
        found = self.judge(connection, node_id, code_hash)
        if found.is_valid and feature and feature not in found.features:
            found = replace_reason(found, "no_feature")
        return self.status_of(found)

    def status_of(self, found: Judgement) -> LicenceStatus:
        """Return what is told of a judgement, and until when it holds without the master."""
        licence = found.licence
        if licence is None:
            return LicenceStatus(state="unknown", reason=found.reason)
        holds_until = None
        if found.is_valid:
            latest = self._clock.now() + HOLDS
            holds_until = (latest if found.ends_at is None else min(latest, found.ends_at)).timestamp()
        return LicenceStatus(
            state=(found.becomes or licence.state).value,
            tier=licence.tier,
            expires_at=licence.expires_at.timestamp() if licence.expires_at else None,
            valid=found.is_valid,
            reason=found.reason,
            features=found.features if found.is_valid else (),
            holds_until=holds_until,
        )


class LicenceChecks:
    """Answer nodes that ask for the status of their licence, or of a person's.

    Parameters
    ----------
    of_person
        Answers for a person and a feature.
    note_asked
        Called with a person, and the id of the node that asked about them.
    """

    def __init__(
        self,
        ledger: Ledger,
        licensing: Licensing,
        of_person: Callable[[int, str], Awaitable[LicenceStatus]],
        note_asked: Callable[[int, str], None],
    ) -> None:
        self._ledger = ledger
        self._licensing = licensing
        self._of_person = of_person
        self._note_asked = note_asked

    async def handle(self, node: Node, body: LicenceCheck, message: Message, source: Source) -> LicenceStatus:
        """Handle a licence check."""
        if not body.licence and body.user_id:
            self._note_asked(body.user_id, node.id)
            return await self._of_person(body.user_id, body.feature)
        code_hash = self._licensing.hash_of(body.licence)
        if code_hash is None:
            return LicenceStatus(state="unknown", reason="mistyped")
        try:
            return await self._ledger.read(
                lambda connection: self._licensing.status(connection, node.id, code_hash, body.feature)
            )
        except LedgerError:
            return LicenceStatus(state="unknown", reason="unavailable")
