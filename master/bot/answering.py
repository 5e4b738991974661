"""Responses to interactions, with fallbacks for servers that lack a feature."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import discord

from master.bot.embeds import error_embed
from master.errors import FleetError
from master.services.container import Services
from master.services.core.actors import Actor
from nodekit.call_failures import ANY_FAILURE

log = logging.getLogger(__name__)

_UNKNOWN_INTERACTION = 10062
_DEFERRAL_REFUSED = "fleet: deferral refused"
"""Key of an interaction's extras."""


class HasServices(Protocol):
    """A client with the master's services."""

    @property
    def services(self) -> Services:
        """Return the master's services."""
        ...


def services_of(interaction: discord.Interaction[Any]) -> Services:
    """Return the services of an interaction's client."""
    client: HasServices = interaction.client
    return client.services


def actor_of(interaction: discord.Interaction[Any]) -> Actor:
    """Return the actor of an interaction."""
    roles = getattr(interaction.user, "roles", [])
    return Actor(
        face="discord",
        identity=str(interaction.user.id),
        name=interaction.user.display_name,
        role_ids=frozenset(role.id for role in roles),
        is_member=interaction.guild_id is not None,
    )


async def answer(
    interaction: discord.Interaction[Any], embed: discord.Embed, view: discord.ui.View = discord.utils.MISSING
) -> None:
    """Send an ephemeral response, or a followup if the interaction was responded to or deferred.

    Falls back to a plain message on Discord-compatible servers without deferral, followups or ephemeral messages. If
    that fails too, it is logged: a response that cannot be sent must not raise.
    """
    try:
        if interaction.response.is_done():
            await interaction.followup.send(embed=embed, view=view, ephemeral=True)
        else:
            await interaction.response.send_message(embed=embed, view=view, ephemeral=True)
    except ANY_FAILURE as error:
        log.warning("an answer could not be sent", extra={"why": str(error)})
        if _DEFERRAL_REFUSED in interaction.extras or not _has_expired(error):
            await _send_plain(interaction, embed)


def _has_expired(error: Exception) -> bool:
    """Tell whether the interaction has expired; Discord has then told the user that it failed."""
    return isinstance(error, discord.HTTPException) and error.code == _UNKNOWN_INTERACTION


async def _send_plain(interaction: discord.Interaction[Any], embed: discord.Embed) -> None:
    """Post the text in the channel; without fields, since those may hold a secret."""
    text = embed.title if embed.fields else f"{embed.title}: {embed.description}"
    channel = interaction.channel
    if not isinstance(channel, discord.abc.Messageable):
        log.warning("a plain answer has no channel")
        return
    try:
        await channel.send(str(text)[:2000])
    except ANY_FAILURE as error:
        log.warning("a plain answer could not be sent either", extra={"why": str(error)})


async def defer(interaction: discord.Interaction[Any]) -> None:
    """Defer the response by up to fifteen minutes; on failure, the response is sent as a plain message later."""
    try:
        await interaction.response.defer(ephemeral=True, thinking=True)
    except ANY_FAILURE as error:
        if not _has_expired(error):
            # It will have by the time of the answer; that is then no reason to be silent.
            interaction.extras[_DEFERRAL_REFUSED] = True
        log.warning("a deferral was refused", extra={"why": str(error)})


async def ask(interaction: discord.Interaction[Any], modal: discord.ui.Modal, instead: str) -> None:
    """Show a modal; on servers without modals, say what to do instead."""
    try:
        await interaction.response.send_modal(modal)
    except ANY_FAILURE as error:
        log.warning("a modal was refused", extra={"why": str(error)})
        settings = services_of(interaction).settings
        await answer(interaction, error_embed(settings, FleetError("this server shows no forms", hint=instead)))
