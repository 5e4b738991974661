"""Presses on the buttons of alerts: do it, mute, show the lines. They work for the next master too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import discord

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.embeds import success_embed
from master.configuration.settings import Settings
from master.errors import FleetError
from master.operations import errors, repairs
from master.operations.parameters import ErrorMuteParams, ErrorParams, RepairDecideParams
from master.services.core.solution_views import RepairView
from master.services.repair.alerts import PREFIX
from master.wording import as_code, as_markdown

__all__ = ["PREFIX", "on_press"]

MUTED_FOR_S = 3_600.0
_LINES_CHARACTERS = 3_500
Press = Callable[[discord.Interaction[MasterBot], str], Awaitable[None]]


async def on_press(interaction: discord.Interaction[MasterBot]) -> None:
    """Carry out a press, which names what it is about: ``repair:do:RUN_ID``."""
    data: Any = interaction.data
    _, _, rest = str(data.get("custom_id", "")).partition(":")
    verb, _, about = rest.partition(":")
    press = _PRESSES.get(verb)
    if press is None or not about:
        raise FleetError("this button is from another version of the master", hint="`fleet repairs` shows what is open")
    await defer(interaction)
    await press(interaction, about)


async def _do(interaction: discord.Interaction[MasterBot], run_id: str) -> None:
    operations = interaction.client.operations
    params = RepairDecideParams(run=run_id[:26], do=True)
    done = await operations.run(repairs.decide, actor_of(interaction), params)
    await answer(interaction, _done_embed(operations.services.settings, done))


def _done_embed(settings: Settings, done: RepairView) -> discord.Embed:
    detail = as_markdown(done.detail)
    if done.outcome == "watching":
        words = f"{detail}. Whether it helped is told here."
        return success_embed(settings, f"{as_markdown(done.node)}: done", words)
    outcome = as_markdown(done.outcome.replace("_", " "))
    colour = settings.colours.error if done.outcome in ("failed", "did_not_help") else settings.colours.information
    return discord.Embed(title=f"{as_markdown(done.node)}: {outcome}", description=detail or None, colour=colour)


async def _mute(interaction: discord.Interaction[MasterBot], fingerprint: str) -> None:
    operations = interaction.client.operations
    params = ErrorMuteParams(fingerprint=fingerprint[:100], for_s=MUTED_FOR_S)
    found = await operations.run(errors.mute, actor_of(interaction), params)
    words = f"{as_markdown(found.title)}\nIt is still counted, and repaired. `fleet errors unmute {found.fingerprint}`"
    await answer(interaction, success_embed(operations.services.settings, "Nothing is told of it for an hour", words))


async def _lines(interaction: discord.Interaction[MasterBot], fingerprint: str) -> None:
    operations = interaction.client.operations
    found = await operations.run(errors.show, actor_of(interaction), ErrorParams(fingerprint=fingerprint[:100]))
    settings = operations.services.settings
    # The end of a text says what it was.
    shown = as_code("\n".join((*found.lines_before, found.text)))[-_LINES_CHARACTERS:]
    embed = discord.Embed(
        title=as_markdown(found.group.title)[:256],
        description=f"```py\n{shown}\n```",
        colour=settings.colours.information,
    )
    embed.set_footer(text=f"fleet errors show {found.group.fingerprint}")
    await answer(interaction, embed)


_PRESSES: dict[str, Press] = {"do": _do, "mute": _mute, "lines": _lines}
