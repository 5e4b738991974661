"""What people see of tickets: panels, forms, embeds, buttons. Used by ``tickets.py``; a change needs a restart.

Buttons and forms are not kept in memory: what they do is in their custom ids, ``ticket:DEED:ARGUMENT``, which the cog
reads. So they work after a restart, on messages of last year too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import config
import discord

from nodekit.tickets import TicketCategoryView, TicketView

PREFIX = "ticket:"
MOST_IN_EMBED = 6_000
MOST_CATEGORIES = 25
"""Options of a menu, and buttons of a message."""
COLOURS = {"low": 0x95A5A6, "normal": config.COLOUR, "high": 0xE67E22, "urgent": config.COLOUR_ERROR}
_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_~|>#[]()<@-:"})


def plain(text: str, most: int = 1_024) -> str:
    """Return a text of somebody's so that Discord shows it as it is: no link, no mention, no markup."""
    shown = text.translate(_SPECIAL)
    if len(shown) <= most:
        return shown
    cut = shown[: most - 1]
    # Not between a backslash and what it is for.
    return cut[: len(cut) - (len(cut) - len(cut.rstrip("\\"))) % 2] + "…"


def mention(user_id: int) -> str:
    """Return how a person is mentioned."""
    return f"<@{user_id}>"


def panel(
    title: str, text: str, categories: Sequence[TicketCategoryView], *, as_menu: bool
) -> tuple[discord.Embed, discord.ui.View]:
    """Return a panel that people open tickets with."""
    if not as_menu:
        buttons = [_button(one.name.capitalize(), f"new:{one.name}") for one in categories[:MOST_CATEGORIES]]
        return _embed(title, text), _view(buttons)
    menu = discord.ui.Select[discord.ui.View](custom_id=f"{PREFIX}new", placeholder="What is it about?")
    for one in categories[:MOST_CATEGORIES]:
        menu.add_option(label=one.name.capitalize(), value=one.name)
    return _embed(title, text), _view([menu])


def form(category: TicketCategoryView) -> discord.ui.Modal:
    """Return the form of a category: a field for each of its questions."""
    return _form(f"New ticket: {category.name}", f"form:{category.name}", category.questions[:5], required=True)


def closing_form(ticket_id: str, number: int) -> discord.ui.Modal:
    """Return the form that asks for the reason of an end; sending it is the confirmation."""
    title = f"Close ticket {number}?" if number else "Close this ticket?"
    return _form(title, f"closing:{ticket_id}", ("Why? Its author reads it.",), required=False)


def answers_of(interaction: discord.Interaction) -> list[str]:
    """Return what somebody filled into a form, in the order of its fields."""
    data: dict[str, Any] = dict(interaction.data or {})
    return [str(row["component"].get("value") or "") for row in data.get("components", ())]


def ticket_embed(ticket: TicketView, form_answers: Iterable[tuple[str, str]]) -> discord.Embed:
    """Return what stands at the top of a ticket: as much of each answer as there is room for."""
    answers = list(form_answers)
    embed = _ticket_embed(ticket, answers, 1_024)
    return embed if len(embed) <= MOST_IN_EMBED else _ticket_embed(ticket, answers, 800)


def _ticket_embed(ticket: TicketView, form_answers: Sequence[tuple[str, str]], most: int) -> discord.Embed:
    embed = _embed(f"Ticket {ticket.number}: {ticket.category}", plain(ticket.topic))
    embed.colour = discord.Colour(COLOURS.get(ticket.priority, config.COLOUR))
    embed.add_field(name="Opened by", value=mention(ticket.author_id))
    embed.add_field(name="Claimed by", value=mention(ticket.claimed_by) if ticket.claimed_by else "nobody yet")
    embed.add_field(name="Priority", value=ticket.priority)
    for question, answer in form_answers:
        embed.add_field(name=question[:256], value=plain(answer, most) or "nothing", inline=False)
    if ticket.state in ("closing", "closed"):
        embed.colour = discord.Colour.dark_grey()
        by = f"\nby {mention(ticket.closed_by)}" if ticket.closed_by else ""
        embed.add_field(name="Closed", value=f"{plain(ticket.reason) or 'without a reason'}{by}", inline=False)
    return embed


