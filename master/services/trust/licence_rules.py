"""The rules of licences: which changes are legal, and what a licence is worth at a moment. Reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal

from msgspec.structs import replace

from master.configuration.settings import LicenceTier
from master.errors import ExitCode
from master.ledger.rows.records import Licence, LicenceChange, LicenceState
from master.services.core.errors import ServiceError

LicenceAction = Literal["redeem", "renew", "suspend", "reinstate", "revoke", "transfer", "expire"]
Reason = Literal[
    "valid",
    "grace",
    "expired",
    "suspended",
    "revoked",
    "not_redeemed",
    "wrong_node",
    "wrong_person",
    "already_yours",
    "too_many_nodes",
    "too_many_people",
    "too_many_transfers",
    "too_many_guesses",
    "no_feature",
    "mistyped",
    "not_found",
    "not_legal",
    "unavailable",
]
"""Why a licence counts, or does not; the names never change."""

_ISSUED, _ACTIVE, _SUSPENDED, _REVOKED, _EXPIRED = LicenceState

TRANSITIONS: dict[tuple[LicenceState, LicenceAction], LicenceState] = {
    (_ISSUED, "redeem"): _ACTIVE,
    (_ACTIVE, "redeem"): _ACTIVE,
    (_ISSUED, "renew"): _ISSUED,
    (_ACTIVE, "renew"): _ACTIVE,
    (_SUSPENDED, "renew"): _SUSPENDED,
    (_EXPIRED, "renew"): _ACTIVE,
    (_ISSUED, "suspend"): _SUSPENDED,
    (_ACTIVE, "suspend"): _SUSPENDED,
    (_SUSPENDED, "reinstate"): _ACTIVE,
    (_REVOKED, "reinstate"): _ACTIVE,
    (_EXPIRED, "reinstate"): _ACTIVE,
    (_ISSUED, "revoke"): _REVOKED,
    (_ACTIVE, "revoke"): _REVOKED,
    (_SUSPENDED, "revoke"): _REVOKED,
    (_EXPIRED, "revoke"): _REVOKED,
    (_ACTIVE, "transfer"): _ACTIVE,
    (_ISSUED, "expire"): _EXPIRED,
    (_ACTIVE, "expire"): _EXPIRED,
}
"""All legal changes; every other one is refused. Whatever comes back to life is issued, if it was never used."""

PAST: dict[LicenceAction, LicenceChange] = {
    "redeem": "redeemed",
    "renew": "renewed",
    "suspend": "suspended",
    "reinstate": "reinstated",
    "revoke": "revoked",
    "transfer": "transferred",
    "expire": "expired",
}


EARLIEST_END, LATEST_END = datetime(1970, 1, 2, tzinfo=UTC), datetime(3800, 1, 1, tzinfo=UTC)
"""A code holds its end as hours in three bytes, and with its grace it must still be a date."""


class LicenceRefused(ServiceError):
    """A licence does not allow what was asked for.

    Attributes
    ----------
    reason
        Which :data:`Reason` it is; the error's code is the same with ``licence_`` before it.
    """

    code: ClassVar[str] = "licence_not_legal"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED
    reason: ClassVar[Reason] = "not_legal"


class LicenceMistyped(LicenceRefused):
    """No code of this fleet: a typing error or a forgery."""

    code, reason = "licence_mistyped", "mistyped"


class LicenceNotFound(LicenceRefused):
    """There is no such licence."""

    code, reason = "licence_not_found", "not_found"
    exit_code = ExitCode.NOT_FOUND


class LicenceSuspended(LicenceRefused):
    """It is suspended."""

    code, reason = "licence_suspended", "suspended"


class LicenceIsRevoked(LicenceRefused):
    """It is revoked."""

    code, reason = "licence_revoked", "revoked"


class LicenceExpired(LicenceRefused):
    """It has ended."""

    code, reason = "licence_expired", "expired"


class LicenceOfNode(LicenceRefused):
    """It is a node's own."""

    code, reason = "licence_wrong_node", "wrong_node"


