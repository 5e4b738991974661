"""Giveaways in answers to commands; their own messages are in ``services.people.giveaway_messages``."""

from __future__ import annotations

import discord

from master.configuration.settings import Settings
from master.services.core.giveaway_views import DrawView, GiveawayDetails, GiveawayView
from master.wording import as_markdown

_STATES = {
    "scheduled": "begins <t:{starts}:R>",
    "open": "ends <t:{ends}:R>",
    "drawing": "is being drawn",
    "drawn": "ended <t:{ends}:R>",
    "cancelled": "was cancelled",
}


def counted(number: int, one: str, more: str = "") -> str:
    """Return a number with its noun: 1 entry, 2 entries."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def who_is_in(entries: int) -> str:
    """Say how many have entered."""
    return "Nobody is in." if not entries else "1 is in." if entries == 1 else f"{entries:,} are in."


def left_to_draw(details: GiveawayDetails) -> int:
    """Return how many have entered and never won: whoever won is left out of each further draw."""
    return details.giveaway.entries - len({winner.user_id for winner in details.winners})


def giveaway_line(view: GiveawayView) -> str:
    """Return one giveaway for a list."""
    when = _STATES.get(view.state, view.state).format(starts=int(view.starts_at), ends=int(view.ends_at))
    people = counted(view.entries, "entry", "entries") if view.entries else "no entries"
    won = f", won by {', '.join(f'<@{user_id}>' for user_id in view.won_by[:5])}" if view.won_by else ""
    more = f" and {len(view.won_by) - 5} more" if len(view.won_by) > 5 else ""
    return f"**{as_markdown(view.prize)}** {when}: {people}{won}{more} · {_where(view)}\n`{view.id}`"


def details_text(details: GiveawayDetails) -> str:
    """Say who won, and who no longer does."""
    lines = [giveaway_line(details.giveaway)]
    gone = [winner for winner in details.winners if winner.state in ("unclaimed", "left", "replaced")]
    lines += [f"<@{w.user_id}>, draw {w.draw}: {w.state} ({as_markdown(w.detail)})" for w in gone[:20]]
    return "\n".join(lines)


def draw_embed(settings: Settings, draw: DrawView) -> discord.Embed:
    """Return what a recomputed draw has come to."""
    fits = not draw.problems
    embed = discord.Embed(
        title=f"{settings.emojis.success if fits else settings.emojis.error} The draw of {as_markdown(draw.prize)} "
        f"{'is as its rule says' if fits else 'does not fit'}"[:200],
        description="\n".join(f"- {as_markdown(problem)}" for problem in draw.problems)[:2000]
        or f"Recomputed from the seed and {counted(draw.entries, 'entry', 'entries')}: the same winners. The "
        "file has all that you need to do it yourself: `fleet giveaway verify FILE`, or the script in "
        "docs/giveaways.md.",
        colour=settings.colours.success if fits else settings.colours.error,
    )
    winners = ", ".join(f"<@{user_id}>" for user_id in draw.winners) or "nobody"
    embed.add_field(name="Won by" if draw.draws < 2 else f"Won by, in draw {draw.draws - 1}", value=winners[:1024])
    embed.add_field(name="SHA-256 of the seed, as in its message", value=f"`{draw.seed_hash}`", inline=False)
    embed.add_field(name="SHA-256 of the entries", value=f"`{draw.entries_hash}`", inline=False)
    embed.set_footer(text=f"Giveaway {draw.id}")
    return embed


def _where(view: GiveawayView) -> str:
    if view.message_id is None:
        return f"<#{view.channel_id}>"
    return f"https://discord.com/channels/{view.guild_id}/{view.channel_id}/{view.message_id}"