def ticket_buttons(ticket: TicketView) -> discord.ui.View:
    """Return the buttons of a ticket, as its state has them."""
    if ticket.state == "closed":
        return _view([_button("Reopen", f"reopen:{ticket.id}"), _button("Delete", f"delete:{ticket.id}", danger=True)])
    if ticket.state != "open":
        return _view([])
    taken = ("Release", "release") if ticket.claimed_by else ("Claim", "claim")
    return _view([_button(taken[0], f"{taken[1]}:{ticket.id}"), _button("Close", f"close:{ticket.id}", danger=True)])


def deletion_buttons(ticket_id: str) -> discord.ui.View:
    """Return the button that confirms that a ticket's channel is to be deleted."""
    return _view([_button("Delete the channel", f"deletion:{ticket_id}", danger=True)])


def ending_embed(ticket: TicketView, messages: int, to_author: str) -> discord.Embed:
    """Return what goes into the log of a category with a transcript."""
    embed = ticket_embed(ticket, ())
    embed.add_field(name="Transcript", value=f"{messages:,} messages. {to_author}", inline=False)
    return embed


def reopen_button(ticket: TicketView) -> discord.ui.View:
    """Return the button of the log: in an archived thread nobody can press any."""
    return _view([_button("Reopen", f"reopen:{ticket.id}")])


def list_embed(tickets: Sequence[TicketView], left_out: int, *, is_exact: bool) -> discord.Embed:
    """Return a list of tickets, and say how many are not in it; not exactly where some of them are not one's to see."""
    lines = [_line(ticket) for ticket in tickets]
    shown = 0
    while shown < len(lines) and sum(map(len, lines[: shown + 1])) + shown < 3_900:
        shown += 1
    more = len(lines) - shown + left_out
    words = f"and {more} more" if is_exact else f"and yours of {more} more; `/ticket list` of the master's bot has all"
    text = "\n".join([*lines[:shown], *([words] if more else [])])
    count = len(lines) + left_out if is_exact else f"{shown} shown" if more else len(lines)
    return _embed(f"Tickets: {count}", text or "There are none.")


def _line(ticket: TicketView) -> str:
    where = f"<#{ticket.channel_id}>" if ticket.channel_id else "no channel yet"
    parts = [f"**{ticket.number}**", ticket.category, ticket.state, where, mention(ticket.author_id)]
    parts += [f"claimed by {mention(ticket.claimed_by)}"] if ticket.claimed_by else []
    parts += [ticket.priority] if ticket.priority != "normal" else []
    return " · ".join([*parts, *([plain(ticket.topic, 60)] if ticket.topic else [])])


def _embed(title: str, text: str) -> discord.Embed:
    return discord.Embed(title=title[:256], description=text[:4_000] or None, colour=config.COLOUR)


def _button(label: str, deed: str, *, danger: bool = False) -> discord.ui.Button[discord.ui.View]:
    style = discord.ButtonStyle.danger if danger else discord.ButtonStyle.primary
    return discord.ui.Button(label=label[:80], style=style, custom_id=f"{PREFIX}{deed}"[:100])


def _view(items: Sequence[discord.ui.Item[discord.ui.View]]) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for item in items:
        view.add_item(item)
    # So that discord.py does not keep it: the cog reads custom ids.
    view.stop()
    return view


def _form(title: str, deed: str, questions: Sequence[str], *, required: bool) -> discord.ui.Modal:
    modal = discord.ui.Modal(title=title[:45], timeout=None, custom_id=f"{PREFIX}{deed}"[:100])
    for number, question in enumerate(questions):
        field = discord.ui.TextInput[discord.ui.Modal](
            style=discord.TextStyle.paragraph,
            custom_id=f"answer{number}",
            required=required,
            max_length=1_000 if required else 400,
        )
        modal.add_item(discord.ui.Label(text=question[:45], component=field))
    modal.stop()
    return modal