class LicenceOfAnother(LicenceRefused):
    """It is another person's."""

    code, reason = "licence_wrong_person", "wrong_person"


class LicenceIsYours(LicenceRefused):
    """The same person redeemed it before."""

    code, reason = "licence_already_yours", "already_yours"


class TooManyPeople(LicenceRefused):
    """As many people use it as its tier allows."""

    code, reason = "licence_too_many_people", "too_many_people"


class TooManyTransfers(LicenceRefused):
    """It was passed on as often as its tier allows."""

    code, reason = "licence_too_many_transfers", "too_many_transfers"


class TooManyGuesses(LicenceRefused):
    """Too many wrong codes came from one person, or from all together."""

    code, reason = "licence_too_many_guesses", "too_many_guesses"


_WHY_NOT: dict[LicenceState, tuple[type[LicenceRefused], str, str]] = {
    _SUSPENDED: (LicenceSuspended, "is suspended", "`fleet licence reinstate {id}` gives it back"),
    _REVOKED: (LicenceIsRevoked, "is revoked", "`fleet licence reinstate {id}` takes that back"),
    _EXPIRED: (LicenceExpired, "has expired", "`fleet licence renew {id}` goes on with it"),
    _ISSUED: (LicenceRefused, "was not redeemed yet", ""),
    _ACTIVE: (LicenceRefused, "is active", ""),
}


def target_of(licence: Licence, action: LicenceAction, tier: LicenceTier, now: datetime) -> LicenceState:
    """Return the state that a licence gets by an action.

    Raises
    ------
    LicenceRefused
        That is not legal.
    """
    target = TRANSITIONS.get((licence.state, action))
    if target is None:
        kind, why, hint = _WHY_NOT[licence.state]
        raise kind(f"licence {licence.id} {why}: it cannot be {PAST[action]}", hint=hint.format(id=licence.id))
    if action == "expire" and tier.on_expiry == "revoke":
        return _REVOKED
    if action == "reinstate" and licence.state is not _SUSPENDED and has_ended(licence, tier, now):
        # Legal where the clock was ahead when it ended.
        hint = f"`fleet licence renew {licence.id}`" if licence.state is _EXPIRED else "issue a new one"
        ended = f"licence {licence.id} ended {licence.expires_at:%Y-%m-%d}: it cannot be reinstated"
        raise LicenceExpired(ended, hint=hint)
    if target is _ACTIVE and action in ("renew", "reinstate") and licence.activated_at is None:
        return _ISSUED
    return target


def end_of(licence: Licence, tier: LicenceTier) -> datetime | None:
    """Return when a licence ends, with its grace; None for never."""
    return None if licence.expires_at is None else licence.expires_at + timedelta(days=tier.grace_days)


def has_ended(licence: Licence, tier: LicenceTier, now: datetime) -> bool:
    """Tell whether a licence is over, its grace too."""
    end = end_of(licence, tier)
    return end is not None and end <= now


