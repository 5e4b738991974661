"""Views of licences. Imports nothing heavy: the command line decodes them without loading the master."""

from __future__ import annotations

import msgspec


class LicenceUseView(msgspec.Struct, frozen=True, kw_only=True):
    """A node or a person that uses a licence."""

    kind: str
    """``node`` or ``person``."""
    subject: str
    """The node's id, or the person's."""
    name: str = ""
    """The node's name."""
    at: float
    last_at: float


class LicenceEventView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a licence."""

    at: float
    what: str
    actor: str
    detail: str = ""


class LicenceDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A licence; times in Unix seconds."""

    id: str
    tier: str
    state: str
    """As in the ledger: issued, active, suspended, revoked, expired."""
    reason: str
    """What it is worth now: valid, grace, expired, suspended, revoked, not_redeemed."""
    valid: bool
    features: tuple[str, ...] = ()
    issued_at: float
    expires_at: float | None = None
    """None: never."""
    ends_at: float | None = None
    """With the days of grace."""
    activated_at: float | None = None
    holder_id: int | None = None
    guild_id: int | None = None
    node_id: str | None = None
    """Of a node's own licence."""
    node: str = ""
    origin: str = ""
    note: str = ""
    changed_at: float | None = None
    changed_by: str = ""
    uses: tuple[LicenceUseView, ...] = ()
    """Only where one licence is shown."""
    events: tuple[LicenceEventView, ...] = ()
    """The newest first; only where one licence is shown."""


class LicencesView(msgspec.Struct, frozen=True, kw_only=True):
    """Licences, the newest first."""

    licences: tuple[LicenceDetails, ...] = ()
    total: int = 0
    """How many there are, with those that were left out."""
    tiers: tuple[str, ...] = ()


class IssuedLicenceView(msgspec.Struct, frozen=True, kw_only=True):
    """A new licence."""

    licence: LicenceDetails
    code: str
    """Shown only once: the ledger stores a keyed hash."""

    def __repr__(self) -> str:
        return f"IssuedLicenceView({self.licence.id!r}, code=...)"


class ImportedLicencesView(msgspec.Struct, frozen=True, kw_only=True):
    """The licences of a file, in its order."""

    licences: tuple[IssuedLicenceView, ...] = ()
    """Those that were redeemed already have no code."""

    def __repr__(self) -> str:
        return f"ImportedLicencesView({len(self.licences)} licences)"
