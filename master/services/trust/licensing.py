"""Licences: issue and check them. A code is shown once and stored only as a keyed hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from handshake.messages import LicenceCheck, LicenceStatus
from handshake.redaction import Secret
from handshake.signing import Message
from master.configuration.settings import LicenceTier
from master.ledger.database import Ledger
from master.ledger.rows import licences
from master.ledger.rows.records import Licence, LicenceState, Node
from master.security.errors import InvalidLicenceCode
from master.security.licence_codes import LicenceCodes
from master.services.core.errors import TierUnknown
from master.services.trust.source import Source
from master.supervision.clock import Clock


@dataclass(frozen=True, slots=True)
class IssuedLicence:
    """A new licence with its code, which cannot be read again later."""

    record: Licence
    code: Secret[str]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Result of a licence check.

    Parameters
    ----------
    trouble
        Why the licence does not cover the node; empty if it does.
    expires_at
        When the licence expires; None for never.
    becomes
        The state that it enters by this; None if it stays.
    """

    trouble: str = ""
    expires_at: datetime | None = None
    becomes: LicenceState | None = None


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

    def update_tiers(self, tiers: tuple[LicenceTier, ...]) -> None:
        """Apply changed tiers to new licences; issued ones are not changed."""
        self._tiers = tiers

    def issue(self, node_id: str, tier_name: str = "") -> IssuedLicence:
        """Create a licence for a node; the caller writes its record.

        Parameters
        ----------
        tier_name
            A tier in the config; empty for the first one.

        Raises
        ------
        TierUnknown
            No such tier.
        """
        index = self._tier_index(tier_name)
        tier = self._tiers[index]
        now = self._clock.now()
        expires_at = now + timedelta(days=tier.days) if tier.days else None
        code = self._codes.issue(tier=index, expires_at=expires_at)
        record = Licence(
            id=code.licence_id,
            node_id=node_id,
            tier=tier.name,
            state=LicenceState.ISSUED,
            code_hash=self._codes.hash(code.text.reveal()),
            issued_at=now,
            expires_at=expires_at,
        )
        return IssuedLicence(record, code.text)

    def _tier_index(self, tier_name: str) -> int:
        if not tier_name:
            return 0
        for index, tier in enumerate(self._tiers):
            if tier.name.casefold() == tier_name.casefold():
                return index
        raise TierUnknown(
            f"there is no licence tier {tier_name[:40]!r}",
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
        """Check whether the licence with ``code_hash`` covers ``node_id``; only reads."""
        licence = licences.find_by_hash(connection, code_hash)
        if licence is None or licence.node_id != node_id:
            return Judgement("the licence is not this node's")
        if licence.expires_at is not None and licence.expires_at <= self._clock.now():
            becomes = None if licence.state is LicenceState.EXPIRED else LicenceState.EXPIRED
            return Judgement("the licence has expired", becomes=becomes)
        if licence.state is LicenceState.ISSUED:
            return Judgement(expires_at=licence.expires_at, becomes=LicenceState.ACTIVE)
        if licence.state is not LicenceState.ACTIVE:
            return Judgement(f"the licence is {licence.state}")
        return Judgement(expires_at=licence.expires_at)

    def settle(self, connection: Connection, node_id: str, code_hash: bytes) -> None:
        """Write the state that :meth:`judge` finds: the first use activates a licence, its date ends it."""
        becomes = self.judge(connection, node_id, code_hash).becomes
        licence = licences.find_by_hash(connection, code_hash)
        if becomes is not None and licence is not None:
            licences.set_state(connection, licence.id, becomes, at=self._clock.now())

    def status(self, connection: Connection, node_id: str, code_hash: bytes) -> LicenceStatus:
        """Return the status of a node's own licence."""
        licence = licences.find_by_hash(connection, code_hash)
        if licence is None or licence.node_id != node_id:
            return LicenceStatus(state="unknown")
        expires_at = licence.expires_at.timestamp() if licence.expires_at else None
        return LicenceStatus(state=licence.state.value, tier=licence.tier, expires_at=expires_at)


class LicenceChecks:
    """Answer nodes that ask for the status of their licence."""

    def __init__(self, ledger: Ledger, licensing: Licensing) -> None:
        self._ledger = ledger
        self._licensing = licensing

    async def handle(self, node: Node, body: LicenceCheck, message: Message, source: Source) -> LicenceStatus:
        """Handle a licence check."""
        code_hash = self._licensing.hash_of(body.licence)
        if code_hash is None:
            return LicenceStatus(state="unknown")
        return await self._ledger.read(lambda connection: self._licensing.status(connection, node.id, code_hash))
