"""How /ticket shows tickets, and who is let into them. Foreign text is never markup."""

from __future__ import annotations

from collections.abc import Sequence

import discord

from master.bot.embeds import shortened
from master.configuration.settings import EmojiSettings, Settings
from master.services.core.ticket_views import TicketDetails, TicketFinding, TicketPermissionRow, TicketRow, form_of
from master.wording import as_markdown

_LINE_CHARACTERS, _FIELD_CHARACTERS = 300, 1_000


def ticket_lines(rows: Sequence[TicketRow]) -> list[str]:
    """Return what is said of each ticket."""
    return [_ticket_line(row) for row in rows] or ["There is none."]


def _ticket_line(row: TicketRow) -> str:
    place = f" <#{row.channel_id}>" if row.channel_id else ""
    state = f"place {row.position} in the queue" if row.position else row.state
    claimed = f", claimed by <@{row.claimed_by}>" if row.claimed_by else ""
    priority = "" if row.priority == "normal" else f", {row.priority}"
    author = f"of <@{row.author_id}>" if row.author_id else "by mail"
    head = f"**{row.number}**{place} {state}{priority}, {author}{claimed}"
    about = " ".join(filter(None, (as_markdown(row.node), as_markdown(row.category), as_markdown(row.topic))))
    return f"{head}\n{shortened(about, _LINE_CHARACTERS)}, <t:{int(row.last_at)}:R>"


def details_embed(settings: Settings, found: TicketDetails) -> discord.Embed:
    """Return one ticket."""
    ticket = found.ticket
    embed = discord.Embed(
        title=f"Ticket {ticket.number}: {ticket.state}",
        description=shortened(as_markdown(ticket.topic), _FIELD_CHARACTERS) or None,
        colour=settings.colours.information,
    )
    place = f"<#{ticket.channel_id}>" if ticket.channel_id else "none"
    for name, value in (
        ("Author", f"<@{ticket.author_id}>" if ticket.author_id else "by mail"),
        ("Claimed by", f"<@{ticket.claimed_by}>" if ticket.claimed_by else "nobody"),
        ("Channel", place),
        ("Bot", as_markdown(ticket.node)),
        ("Category", as_markdown(ticket.category)),
        ("Priority", ticket.priority),
        ("Opened", f"<t:{int(ticket.opened_at)}:f>"),
        ("Last written in", f"<t:{int(ticket.last_at)}:R>"),
    ):
        embed.add_field(name=name, value=value)
    if ticket.closed_at is not None:
        by = f" by <@{ticket.closed_by}>" if ticket.closed_by else ""
        why = f": {as_markdown(ticket.reason)}" if ticket.reason else ""
        value = shortened(f"<t:{int(ticket.closed_at)}:f>{by}{why}", _FIELD_CHARACTERS)
        embed.add_field(name="Closed", value=value, inline=False)
    if found.answers:
        lines = [f"**{as_markdown(question)}** {as_markdown(answer)}" for question, answer in form_of(found)]
        value = shortened("\n".join(lines), _FIELD_CHARACTERS)
        embed.add_field(name="Form", value=value, inline=False)
    if found.permissions:
        value = shortened("\n".join(map(_permission_line, found.permissions)), _FIELD_CHARACTERS)
        embed.add_field(name="Let in", value=value, inline=False)
    embed.set_footer(text=ticket.id)
    return embed


def permission_lines(rows: Sequence[TicketPermissionRow]) -> list[str]:
    """Return what is said of each permission."""
    return [f"Ticket {row.ticket}, {as_markdown(row.node)}: {_permission_line(row)}" for row in rows] or [
        "Nobody beside authors and staff."
    ]


def _permission_line(row: TicketPermissionRow) -> str:
    until = f" until <t:{int(row.until)}:f>" if row.until and row.state in ("granted", "asking") else ""
    why = f" ({as_markdown(row.detail)})" if row.detail else ""
    return shortened(f"<@{row.subject_id}> as {row.permission_set}: **{row.state}**{until}{why}", _LINE_CHARACTERS)


def finding_lines(emojis: EmojiSettings, found: Sequence[TicketFinding]) -> list[str]:
    """Return what is the matter with each category."""
    marks = {"ok": emojis.success, "warn": emojis.starting, "fail": emojis.error}
    lines = []
    for one in found:
        fix = f"\n{as_markdown(one.fix)}" if one.fix else ""
        lines.append(f"{marks[one.verdict]} **{as_markdown(one.category)}**: {as_markdown(one.detail)}{fix}")
    return lines or ["TICKETS in config.py has no categories."]
