"""/giveaway: starts giveaways, ends them, draws again, and lets anybody check a draw."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, ask, defer
from master.bot.client import MasterBot
from master.bot.embeds import success_embed
from master.bot.operation_commands import AnyOperation, carries_out
from master.cogs._durations import seconds_of
from master.cogs._giveaway_embeds import counted, details_text, giveaway_line, left_to_draw, who_is_in
from master.cogs._giveaway_form import INSTEAD_OF_FORM, GiveawayForm, Typed, start
from master.cogs._giveaway_presses import on_press, send_draw
from master.cogs._views import Confirm, Pages, lines_in_pages
from master.errors import FleetError
from master.operations import giveaways
from master.operations.giveaway_parameters import (
    GiveawayCancelParams,
    GiveawayEditParams,
    GiveawayParams,
    GiveawayRerollParams,
    GiveawaysParams,
    GiveawayStartParams,
)
from master.services.core.giveaway_views import (
    MOST_WEIGHT,
    MOST_WINNERS,
    BonusRole,
    GiveawayDetails,
    GiveawayRules,
)
from master.services.people.giveaway_errors import GiveawayRefused
from master.services.people.giveaway_messages import PREFIX
from master.wording import as_markdown

_ON_PAGE, _LISTED = 8, 50
Duration = app_commands.Range[str, 2, 20]
Id = app_commands.Range[str, 1, 26]
Winners = app_commands.Range[int, 1, MOST_WINNERS]


@app_commands.guild_only()
@app_commands.default_permissions(manage_messages=True)
class GiveawayCommands(
    commands.GroupCog, group_name="giveaway", group_description="Giveaways whose draw can be checked"
):
    """Starts and steers giveaways; their buttons are for everybody."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        """Take presses, also on messages of an earlier master."""
        self._bot.press_handlers[PREFIX] = on_press

    async def cog_unload(self) -> None:
        """Take no presses any more."""
        self._bot.press_handlers.pop(PREFIX, None)

    @carries_out(giveaways.start)
    @app_commands.command(description="Start a giveaway; without prize or duration a form asks for them")
    @app_commands.describe(
        prize="What is given away",
        duration="How long it is open: 30m, 12h, 7d, 1d12h",
        winners="How many win it",
        description="What else is to be said of it",
        channel="Where; here if you name none",
        required_role="Who enters must have this role",
        second_required_role="And this one",
        account_days="Who enters must have an account of this age, in days",
        member_days="Who enters must have been here for so many days",
        required_tier="Who enters must hold a licence of this tier",
        bonus_role="Who has this role has further entries",
        bonus_entries="How many",
        second_bonus_role="Who has this role has further entries too",
        second_bonus_entries="How many",
        starts_in="When it opens, if not now: 2h, 1d",
        claim_hours="Winners have to claim it within so many hours, or it is drawn again",
        prize_tier="Winners get a licence of this tier",
    )
    async def start(
        self,
        interaction: discord.Interaction[MasterBot],
        prize: app_commands.Range[str, 1, 200] | None = None,
        duration: Duration | None = None,
        winners: Winners = 1,
        description: app_commands.Range[str, 0, 1000] = "",
        channel: discord.TextChannel | None = None,
        required_role: discord.Role | None = None,
        second_required_role: discord.Role | None = None,
        account_days: app_commands.Range[int, 0, 36_500] = 0,
        member_days: app_commands.Range[int, 0, 36_500] = 0,
        required_tier: app_commands.Range[str, 0, 40] = "",
        bonus_role: discord.Role | None = None,
        bonus_entries: app_commands.Range[int, 1, MOST_WEIGHT] = 1,
        second_bonus_role: discord.Role | None = None,
        second_bonus_entries: app_commands.Range[int, 1, MOST_WEIGHT] = 1,
        starts_in: Duration | None = None,
        claim_hours: app_commands.Range[float, 0, 720] = 0.0,
        prize_tier: app_commands.Range[str, 0, 40] = "",
    ) -> None:
        """Start a giveaway, or ask for what it needs."""
        rules = GiveawayRules(
            role_ids=tuple(role.id for role in (required_role, second_required_role) if role is not None),
            account_days=account_days,
            member_days=member_days,
            tier=required_tier,
            bonus=tuple(
                BonusRole(role.id, entries)
                for role, entries in ((bonus_role, bonus_entries), (second_bonus_role, second_bonus_entries))
                if role is not None
            ),
        )
        params = GiveawayStartParams(
            guild_id=interaction.guild_id or 0,
            channel_id=(interaction.channel_id or 0) if channel is None else channel.id,
            prize=prize or "",
            duration_s=0.0 if duration is None else seconds_of(duration),
            winners=winners,
            description=description,
            rules=rules,
            prize_tier=prize_tier,
            claim_s=int(claim_hours * 3600),
            starts_in_s=0.0 if starts_in is None else seconds_of(starts_in),
        )
        if prize is None or duration is None:
            typed = Typed(prize or "", duration or "", str(winners), description, rules.role_ids)
            await ask(interaction, GiveawayForm(typed, params), INSTEAD_OF_FORM)
            return
        await defer(interaction)
        await start(interaction, params)

    @carries_out(giveaways.listing)
    @app_commands.command(name="list", description="The giveaways of this server, the latest first")
    async def listing(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show the giveaways."""
        await defer(interaction)
        operations = interaction.client.operations
        params = GiveawaysParams(guild_id=interaction.guild_id or 0, limit=_LISTED)
        found = await operations.run(giveaways.listing, actor_of(interaction), params)
        lines = [giveaway_line(view) for view in found.giveaways] or ["There was no giveaway on this server yet."]
        colour = operations.services.settings.colours.information
        pages = [
            discord.Embed(title="Giveaways", description="\n".join(page), colour=colour)
            for page in lines_in_pages(lines, on_page=_ON_PAGE)
        ]
        await Pages(giveaways.listing, pages).send(interaction)

    @carries_out(giveaways.verify)
    @app_commands.command(description="Recompute a draw, and get the file to do it yourself")
    @app_commands.describe(giveaway="The giveaway")
    async def verify(self, interaction: discord.Interaction[MasterBot], giveaway: Id) -> None:
        """Recompute a draw."""
        await defer(interaction)
        params = GiveawayParams(giveaway=giveaway, guild_id=interaction.guild_id or 0)
        operations = interaction.client.operations
        await send_draw(interaction, await operations.run(giveaways.verify, actor_of(interaction), params))

    @carries_out(giveaways.edit)
    @app_commands.command(description="Change a giveaway that is not over; who may enter does not change")
    @app_commands.describe(
        giveaway="The giveaway",
        prize="Another prize",
        winners="Another number of winners",
        description="Another description",
        ends_in="When it ends, from now on: 30m, 12h, 7d",
    )
    async def edit(
        self,
        interaction: discord.Interaction[MasterBot],
        giveaway: Id,
        prize: app_commands.Range[str, 1, 200] | None = None,
        winners: Winners | None = None,
        description: app_commands.Range[str, 0, 1000] | None = None,
        ends_in: Duration | None = None,
    ) -> None:
        """Change a giveaway."""
        await defer(interaction)
        params = GiveawayEditParams(
            giveaway=giveaway,
            guild_id=interaction.guild_id or 0,
            prize=prize,
            winners=winners,
            description=description,
            ends_in_s=None if ends_in is None else seconds_of(ends_in),
        )
        done = await interaction.client.operations.run(giveaways.edit, actor_of(interaction), params)
        await _done(interaction, "The giveaway is changed", giveaway_line(done))

    @carries_out(giveaways.end)
    @app_commands.command(description="End a giveaway now, and draw its winners")
    @app_commands.describe(giveaway="The giveaway")
    async def end(self, interaction: discord.Interaction[MasterBot], giveaway: Id) -> None:
        """Ask, then end a giveaway."""
        found = (await _found(interaction, giveaway)).giveaway
        params = GiveawayParams(giveaway=found.id, guild_id=found.guild_id)
        winning = min(found.winners, found.entries)
        people = who_is_in(found.entries).removesuffix(".")
        text = f"{people}, {winning:,} {'wins' if winning == 1 else 'win'}. A draw is made once."
        await _ask(
            interaction, f"End the giveaway of {as_markdown(found.prize)}?", text, giveaways.end, "End it", params
        )

    @carries_out(giveaways.cancel)
    @app_commands.command(description="Cancel a giveaway: nobody wins it")
    @app_commands.describe(giveaway="The giveaway", why="On its message, and in the audit log")
    async def cancel(
        self, interaction: discord.Interaction[MasterBot], giveaway: Id, why: app_commands.Range[str, 0, 300] = ""
    ) -> None:
        """Ask, then cancel a giveaway."""
        found = (await _found(interaction, giveaway)).giveaway
        params = GiveawayCancelParams(giveaway=found.id, guild_id=found.guild_id, why=why)
        text = f"{who_is_in(found.entries)} Nobody wins it, and it cannot be opened again."
        title = f"Cancel the giveaway of {as_markdown(found.prize)}?"
        await _ask(interaction, title, text, giveaways.cancel, "Cancel the giveaway", params)

    @carries_out(giveaways.reroll)
    @app_commands.command(description="Draw again for one winner, or for all; who has won is left out")
    @app_commands.describe(
        giveaway="The giveaway", winner="Whose prize goes on; all winners' if you name none", why="For the audit log"
    )
    async def reroll(
        self,
        interaction: discord.Interaction[MasterBot],
        giveaway: Id,
        winner: discord.User | None = None,
        why: app_commands.Range[str, 0, 300] = "",
    ) -> None:
        """Ask, then draw again."""
        details = await _found(interaction, giveaway)
        found = details.giveaway
        user_id = 0 if winner is None else winner.id
        params = GiveawayRerollParams(giveaway=found.id, guild_id=found.guild_id, user_id=user_id, why=why)
        places = 1 if user_id else len(found.won_by)
        whose = f"<@{user_id}>" if user_id else f"each of its {places} winners" if places != 1 else "its winner"
        left = left_to_draw(details)
        others = f"{counted(left, 'other')} can win it" if left else "**nobody is left to win it**"
        text = (
            f"For {whose}: {others}. A licence that was won is revoked. Each draw is in the audit log, and in the file "
            "with which anybody can check it."
        )
        title = f"Draw the giveaway of {as_markdown(found.prize)} again?"
        await _ask(interaction, title, text, giveaways.reroll, "Draw again", params)

    @verify.autocomplete("giveaway")
    @edit.autocomplete("giveaway")
    @end.autocomplete("giveaway")
    @cancel.autocomplete("giveaway")
    @reroll.autocomplete("giveaway")
    async def _giveaways(
        self, interaction: discord.Interaction[MasterBot], current: str
    ) -> list[app_commands.Choice[str]]:
        """Suggest giveaways: those for which the command may be of use."""
        records = interaction.client.services.giveaway_records
        try:
            found = await records.list(interaction.guild_id or -1, _LISTED)
        except FleetError:
            # The ledger is away: the command itself says so.
            return []
        command = interaction.command.name if interaction.command is not None else ""
        fitting, wanted = _FITTING.get(command, ()), current.casefold()
        return [
            app_commands.Choice(name=f"{view.prize[:70]} ({view.state}, {view.entries:,} in)", value=view.id)
            for view in found.giveaways
            if view.state in fitting and (wanted in view.prize.casefold() or view.id.startswith(current.upper()))
        ][:25]

    @start.autocomplete("required_tier")
    @start.autocomplete("prize_tier")
    async def _tiers(self, interaction: discord.Interaction[MasterBot], current: str) -> list[app_commands.Choice[str]]:
        """Suggest licence tiers."""
        tiers = [tier.name for tier in interaction.client.services.settings.licence_tiers]
        return [app_commands.Choice(name=name, value=name) for name in tiers if current.casefold() in name.casefold()][
            :25
        ]


