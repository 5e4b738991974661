"""How /selffix shows channels. Foreign text is never markup."""

from __future__ import annotations

from collections.abc import Sequence

import discord

from master.bot.embeds import shortened
from master.configuration.settings import Settings
from master.services.core.channel_views import ChannelRepairRow, DriftRow
from master.wording import as_markdown

_MOST, _CHARACTERS = 15, 220


def drift_embed(settings: Settings, rows: Sequence[DriftRow]) -> discord.Embed:
    """Return what differs, and what would be done."""
    if not rows:
        return discord.Embed(title="All channels are as they are wanted", colour=settings.colours.success)
    blocked = any(row.obstacle for row in rows)
    return discord.Embed(
        title=f"{len(rows)} {'difference' if len(rows) == 1 else 'differences'}",
        description=_listed([_drift_line(row) for row in rows]),
        colour=settings.colours.error if blocked else settings.colours.warning,
    )


def repairs_embed(settings: Settings, rows: Sequence[ChannelRepairRow], nothing: str) -> discord.Embed:
    """Return what became of repairs."""
    if not rows:
        return discord.Embed(title=nothing, colour=settings.colours.information)
    failed = sum(row.state == "failed" for row in rows)
    colour = settings.colours.error if failed else settings.colours.success
    counts = {state: sum(row.state == state for row in rows) for state in sorted({row.state for row in rows})}
    return discord.Embed(
        title=", ".join(f"{count} {state}" for state, count in counts.items()),
        description=_listed([_repair_line(row) for row in rows]),
        colour=colour,
    )


def _drift_line(row: DriftRow) -> str:
    who = f", by <@{row.culprit_id}>" if row.culprit_id else ""
    state = "" if row.state == "due" else f" ({row.state})"
    obstacle = f"\n> cannot be done: {as_markdown(row.obstacle)}" if row.obstacle else ""
    return f"{shortened(as_markdown(row.words), _CHARACTERS)}{who}{state}{obstacle}"


def _repair_line(row: ChannelRepairRow) -> str:
    place = f" <#{row.channel_id}>" if row.channel_id and row.drift != "gone" else ""
    detail = f": {as_markdown(row.detail)}" if row.detail else ""
    return shortened(f"{row.state}: {as_markdown(row.words)}{place}{detail}", _CHARACTERS * 2)


def _listed(lines: Sequence[str]) -> str:
    more = [f"... and {len(lines) - _MOST} more: `fleet channels`"] if len(lines) > _MOST else []
    return shortened("\n".join([*lines[:_MOST], *more]), 4_000)
