"""Presses on the messages of giveaways, by anybody; they work for the next master too."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import discord

from master.bot.answering import actor_of, answer, answer_error, defer
from master.bot.client import MasterBot
from master.bot.embeds import error_embed, success_embed
from master.cogs._giveaway_embeds import counted, draw_embed
from master.errors import FleetError
from master.operations import giveaways
from master.operations.giveaway_parameters import GiveawayEnterParams, GiveawayParams
from master.services.core.giveaway_views import DrawView, EntryView
from master.services.people.giveaway_errors import NotEligible
from master.services.people.giveaway_messages import PREFIX
from master.wording import as_code, as_markdown

PATIENCE_S = 1.5
"""Discord waits for three seconds; an answer that takes longer than this is announced first."""

Press = Callable[[discord.Interaction[MasterBot], str], Awaitable[None]]


async def on_press(interaction: discord.Interaction[MasterBot]) -> None:
    """Carry out a press, which names its giveaway; the server is the one where it was pressed."""
    data: Any = interaction.data
    _, _, rest = str(data.get("custom_id", "")).partition(":")
    verb, _, giveaway_id = rest.partition(":")
    press = _PRESSES.get(verb)
    if press is None or not giveaway_id or interaction.guild_id is None:
        raise FleetError("this button is from another version of the master", hint="ask for a new message")
    await press(interaction, giveaway_id[:26])


async def send_draw(interaction: discord.Interaction[MasterBot], draw: DrawView) -> None:
    """Answer with a recomputed draw and its file."""
    embed = draw_embed(interaction.client.services.settings, draw)
    file = discord.File(io.BytesIO(draw.document.encode()), f"giveaway-{draw.id}.json")
    try:
        await interaction.followup.send(embed=embed, file=file, ephemeral=True)
    except discord.HTTPException:
        # A server that takes no file there, or none of this size: its words are worth having all the same.
        await answer(interaction, embed)


async def _enter(interaction: discord.Interaction[MasterBot], giveaway_id: str) -> None:
    joined_at = getattr(interaction.user, "joined_at", None)
    params = GiveawayEnterParams(
        giveaway=giveaway_id,
        guild_id=interaction.guild_id or 0,
        joined_at=0.0 if joined_at is None else max(joined_at.timestamp(), 0.0),
    )
    operations = interaction.client.operations
    await _answer_soon(interaction, operations.run(giveaways.enter, actor_of(interaction), params), giveaway_id)


async def _leave(interaction: discord.Interaction[MasterBot], giveaway_id: str) -> None:
    params = GiveawayParams(giveaway=giveaway_id, guild_id=interaction.guild_id or 0)
    operations = interaction.client.operations
    await _answer_soon(interaction, operations.run(giveaways.leave, actor_of(interaction), params), giveaway_id)


async def _answer_soon(
    interaction: discord.Interaction[MasterBot], running: Awaitable[EntryView], giveaway_id: str
) -> None:
    """Answer once it is committed; where that takes long, Discord is told first that an answer comes."""
    task = asyncio.ensure_future(running)
    done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
    if not done:
        await defer(interaction)
    try:
        taken = await task
    except NotEligible as error:
        # Its hint names roles as Discord shows them, which a hint of the config's words would not.
        embed = error_embed(interaction.client.services.settings, error)
        embed.description = f"{error.hint[:1].upper()}{error.hint[1:]}."
        await answer(interaction, embed)
        return
    embed = _entry_embed(interaction.client, taken)
    if taken.outcome == "already":
        view = discord.ui.View(timeout=None)
        leave: discord.ui.Button[Any] = discord.ui.Button(label="Leave", custom_id=f"{PREFIX}:leave:{giveaway_id}")
        view.add_item(leave)
        # Its press comes to on_press, as those of an earlier master's do.
        view.stop()
        await answer(interaction, embed, view)
    else:
        await answer(interaction, embed)


def _entry_embed(client: MasterBot, taken: EntryView) -> discord.Embed:
    prize, ends = as_markdown(taken.prize), f"It ends <t:{int(taken.ends_at)}:R>."
    if taken.outcome == "left":
        return success_embed(client.services.settings, f"You have left the giveaway of {prize}"[:200])
    if taken.outcome == "not_in":
        return success_embed(client.services.settings, f"You were not in the giveaway of {prize}"[:200])
    counts = f" You count {taken.weight} times." if taken.weight > 1 else ""
    title = "You are in" if taken.outcome == "entered" else "You are in already"
    others = taken.entries - 1
    company = f"with {counted(others, 'other')}" if others > 0 else "the first of all"
    text = f"{prize}, {company}. {ends}{counts}"
    return success_embed(client.services.settings, title, text)


async def _claim(interaction: discord.Interaction[MasterBot], giveaway_id: str) -> None:
    await defer(interaction)
    params = GiveawayParams(giveaway=giveaway_id, guild_id=interaction.guild_id or 0)
    claimed = await interaction.client.operations.run(giveaways.claim, actor_of(interaction), params)
    embed = success_embed(interaction.client.services.settings, f"{as_markdown(claimed.prize)} is yours"[:200])
    if claimed.code:
        embed.description = (
            "`/licence redeem` takes this code. It is shown only now, and each one from before is void, also that of a "
            "direct message; a press on **Claim** makes a new one."
        )
        embed.add_field(name=f"Licence, tier {claimed.tier}", value=f"```\n{as_code(claimed.code)}\n```", inline=False)
    elif claimed.tier:
        embed.description = "You have redeemed your licence already: `/licence show` has it."
    await answer(interaction, embed)


async def _verify(interaction: discord.Interaction[MasterBot], giveaway_id: str) -> None:
    await defer(interaction)
    params = GiveawayParams(giveaway=giveaway_id, guild_id=interaction.guild_id or 0)
    draw = await interaction.client.operations.run(giveaways.verify, actor_of(interaction), params)
    await send_draw(interaction, draw)


async def _ended(interaction: discord.Interaction[MasterBot], giveaway_id: str) -> None:
    await answer_error(interaction, FleetError("this giveaway is over"), "a press on a giveaway that is over")


_PRESSES: dict[str, Press] = {
    "enter": _enter,
    "leave": _leave,
    "claim": _claim,
    "verify": _verify,
    "ended": _ended,
}
