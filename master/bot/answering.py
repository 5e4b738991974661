"""Answering an interaction, whatever its server can do."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import discord

from master.bot.embeds import error_embed
from master.bot.failures import CALL_FAILURES
from master.errors import FleetError
from master.services.container import Services
from master.services.core.actors import Actor

log = logging.getLogger(__name__)

_UNKNOWN_INTERACTION = 10062


class HasServices(Protocol):
    """What an answer needs of the client that the interaction came through."""

    @property
    def services(self) -> Services:
        """Return the master's services."""
        ...


def services_of(interaction: discord.Interaction[Any]) -> Services:
    """Return the services of the client that an interaction came through."""
    client: HasServices = interaction.client
    return client.services


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
    interaction: discord.Interaction[Any], embed: discord.Embed, view: discord.ui.View = discord.utils.MISSING
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
    except CALL_FAILURES as error:
        log.warning("an answer could not be sent", extra={"why": str(error)})
        if not _is_too_late(error) and isinstance(interaction.channel, discord.abc.Messageable):
            await _say_plainly(interaction.channel, embed)


def _is_too_late(error: Exception) -> bool:
    """Tell whether the interaction is unknown by now: Discord has told the person that nobody answered."""
    return isinstance(error, discord.HTTPException) and error.code == _UNKNOWN_INTERACTION


async def _say_plainly(channel: discord.abc.Messageable, embed: discord.Embed) -> None:
    """Say in the channel what could not be answered; only what is no secret (an error's words)."""
    text = embed.title if embed.fields else f"{embed.title}: {embed.description}"
    try:
        await channel.send(str(text)[:2000])
    except CALL_FAILURES as error:
        log.warning("a plain answer could not be sent either", extra={"why": str(error)})


async def defer(interaction: discord.Interaction[Any]) -> None:
    """Promise an ephemeral answer within fifteen minutes; a server that cannot is answered later, plainly."""
    try:
        await interaction.response.defer(ephemeral=True, thinking=True)
    except CALL_FAILURES as error:
        log.warning("a deferral was refused", extra={"why": str(error)})


async def ask(interaction: discord.Interaction[Any], modal: discord.ui.Modal, instead: str) -> None:
    """Show a modal; where the server has none, say what to do instead."""
    try:
        await interaction.response.send_modal(modal)
    except CALL_FAILURES as error:
        log.warning("a modal was refused", extra={"why": str(error)})
        settings = services_of(interaction).settings
        await answer(interaction, error_embed(settings, FleetError("this server shows no forms", hint=instead)))