def renewed_until(licence: Licence, tier: LicenceTier, days: int, now: datetime) -> datetime | None:
    """Return the new end: counted from the old one, or from now if it is over with its grace; None for never.

    Raises
    ------
    LicenceRefused
        It would be later than any end can be.
    """
    if not days:
        return None
    begins = now if licence.expires_at is None or has_ended(licence, tier, now) else licence.expires_at
    if LATEST_END - begins < timedelta(days=days):
        raise LicenceRefused(
            f"licence {licence.id} would end after {LATEST_END:%Y-%m-%d}: it cannot be renewed",
            hint="renewed for 0 days it never ends",
        )
    return begins + timedelta(days=days)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a licence is worth at a moment.

    Parameters
    ----------
    reason
        The reason code.
    licence
        None if there is none.
    features
        What it is for; empty unless it is valid.
    ends_at
        When that changes by itself; None for never.
    becomes
        The state that it enters by this; None if it stays.
    is_new_use
        Whether the node that asks is to be written down as one that uses it.
    """

    reason: Reason
    licence: Licence | None = None
    features: tuple[str, ...] = ()
    ends_at: datetime | None = None
    becomes: LicenceState | None = None
    is_new_use: bool = False
    is_valid: bool = False

    @property
    def trouble(self) -> str:
        """Why it does not count, for people; empty if it does."""
        return "" if self.is_valid else TEXTS[self.reason]


TEXTS: dict[Reason, str] = {
    "valid": "the licence is valid",
    "grace": "the licence has ended; it holds for the days of grace",
    "expired": "the licence has expired",
    "suspended": "the licence is suspended",
    "revoked": "the licence is revoked",
    "not_redeemed": "the licence was not redeemed yet",
    "wrong_node": "the licence is not this node's",
    "wrong_person": "the licence is another person's",
    "already_yours": "the licence is yours already",
    "too_many_nodes": "the licence is in use on as many nodes as it allows",
    "too_many_people": "as many people use the licence as it allows",
    "too_many_transfers": "the licence was passed on as often as it allows",
    "too_many_guesses": "too many wrong codes were tried",
    "no_feature": "the licence does not include this",
    "mistyped": "the licence code is not genuine",
    "not_found": "there is no such licence",
    "not_legal": "the licence is not in a state for that",
    "unavailable": "the database is away, and the licence is not known without it",
}
"""Each reason in words."""


def judge(licence: Licence, tier: LicenceTier, now: datetime, *, feature: str = "") -> Judgement:
    """Return what a licence is worth now, whoever uses it."""
    found = _judge_state(licence, tier, now)
    if not found.is_valid:
        return found
    if feature and feature not in tier.features:
        return replace_reason(found, "no_feature")
    return found


def _judge_state(licence: Licence, tier: LicenceTier, now: datetime) -> Judgement:
    if licence.state is _SUSPENDED or licence.state is _REVOKED:
        return Judgement("suspended" if licence.state is _SUSPENDED else "revoked", licence)
    keeps = tier.on_expiry == "keep"
    end = end_of(licence, tier)
    if licence.state is _EXPIRED or (end is not None and end <= now):
        becomes = None if licence.state is _EXPIRED else target_of(licence, "expire", tier, now)
        reason: Reason = "revoked" if becomes is _REVOKED else "expired"
        features = tier.features if keeps else ()
        return Judgement(reason, licence, features, becomes=becomes, is_valid=keeps)
    over = licence.expires_at is not None and licence.expires_at <= now
    ends_at = None if keeps else end
    return Judgement("grace" if over else "valid", licence, tier.features, ends_at, is_valid=True)


def replace_reason(judgement: Judgement, reason: Reason) -> Judgement:
    """Return that a licence does not count, for a reason."""
    return Judgement(reason, judgement.licence, ends_at=judgement.ends_at, becomes=judgement.becomes)


def moved(
    licence: Licence,
    action: LicenceAction,
    tier: LicenceTier,
    *,
    now: datetime,
    actor: str,
    days: int | None = None,
    to: int | None = None,
    guild_id: int | None = None,
) -> Licence:
    """Return a licence as it is after a legal action.

    Parameters
    ----------
    days
        For how many days it is renewed; None: as its tier says, 0: for ever.
    to, guild_id
        Who redeems it, or to whom it is passed on, and on which server.

    Raises
    ------
    LicenceRefused
        It is not legal.
    """
    after = replace(licence, state=target_of(licence, action, tier, now), changed_at=now, changed_by=actor[:120])
    match action:
        case "renew":
            expires_at = renewed_until(licence, tier, tier.days if days is None else days, now)
            after = replace(after, expires_at=expires_at, warned_days=None)
        case "redeem":
            after = replace(
                after,
                activated_at=licence.activated_at or now,
                holder_id=licence.holder_id or to,
                guild_id=licence.guild_id or guild_id,
            )
        case "transfer":
            after = replace(after, holder_id=to, guild_id=guild_id or licence.guild_id)
        case _:
            pass
    return after
