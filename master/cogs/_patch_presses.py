"""Presses on buttons about patches: those of questions and of alerts. They work for the next master too."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import discord

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.embeds import success_embed
from master.cogs._patch_embeds import ROLL_BACK, next_text, state_words
from master.configuration.settings import Settings
from master.errors import FleetError
from master.operations import patches
from master.operations.parameters import PatchParams, PatchStopParams
from master.services.core.discord_port import Button, Embed, Notice
from master.services.core.patch_views import PatchDetails, PatchView
from master.wording import as_markdown
from nodekit.call_failures import ANY_FAILURE

log = logging.getLogger(__name__)

PREFIX = "patch"
"""What the custom ids of the buttons begin with: ``patch:rollback:PATCH_ID``."""
_HAVE_IT = ("received", "staged", "applied", "healthy", "good", "failed", "rolling_back", "rollback_failed")

Press = Callable[[discord.Interaction[MasterBot], str], Awaitable[None]]


def rollback_question(settings: Settings, found: PatchDetails, user_id: int, reply_to: int) -> Notice:
    """Return the question whether a patch is to be rolled back, to the operator who reacted."""
    embed = Embed(
        title=f"{ROLL_BACK} Roll {as_markdown(found.patch.label)} back?",
        description=rollback_text(found),
        colour=settings.colours.warning,
    )
    buttons = (
        Button(label="Roll back", custom_id=f"{PREFIX}:confirm:{found.patch.id}", style="danger"),
        Button(label="Cancel", custom_id=f"{PREFIX}:cancel:{found.patch.id}"),
    )
    return Notice(text=f"<@{user_id}>", embeds=(embed,), buttons=buttons, mention_users=(user_id,), reply_to=reply_to)


def rollback_text(found: PatchDetails) -> str:
    """Say what rolling a patch back does."""
    have = sum(node.state in _HAVE_IT for node in found.nodes)
    nodes = "No node has it yet." if not have else f"{have} node{'s' * (have != 1)} go back, a few at a time."
    return f"{nodes} The patch is quarantined: it is not accepted again, and a corrected one needs a new version."


async def on_press(interaction: discord.Interaction[MasterBot]) -> None:
    """Carry out a press, which names what it is about."""
    data: Any = interaction.data
    _, _, rest = str(data.get("custom_id", "")).partition(":")
    verb, _, patch_id = rest.partition(":")
    press = _PRESSES.get(verb)
    if press is None or not patch_id:
        raise FleetError("this button is from another version of the master", hint="`/patch status` shows what is open")
    await defer(interaction)
    await press(interaction, patch_id[:26])


async def _roll_back(interaction: discord.Interaction[MasterBot], patch_id: str) -> None:
    params = PatchStopParams(patch=patch_id)
    await _answer(interaction, await interaction.client.operations.run(patches.rollback, actor_of(interaction), params))


async def _confirm(interaction: discord.Interaction[MasterBot], patch_id: str) -> None:
    await _roll_back(interaction, patch_id)
    await _remove_question(interaction)


async def _cancel(interaction: discord.Interaction[MasterBot], patch_id: str) -> None:
    await interaction.client.operations.authorise(patches.rollback, actor_of(interaction))
    await _remove_question(interaction)
    await answer(interaction, success_embed(interaction.client.services.settings, "Nothing was done"))


async def _resume(interaction: discord.Interaction[MasterBot], patch_id: str) -> None:
    params = PatchParams(patch=patch_id)
    await _answer(interaction, await interaction.client.operations.run(patches.resume, actor_of(interaction), params))


async def _pause(interaction: discord.Interaction[MasterBot], patch_id: str) -> None:
    params = PatchStopParams(patch=patch_id)
    await _answer(interaction, await interaction.client.operations.run(patches.pause, actor_of(interaction), params))


async def _approve(interaction: discord.Interaction[MasterBot], patch_id: str) -> None:
    params = PatchParams(patch=patch_id)
    await _answer(interaction, await interaction.client.operations.run(patches.approve, actor_of(interaction), params))


async def _answer(interaction: discord.Interaction[MasterBot], done: PatchView) -> None:
    settings = interaction.client.services.settings
    text = next_text(done) if done.state == "received" else ""
    await answer(interaction, success_embed(settings, f"{as_markdown(done.label)}: {state_words(done.state)}", text))


async def _remove_question(interaction: discord.Interaction[MasterBot]) -> None:
    """Delete a question that was answered: nobody is to answer it again."""
    if interaction.message is None:
        return
    try:
        await interaction.message.delete()
    except ANY_FAILURE as error:
        log.info("a question that was answered could not be deleted", extra={"why": str(error)})


_PRESSES: dict[str, Press] = {
    "rollback": _roll_back,
    "confirm": _confirm,
    "cancel": _cancel,
    "resume": _resume,
    "pause": _pause,
    "approve": _approve,
}
