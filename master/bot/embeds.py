"""Embeds in the configured colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile

import discord

from master.configuration.settings import EmojiSettings, Settings
from master.errors import FleetError
from master.services.core.views import Registered, ReloadView
from master.wording import as_code, as_markdown, hint_as_markdown, visible

_FIELD_CHARACTERS = 1000
"""Discord's limit is 1024, with what is said of those left out."""


_TITLE, DESCRIPTION_CHARACTERS, _FOOTER, _NAME, _VALUE, _FIELDS, _TOTAL = 256, 4096, 2048, 256, 1024, 25, 6000
"""https://discord.com/developers/docs/resources/message#embed-object-embed-limits"""


def shortened(text: str, limit: int) -> str:
    """Return text of at most ``limit`` characters; what is left out is an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip("\\ ") + "…"


def fitted(embed: discord.Embed) -> discord.Embed:
    """Return an embed within Discord's limits: the description gives way first, then the last fields."""
    fits = embed.copy()
    fits.title = shortened(fits.title or "", _TITLE) or None
    fits.description = shortened(fits.description or "", DESCRIPTION_CHARACTERS) or None
    if fits.footer.text:
        fits.set_footer(text=shortened(fits.footer.text, _FOOTER), icon_url=fits.footer.icon_url)
    fields = [(field.name or "-", field.value or "-", field.inline) for field in fits.fields]
    fits.clear_fields()
    for title, value, inline in fields[:_FIELDS]:
        fits.add_field(name=shortened(title, _NAME), value=shortened(value, _VALUE), inline=inline)
    if len(fits) > _TOTAL and fits.description:
        room = max(_TOTAL - (len(fits) - len(fits.description)), 1)
        fits.description = shortened(fits.description, room)
    while len(fits) > _TOTAL:
        fits.remove_field(len(fits.fields) - 1)
    return fits


def error_embed(settings: Settings, error: FleetError) -> discord.Embed:
    """Render an error with its hint."""
    embed = discord.Embed(
        title=f"{settings.emojis.error} {as_markdown(_capitalised(error.message))}"[:256],
        description=hint_as_markdown(error.hint)[:4000] or None,
        colour=settings.colours.error,
    )
    embed.set_footer(text=error.code)
    return embed


def success_embed(settings: Settings, title: str, description: str = "") -> discord.Embed:
    """Render a success message."""
    return discord.Embed(
        title=f"{settings.emojis.success} {title}"[:256],
        description=description[:4000] or None,
        colour=settings.colours.success,
    )


def registered_embed(settings: Settings, registered: Registered) -> discord.Embed:
    """Render a new node with its licence code, which is shown only once."""
    embed = success_embed(
        settings,
        f"{registered.name} is in the fleet",
        f"{state_emoji(settings.emojis, registered.state)} {registered.state}, after {registered.seconds:.1f} s",
    )
    if registered.trouble:
        embed.add_field(name="It did not start", value=as_markdown(registered.trouble)[:1024], inline=False)
    if registered.notes:
        embed.add_field(name="Note", value="\n".join(map(as_markdown, registered.notes))[:1024], inline=False)
    if registered.licence:
        embed.add_field(name="Licence (shown only now)", value=f"```\n{registered.licence}\n```", inline=False)
    if registered.invite_url:
        embed.add_field(name="Invite", value=f"[Add it to a server]({registered.invite_url})")
        embed.add_field(name="Bot", value=f"<@{registered.bot_user_id}>")
    embed.set_footer(text=f"node {registered.node_id}")
    return embed


def reload_embed(settings: Settings, found: ReloadView) -> discord.Embed:
    """Render what a reload did."""
    embed = success_embed(settings, "The config is applied" if found.applied else "Nothing new is in effect")
    for title, keys in (
        ("In effect", found.applied),
        ("From each node's next start on", found.at_node_start),
        ("Needs a restart of the master", found.needs_restart),
        ("Look at this", found.warnings),
    ):
        if keys:
            embed.add_field(name=title, value=_code_lines(keys), inline=False)
    return embed


def _code_lines(texts: Sequence[str]) -> str:
    """Return texts as code, one in a line, as many as fit in a field."""
    shown = [f"`{visible(as_code(text))[:200]}`" for text in texts]
    fitting = list(takewhile(lambda length: length <= _FIELD_CHARACTERS, accumulate(len(text) + 1 for text in shown)))
    left_out = len(shown) - len(fitting)
    return "\n".join(shown[: len(fitting)]) + (f"\nand {left_out} more" if left_out else "")


def state_emoji(emojis: EmojiSettings, state: str) -> str:
    """Return the emoji of a node's state."""
    return {
        "ready": emojis.ready,
        "starting": emojis.starting,
        "stopping": emojis.starting,
        "degraded": emojis.degraded,
        "offline": emojis.degraded,
        "stopped": emojis.stopped,
    }.get(state, emojis.failed)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
