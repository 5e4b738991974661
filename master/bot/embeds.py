"""Embeds in the configured colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile

import discord

from master.configuration.settings import EmojiSettings, Settings
from master.errors import FleetError
from master.services.core.views import NodeStatus, Registered, ReloadView
from master.wording import as_code, as_markdown, duration, hint_as_markdown, visible

TROUBLE_CHARACTERS = 60
"""Limit for a node's error in its line, so that a page of twenty lines fits in an embed."""


_FIELD_CHARACTERS = 1000
"""Discord's limit is 1024, with what is said of those left out."""


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


def node_line(emojis: EmojiSettings, node: NodeStatus) -> str:
    """Render one node as a line of ``/runbots``."""
    memory = "-" if node.rss_bytes is None else f"{node.rss_bytes / 2**20:.0f}M"
    cpu = "-" if node.cpu_percent is None else f"{node.cpu_percent:.1f}%"
    pulse = "-" if node.last_pulse_s_ago is None else f"{node.last_pulse_s_ago:.0f}s"
    ping = "-" if node.latency_ms is None else f"{node.latency_ms:.0f}ms"
    guilds = "-" if node.guilds is None else str(node.guilds)
    flag = " ⚑" if node.flag_reason else ""
    trouble = f" {as_markdown(node.detail[:TROUBLE_CHARACTERS])}" if node.state == "degraded" else ""
    if node.offline_since is not None:
        trouble = f" offline since <t:{int(node.offline_since)}:t>"
    if node.licence_revoked:
        trouble = " licence revoked"
    figures = (
        f"{node.pid or '-':>7} {duration(node.uptime_s):>6} {cpu:>5} {memory:>5} ↻{node.restarts:<3} ♥{pulse:<4} "
        f"{ping:>6} {guilds:>4}g"
    )
    version = as_code(visible(node.version))[:8]
    return (
        f"{state_emoji(emojis, node.state)} `{node.name[:16]:<16} {node.state:<11} {figures} {version}`{flag}{trouble}"
    )


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
