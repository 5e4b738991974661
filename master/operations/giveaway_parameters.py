"""Parameters of operations on giveaways: one Struct each, decoded strictly."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from master.services.core.giveaway_views import MOST_WINNERS, GiveawayRules, Snowflake

Word = Annotated[str, Meta(min_length=1, max_length=26)]
"""A giveaway's id, or as much of it as no other begins with."""
Prize = Annotated[str, Meta(min_length=1, max_length=200)]
Description = Annotated[str, Meta(max_length=1_000)]
Winners = Annotated[int, Meta(ge=1, le=MOST_WINNERS)]
DurationS = Annotated[float, Meta(ge=0, le=3.2e7)]
Why = Annotated[str, Meta(max_length=300)]


class GiveawaysParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which giveaways are listed."""

    guild_id: Snowflake = 0
    """The server; 0, on the command line: all."""
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 30


class GiveawayParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One giveaway."""

    giveaway: Word
    guild_id: Snowflake = 0


class GiveawayStartParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A giveaway to start."""

    guild_id: Snowflake
    channel_id: Snowflake
    prize: Prize
    duration_s: DurationS
    winners: Winners = 1
    description: Description = ""
    rules: GiveawayRules = GiveawayRules()
    prize_tier: Annotated[str, Meta(max_length=40)] = ""
    """The tier of the licence that winners get; empty: the prize is something else."""
    claim_s: Annotated[int, Meta(ge=0, le=2_592_000)] = 0
    """How long winners have to claim; 0: they need not, or as the settings say for a licence."""
    starts_in_s: DurationS = 0.0


class GiveawayEditParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change of a giveaway; None leaves it as it is."""

    giveaway: Word
    guild_id: Snowflake = 0
    prize: Prize | None = None
    description: Description | None = None
    winners: Winners | None = None
    ends_in_s: DurationS | None = None


class GiveawayCancelParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A giveaway to cancel, and why."""

    giveaway: Word
    guild_id: Snowflake = 0
    why: Why = ""


class GiveawayRerollParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A giveaway to draw again."""

    giveaway: Word
    guild_id: Snowflake = 0
    user_id: Snowflake = 0
    """The winner whose prize goes on; 0: all of them."""
    why: Why = ""


class GiveawayEnterParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who enters, beyond what the actor tells."""

    giveaway: Word
    guild_id: Snowflake
    joined_at: Annotated[float, Meta(ge=0, le=1e11)] = 0.0
    """Since when he is on the server (Unix time in seconds); 0: not known."""