_FITTING: dict[str, tuple[str, ...]] = {
    "verify": ("drawn",),
    "edit": ("open", "scheduled"),
    "end": ("open",),
    "cancel": ("open", "scheduled"),
    "reroll": ("drawn",),
}
"""In which states a giveaway is suggested; the operation decides what may be done."""


_REFUSED: dict[str, tuple[str, ...]] = {
    "end": ("scheduled", "drawn", "cancelled"),
    "cancel": ("drawn",),
    "reroll": ("scheduled", "open", "cancelled"),
}
"""In which states a command is refused without a question."""
_WORDS = {
    "scheduled": ("has not begun", "`/giveaway cancel` takes it back"),
    "open": ("is still open", "`/giveaway end` ends it, and draws"),
    "drawn": ("is drawn already", "`/giveaway reroll` draws again"),
    "cancelled": ("was cancelled", "`/giveaway start` starts another"),
}


async def _found(interaction: discord.Interaction[MasterBot], giveaway: str) -> GiveawayDetails:
    """Return the giveaway that a question is about.

    Raises
    ------
    GiveawayRefused
        There is nothing to ask: its state does not allow it. It is looked at once more when the answer is given.
    NoSuchGiveaway
    """
    await defer(interaction)
    records = interaction.client.services.giveaway_records
    details = await records.details((await records.find(interaction.guild_id or -1, giveaway)).id)
    state, command = details.giveaway.state, interaction.command
    if command is not None and state in _REFUSED.get(command.name, ()):
        words, hint = _WORDS[state]
        raise GiveawayRefused(f"this giveaway {words}", hint=hint)
    return details


