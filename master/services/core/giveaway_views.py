"""Views of giveaways: what they are, who may enter, what came of them. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

MOST_WINNERS = 50
"""Of one draw: as many as one message names and notifies."""
MOST_WEIGHT = 100
"""Entries of one person."""
Days = Annotated[int, Meta(ge=0, le=36_500)]
Snowflake = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class BonusRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Further entries of who has a role."""

    role_id: Snowflake
    entries: Annotated[int, Meta(ge=1, le=MOST_WEIGHT)]


class GiveawayRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who may enter, and with how many entries."""

    role_ids: Annotated[tuple[Snowflake, ...], Meta(max_length=10)] = ()
    """Roles that he must have, all of them."""
    account_days: Days = 0
    """How old his account is at least."""
    member_days: Days = 0
    """How long he has been on the server at least."""
    tier: Annotated[str, Meta(max_length=40)] = ""
    """The tier of a licence that he must hold."""
    bonus: Annotated[tuple[BonusRole, ...], Meta(max_length=10)] = ()


class GiveawayView(msgspec.Struct, frozen=True, kw_only=True):
    """One giveaway, in a list."""

    id: str
    guild_id: int
    channel_id: int
    message_id: int | None
    prize: str
    winners: int
    """How many there are to be."""
    state: str
    """scheduled, open, drawing, drawn, cancelled."""
    starts_at: float
    """Unix time in seconds, as all moments here."""
    ends_at: float
    entries: int
    """People who are in."""
    seed_hash: str
    """SHA-256 of the draw's seed, in hex; on its message from the start."""
    won_by: tuple[int, ...] = ()
    """Who has won, without those whose prize went on to others."""


class WinnerView(msgspec.Struct, frozen=True, kw_only=True):
    """A winner of one draw."""

    user_id: int
    draw: int
    """0 for the first; one more for each that drew again."""
    place: int
    state: str
    """drawn, told, claimed, unclaimed, left, replaced."""
    claim_until: float | None
    detail: str


class GiveawayDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One giveaway with all that is known of it."""

    giveaway: GiveawayView
    description: str
    rules: GiveawayRules
    prize_tier: str
    claim_s: int
    started_by: int
    entries_hash: str
    """Empty before the draw."""
    drawn_at: float | None
    changed_at: float
    changed_by: str
    reason: str
    winners: tuple[WinnerView, ...]


class GiveawaysView(msgspec.Struct, frozen=True, kw_only=True):
    """Giveaways, the latest first."""

    giveaways: tuple[GiveawayView, ...]


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a press on a giveaway."""

    outcome: str
    """entered, already, left, not_in."""
    prize: str
    ends_at: float
    entries: int
    """People who are in now."""
    weight: int = 0
    """How many times he counts; 0: he is not in."""


class ClaimView(msgspec.Struct, frozen=True, kw_only=True):
    """What a winner gets."""

    prize: str
    tier: str = ""
    code: str = ""
    """The licence's code, shown only now; empty where the prize is no licence, or it is redeemed."""

    def __repr__(self) -> str:
        return f"ClaimView(prize={self.prize!r}, tier={self.tier!r}, code=...)"


class DrawView(msgspec.Struct, frozen=True, kw_only=True):
    """A draw that was recomputed, with the file from which anybody can do the same."""

    id: str
    prize: str
    seed_hash: str
    entries_hash: str
    entries: int
    draws: int
    winners: tuple[int, ...]
    """Of the last draw."""
    problems: tuple[str, ...]
    """What does not fit; empty: all of it is as the rule says."""
    document: str
    """The file."""
