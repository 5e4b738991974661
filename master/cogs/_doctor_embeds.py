"""What the doctor found, as pages of embeds."""

from __future__ import annotations

from collections.abc import Sequence

import discord

from master.cogs._views import lines_in_pages
from master.configuration.settings import EmojiSettings, Settings
from master.services.core.findings import Finding
from master.wording import as_markdown, hint_as_markdown

_ON_PAGE = 8


def doctor_pages(settings: Settings, findings: Sequence[Finding]) -> list[discord.Embed]:
    """Return pages with all that is not well, what fails first; what is well is named below."""
    failed = [one for one in findings if one.verdict == "fail"]
    warned = [one for one in findings if one.verdict == "warn"]
    well = list(dict.fromkeys(one.what for one in findings if one.verdict == "ok"))
    emojis, colours = settings.emojis, settings.colours
    if failed:
        mark, colour = emojis.error, colours.error
        words = f"{_counted(failed, 'thing')} to mend"
    elif warned:
        mark, colour = emojis.degraded, colours.warning
        words = f"It works, with {_counted(warned, 'warning')}"
    else:
        mark, colour, words = emojis.success, colours.success, "All is well"
    pages = []
    for page in lines_in_pages([_line(emojis, one) for one in (*failed, *warned)], on_page=_ON_PAGE):
        embed = discord.Embed(title=f"{mark} {words}", description="\n".join(page) or None, colour=colour)
        embed.add_field(name=f"Well: {len(well)}", value=as_markdown(", ".join(well))[:1024] or "nothing", inline=False)
        embed.set_footer(text="`fleet doctor` on the box has the details of each")
        pages.append(embed)
    return pages


def _line(emojis: EmojiSettings, finding: Finding) -> str:
    mark = emojis.error if finding.verdict == "fail" else emojis.degraded
    fix = f"\n-> {hint_as_markdown(finding.fix)}" if finding.fix else ""
    return f"{mark} **{as_markdown(finding.what)}**: {as_markdown(finding.detail)}{fix}"


def _counted(found: Sequence[Finding], what: str) -> str:
    return f"{len(found)} {what}{'s' * (len(found) != 1)}"