async def _ask(
    interaction: discord.Interaction[MasterBot], title: str, text: str, operation: AnyOperation, label: str, params: Any
) -> None:
    async def act(pressed: discord.Interaction[MasterBot]) -> None:
        await pressed.response.defer()
        done: GiveawayDetails = await pressed.client.operations.run(operation, actor_of(pressed), params)
        settings = pressed.client.services.settings
        has_nobody = done.giveaway.state == "drawn" and not done.giveaway.won_by
        title = "Drawn: nobody was left to win it" if has_nobody else _DONE.get(done.giveaway.state, "Done")
        embed = success_embed(settings, title, details_text(done))
        await pressed.edit_original_response(embed=embed, view=None)

    settings = interaction.client.services.settings
    question = discord.Embed(title=title[:256], description=text, colour=settings.colours.warning)
    await answer(interaction, question, Confirm(operation, label, act))


_DONE = {
    "drawn": "The winners are drawn",
    "drawing": "It has ended; its winners are drawn soon",
    "cancelled": "Cancelled",
}


async def _done(interaction: discord.Interaction[MasterBot], title: str, text: str) -> None:
    await answer(interaction, success_embed(interaction.client.services.settings, title, text))


async def setup(bot: MasterBot) -> None:
    """Load the cog, unless the master has no Discord to show anything on."""
    if bot.services.giveaways is not None:
        await bot.add_cog(GiveawayCommands(bot))
