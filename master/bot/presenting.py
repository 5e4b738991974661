"""Embeds in the configured colours, and answering an interaction whatever its server can do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import discord

from master.configuration.settings import EmojiSettings, Settings
from master.errors import FleetError
from master.services.core.actors import Actor
from master.services.core.views import NodeStatus, Registered
from master.wording import duration

if TYPE_CHECKING:
    from master.bot.client import MasterBot

log = logging.getLogger(__name__)

TROUBLE_CHARACTERS = 60
"""Of what is wrong with a node in its line: a page of twenty lines fits in an embed."""


def actor_of(interaction: discord.Interaction[Any]) -> Actor:
    """Return who began an interaction."""
    roles = getattr(interaction.user, "roles", [])
    return Actor(
        face="discord",
        identity=str(interaction.user.id),
        name=interaction.user.display_name,
        role_ids=frozenset(role.id for role in roles),
        is_member=interaction.guild_id is not None,
    )


async def answer(
    interaction: discord.Interaction[MasterBot], embed: discord.Embed, view: discord.ui.View = discord.utils.MISSING
) -> None:
    """Answer ephemerally: as the first answer, or as what follows a deferral.

    A Discord-compatible server that lacks followups or ephemeral answers gets a plain message, and where even that
    fails the log says so: an answer that cannot be shown must not become a crash.
    """
    try:
        if interaction.response.is_done():
            await interaction.followup.send(embed=embed, view=view, ephemeral=True)
        else:
            await interaction.response.send_message(embed=embed, view=view, ephemeral=True)
    except discord.HTTPException as error:
        log.warning("an answer could not be sent", extra={"why": str(error)})
        if error.code != 10062 and isinstance(interaction.channel, discord.abc.Messageable):
            await _say_plainly(interaction.channel, embed)


async def _say_plainly(channel: discord.abc.Messageable, embed: discord.Embed) -> None:
    """Say in the channel what could not be answered; only what is no secret (an error's words)."""
    text = embed.title if embed.fields else f"{embed.title}: {embed.description}"
    try:
        await channel.send(str(text)[:2000])
    except discord.HTTPException as error:
        log.warning("a plain answer could not be sent either", extra={"why": str(error)})


async def defer(interaction: discord.Interaction[MasterBot]) -> None:
    """Promise an ephemeral answer within fifteen minutes; a server that cannot is answered later, plainly."""
    try:
        await interaction.response.defer(ephemeral=True, thinking=True)
    except discord.HTTPException as error:
        log.warning("a deferral was refused", extra={"why": str(error)})


async def ask(interaction: discord.Interaction[MasterBot], modal: discord.ui.Modal, instead: str) -> None:
    """Show a modal; where the server has none, say what to do instead."""
    try:
        await interaction.response.send_modal(modal)
    except discord.HTTPException as error:
        log.warning("a modal was refused", extra={"why": str(error)})
        settings = interaction.client.services.settings
        await answer(interaction, error_embed(settings, FleetError("this server shows no forms", hint=instead)))


def error_embed(settings: Settings, error: FleetError) -> discord.Embed:
    """Render an error: what was wrong, and what to do."""
    embed = discord.Embed(
        title=f"{settings.emojis.error} {_capitalised(error.message)}"[:256],
        description=error.hint[:4000] or None,
        colour=settings.colours.error,
    )
    embed.set_footer(text=error.code)
    return embed


def success_embed(settings: Settings, title: str, description: str = "") -> discord.Embed:
    """Render something that went well."""
    return discord.Embed(
        title=f"{settings.emojis.success} {title}"[:256],
        description=description[:4000] or None,
        colour=settings.colours.success,
    )


def registered_embed(settings: Settings, registered: Registered) -> discord.Embed:
    """Render a new node with its licence code, which is shown this once."""
    embed = success_embed(
        settings,
        f"{registered.name} is in the fleet",
        f"{state_emoji(settings.emojis, registered.state)} {registered.state}, after {registered.seconds:.1f} s",
    )
    embed.add_field(name="Licence (shown only now)", value=f"```\n{registered.licence}\n```", inline=False)
    embed.add_field(name="Invite", value=f"[Add it to a server]({registered.invite_url})")
    embed.add_field(name="Bot", value=f"<@{registered.bot_user_id}>")
    embed.set_footer(text=f"node {registered.node_id}")
    return embed


def state_emoji(emojis: EmojiSettings, state: str) -> str:
    """Return the emoji of a node's state."""
    return {
        "ready": emojis.ready,
        "starting": emojis.starting,
        "stopping": emojis.starting,
        "degraded": emojis.degraded,
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
    trouble = f" {discord.utils.escape_markdown(node.detail[:TROUBLE_CHARACTERS])}" if node.state == "degraded" else ""
    figures = (
        f"{node.pid or '-':>7} {duration(node.uptime_s):>6} {cpu:>5} {memory:>5} ↻{node.restarts:<3} ♥{pulse:<4} "
        f"{ping:>6} {guilds:>4}g"
    )
    return (
        f"{state_emoji(emojis, node.state)} `{node.name[:16]:<16} {node.state:<11} {figures} {node.version[:8]}`"
        f"{flag}{trouble}"
    )


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
