"""How a node came to be what it is, on Discord. Foreign text is no markup."""

from __future__ import annotations

from collections.abc import Sequence

import discord

from master.bot.embeds import fitted, shortened
from master.cogs._patch_embeds import person
from master.configuration.settings import Settings
from master.services.core.lineage_views import GenerationView, LineageView
from master.wording import as_code, as_markdown

_TEXT, _PATH, _FIELD = 150, 60, 1_000
_NAMED, _ANCESTORS, _TROUBLED = 3, 5, 5
_MARKS = {"patched": "📦", "rolled_back": "⏪", "edited": "✏️", "restored": "♻️", "cloned": "🧬", "registered": "🆕"}


def lineage_embed(settings: Settings, found: LineageView, lines: Sequence[str]) -> discord.Embed:
    """Render a page of a lineage; what does not hold is told on each."""
    trouble = _trouble(found)
    embed = discord.Embed(
        title=shortened(f"{as_markdown(found.node)}: how it came to be", 256),
        description="\n".join(lines),
        colour=settings.colours.error if trouble else settings.colours.information,
    )
    if trouble:
        embed.add_field(name="It is not as it was signed", value=shortened("\n".join(trouble), _FIELD), inline=False)
    if found.ancestors:
        names = ", ".join(as_markdown(name[:_PATH]) for name in found.ancestors[:_ANCESTORS])
        embed.add_field(name="From", value=shortened(names, _FIELD), inline=False)
    count = len(found.generations)
    held = "" if trouble else ", each signature holds"
    embed.set_footer(text=f"{count} {'generation' if count == 1 else 'generations'}{held}")
    return fitted(embed)


def generation_lines(found: LineageView) -> list[str]:
    """Render each generation in a line, the newest first: a phone shows the beginning."""
    lines = [_line(one) for one in reversed(found.generations)]
    return lines or ["Nothing is noted of it yet: the master does so while it runs."]


def _line(one: GenerationView) -> str:
    mark = "❌" if one.signature != "holds" else _MARKS.get(one.cause, "•")
    told = [as_markdown(one.what[:_TEXT])] if one.what and one.cause != "edited" else []
    if one.changed:
        more = f" and {len(one.changed) - _NAMED} more" if len(one.changed) > _NAMED else ""
        told.append(" ".join(f"`{as_code(path[:_PATH])}`" for path in one.changed[:_NAMED]) + more)
    if one.detail:
        told.append(as_markdown(" ".join(one.detail.split())[:_TEXT]))
    if one.actor:
        told.append(f"by {person(one.actor[:_TEXT])}")
    release = f" (release {one.release})" if one.release else ""
    cause = as_markdown(one.cause.replace("_", " "))
    return f"{mark} **{one.generation}** <t:{int(one.at)}:f> **{cause}**{release} {'; '.join(told)}".rstrip()


def _trouble(found: LineageView) -> list[str]:
    lines = []
    if found.missing:
        numbers = ", ".join(str(number) for number in found.missing[:20])
        lines.append(f"missing: generation {numbers}; somebody removed it from the ledger")
    bad = [one for one in found.generations if one.signature != "holds"]
    for one in bad[:_TROUBLED]:
        lines.append(f"generation {one.generation}: {as_markdown((one.trouble or one.signature)[:_TEXT])}")
    return lines + ([f"and {len(bad) - _TROUBLED} more"] if len(bad) > _TROUBLED else [])
