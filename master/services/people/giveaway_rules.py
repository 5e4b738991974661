"""Judges who may enter a giveaway from what the press itself says of him: no request to Discord is made for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from master.ledger.rows.records import Giveaway
from master.services.core.giveaway_views import MOST_WEIGHT, GiveawayRules

_DISCORD_EPOCH_MS = 1_420_070_400_000
"""https://discord.com/developers/docs/reference#snowflakes"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """Who presses.

    Parameters
    ----------
    role_ids
        Roles that he has now.
    joined_at
        Since when he is on the server; None if that is not known.
    """

    user_id: int
    role_ids: frozenset[int] = frozenset()
    joined_at: datetime | None = None


def rules_of(giveaway: Giveaway) -> GiveawayRules:
    """Return who may enter a giveaway."""
    return msgspec.json.decode(giveaway.rules, type=GiveawayRules)


def refusal(rules: GiveawayRules, entrant: Entrant, now: datetime) -> str:
    """Say what somebody lacks; empty if he may enter. The tier of his licence is asked for elsewhere."""
    lacking = [role_id for role_id in rules.role_ids if role_id not in entrant.role_ids]
    if lacking:
        return f"it is for members with {' and '.join(f'<@&{role_id}>' for role_id in lacking)}"
    if rules.account_days and now - created_at(entrant.user_id) < timedelta(days=rules.account_days):
        return f"it is for accounts that are at least {_days(rules.account_days)} old"
    if rules.member_days and (entrant.joined_at is None or now - entrant.joined_at < timedelta(days=rules.member_days)):
        return f"it is for members who have been here for at least {_days(rules.member_days)}"
    return ""


def weight_of(rules: GiveawayRules, entrant: Entrant) -> int:
    """Return how many entries somebody has."""
    bonus = sum(one.entries for one in rules.bonus if one.role_id in entrant.role_ids)
    return min(1 + bonus, MOST_WEIGHT)


def created_at(snowflake: int) -> datetime:
    """Return when Discord made an id."""
    return datetime.fromtimestamp(((snowflake >> 22) + _DISCORD_EPOCH_MS) / 1000, UTC)


def snowflake_at(moment: datetime) -> int:
    """Return the lowest id that Discord makes at a moment."""
    return max(int(moment.timestamp() * 1000) - _DISCORD_EPOCH_MS, 0) << 22


def requirement_lines(rules: GiveawayRules) -> list[str]:
    """Say for people who may enter; empty: everybody."""
    lines = [f"<@&{role_id}>" for role_id in rules.role_ids]
    if rules.account_days:
        lines.append(f"an account that is at least {_days(rules.account_days)} old")
    if rules.member_days:
        lines.append(f"here for at least {_days(rules.member_days)}")
    if rules.tier:
        lines.append(f"a licence of the tier {rules.tier}")
    return lines


def bonus_lines(rules: GiveawayRules) -> list[str]:
    """Say for people who has further entries."""
    return [f"<@&{one.role_id}>: +{one.entries}" for one in rules.bonus]


def encoded(rules: GiveawayRules) -> str:
    """Return rules as they are kept."""
    return msgspec.json.encode(rules).decode()


def unknown_tiers(rules: GiveawayRules, prize_tier: str, tiers: Mapping[str, object]) -> list[str]:
    """Return the tiers that a giveaway names, and the config does not have."""
    return [tier for tier in (rules.tier, prize_tier) if tier and tier not in tiers]


def _days(days: int) -> str:
    return "a day" if days == 1 else f"{days} days"
