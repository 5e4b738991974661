"""Responses to interactions: always one, also to errors, with fallbacks for servers that lack a feature."""

from __future__ import annotations

import logging
import secrets
from typing import Any, Protocol

import aiohttp
import discord
from discord import app_commands

from master.bot.embeds import error_embed, fitted
from master.bot.failures import named_failure, named_refusal
from master.errors import FleetError
from master.services.container import Services
from master.services.core.actors import Actor
from nodekit.call_failures import ANY_FAILURE

log = logging.getLogger(__name__)

_UNKNOWN_INTERACTION = 10062
_DEFERRAL_REFUSED = "fleet: deferral refused"
_TAKEN = "fleet: taken"
"""Keys of an interaction's extras."""
_OF_DISCORD = (discord.HTTPException, aiohttp.ClientError)
"""What is Discord's or the network's for sure; a ValueError or an OSError may well be a defect of ours."""


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


def take(interaction: discord.Interaction[Any]) -> None:
    """Note that somebody answers a press or a form; :func:`is_taken` tells who comes after."""
    interaction.extras[_TAKEN] = True


def is_taken(interaction: discord.Interaction[Any]) -> bool:
    """Tell whether somebody answers this press or form."""
    return _TAKEN in interaction.extras


async def answer_error(interaction: discord.Interaction[Any], error: Exception, doing: str) -> None:
    """Answer with an error: what an operator may see as it is, any other by an id that the log has too.

    Parameters
    ----------
    doing
        What failed, for the log: "the command /dupbot".
    """
    cause = getattr(error, "original", error)
    shown = _named(error)
    if shown is None:
        error_id = secrets.token_hex(4)
        log.error("%s failed", doing, extra={"error_id": error_id}, exc_info=cause)
        told = f"Nothing more is known here. The master's log has the details: look for {error_id} there."
        shown = FleetError(f"something went wrong in the master (error {error_id})", hint=told)
    elif shown is not cause:
        log.info("%s was refused", doing, extra={"why": str(cause)})
    await answer(interaction, error_embed(services_of(interaction).settings, shown))


def is_expected(error: BaseException) -> bool:
    """Tell whether an error is a refusal, or Discord's: not a defect of the master."""
    return isinstance(error, Exception) and _named(error) is not None


def _named(error: Exception) -> FleetError | None:
    """Return what an operator may see of an error as it is; None if nobody expected it."""
    cause = getattr(error, "original", error)
    if isinstance(cause, FleetError):
        return cause
    refusal = named_refusal(error) if isinstance(error, app_commands.AppCommandError) else None
    if refusal is None and isinstance(cause, _OF_DISCORD):
        return named_failure(cause, "finish this")
    return refusal


async def answer(
    interaction: discord.Interaction[Any], embed: discord.Embed, view: discord.ui.View = discord.utils.MISSING
) -> None:
    """Send an ephemeral response, or a followup if the interaction was responded to or deferred.

    Falls back to a plain message on Discord-compatible servers without deferral, followups or ephemeral messages. If
    that fails too, it is logged: a response that cannot be sent must not raise.
    """
    embed = fitted(embed)
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
