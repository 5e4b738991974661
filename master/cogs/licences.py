"""/licence, and /license: people redeem, see and pass on their licences; those who moderate issue and end them."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, ask, defer
from master.bot.client import MasterBot
from master.bot.operation_commands import AnyOperation, carries_out
from master.cogs._licence_embeds import (
    changed_embed,
    choice_text,
    details_embed,
    issued_embed,
    licence_line,
    own_embed,
    redeemed_embed,
    short_id,
    words_of,
)
from master.cogs._views import Confirm, OperationModal, Pages, lines_in_pages
from master.errors import FleetError
from master.operations import licences
from master.operations.parameters import (
    LicenceChangeParams,
    LicenceIssueParams,
    LicenceParams,
    LicenceRedeemParams,
    LicenceRenewParams,
    LicencesParams,
    LicenceTransferParams,
    NoParams,
)
from master.services.core.licence_views import LicenceDetails
from master.services.core.permissions import Permission
from master.wording import as_markdown

_INSTEAD_OF_FORM = "ask a moderator, who redeems it for you on the box: `fleet licence redeem --user YOUR-ID`"
_ON_PAGE = 15
_LISTED = 300

LicenceId = app_commands.Range[str, 4, 40]
Why = app_commands.Range[str, 0, 300]


class RedeemForm(OperationModal, title="Redeem a licence"):
    """Form for a code: what is typed after a command may be seen by others, a form's content is not."""

    code: discord.ui.TextInput[Any] = discord.ui.TextInput(
        label="Licence code", placeholder="FM1-XXXXX-XXXXX-...", min_length=8, max_length=100
    )

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """Redeem the code."""
        await defer(interaction)
        operations = interaction.client.operations
        settings = operations.services.settings
        params = LicenceRedeemParams(
            code=self.code.value, guild_id=settings.identity.guild_id or interaction.guild_id or 0
        )
        redeemed = await operations.run(licences.redeem, actor_of(interaction), params)
        await answer(interaction, redeemed_embed(settings, redeemed))


@app_commands.guild_only()
class LicenceCommands(commands.GroupCog, group_name="licence", group_description="Licences: yours, and the fleet's"):
    """Shows, redeems, issues and changes licences."""

    # For everybody

    @carries_out(licences.mine)
    @app_commands.command(description="Your licences, until when they are valid, and what they include")
    @app_commands.describe(licence="One of them; moderators see anybody's, with its history")
    async def show(self, interaction: discord.Interaction[MasterBot], licence: str = "") -> None:
        """Show the caller's licences, or one."""
        await defer(interaction)
        operations, actor = interaction.client.operations, actor_of(interaction)
        settings = operations.services.settings
        if licence and operations.services.permissions.allow(actor, Permission.MODERATE):
            found = await operations.run(licences.show, actor, LicenceParams(licence=licence[:40]))
            await answer(interaction, details_embed(settings, found))
            return
        mine = (await operations.run(licences.mine, actor, NoParams())).licences
        wanted = [each for each in mine if each.id.startswith(licence.strip().lower())]
        if licence and not wanted:
            raise FleetError("you have no such licence", hint="`/licence show` without a licence lists yours")
        await answer(interaction, own_embed(settings, wanted))

    @carries_out(licences.redeem)
    @app_commands.command(description="Redeem the code of a licence; a form asks for it")
    async def redeem(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show the form."""
        await ask(interaction, RedeemForm(), _INSTEAD_OF_FORM)

    @carries_out(licences.transfer)
    @app_commands.command(description="Pass a licence on to somebody else")
    @app_commands.describe(licence="The licence", to="Who gets it")
    async def transfer(self, interaction: discord.Interaction[MasterBot], licence: LicenceId, to: discord.User) -> None:
        """Ask, then pass a licence on."""
        if to.bot:
            raise FleetError("a bot cannot hold a licence", hint="name a person")
        settings = interaction.client.services.settings

        async def act(pressed: discord.Interaction[MasterBot]) -> None:
            await pressed.response.defer()
            params = LicenceTransferParams(licence=licence, user_id=to.id)
            done = await pressed.client.operations.run(licences.transfer, actor_of(pressed), params)
            embed = changed_embed(settings, done, f"{as_markdown(to.display_name)}'s now")
            await pressed.edit_original_response(embed=embed, view=None)

        question = discord.Embed(
            title=f"Pass licence {as_markdown(licence[:8])} on to {as_markdown(to.display_name)}?"[:256],
            description=f"It is {to.mention}'s from then on, with its role, and only they can pass it back.",
            colour=settings.colours.warning,
        )
        await answer(interaction, question, Confirm(licences.transfer, "Pass it on", act))

    # For those who moderate

    @carries_out(licences.issue)
    @app_commands.command(description="Issue a licence; its code is shown once, to you alone")
    @app_commands.describe(
        tier="What it is for",
        user="The only person who can redeem it; empty: whoever has the code",
        days="For how long; empty: as the tier has it, 0: for ever",
        note="For those who moderate",
    )
    async def issue(
        self,
        interaction: discord.Interaction[MasterBot],
        tier: app_commands.Range[str, 0, 40] = "",
        user: discord.User | None = None,
        days: app_commands.Range[int, 0, 36_500] | None = None,
        note: app_commands.Range[str, 0, 200] = "",
    ) -> None:
        """Issue a licence."""
        await defer(interaction)
        operations = interaction.client.operations
        params = LicenceIssueParams(tier=tier, holder_id=user.id if user else 0, days=days, note=note)
        issued = await operations.run(licences.issue, actor_of(interaction), params)
        await answer(interaction, issued_embed(operations.services.settings, issued))

    @carries_out(licences.listing)
    @app_commands.command(name="list", description="Licences, the newest first")
    @app_commands.describe(user="Of one person", tier="Of one tier", state="In one state")
    @app_commands.choices(
        state=[
            app_commands.Choice(name=state, value=state)
            for state in ("issued", "active", "suspended", "revoked", "expired")
        ]
    )
    async def show_all(
        self,
        interaction: discord.Interaction[MasterBot],
        user: discord.User | None = None,
        tier: app_commands.Range[str, 0, 40] = "",
        state: str = "",
    ) -> None:
        """Show licences."""
        await defer(interaction)
        operations = interaction.client.operations
        params: Any = {"holder_id": user.id if user else 0, "tier": tier, "state": state, "limit": _LISTED}
        found = await operations.run(licences.listing, actor_of(interaction), LicencesParams(**params))
        settings = operations.services.settings
        lines = [licence_line(settings, each) for each in found.licences] or ["There are none."]
        title = f"Licences: {len(found.licences)} of {found.total}" if found.total else "Licences"
        pages = [
            discord.Embed(title=title, description="\n".join(page), colour=settings.colours.information)
            for page in lines_in_pages(lines, on_page=_ON_PAGE)
        ]
        await Pages(licences.listing, pages).send(interaction)

    @carries_out(licences.renew)
    @app_commands.command(description="Renew a licence: from its end on, or from now if that is over")
    @app_commands.describe(licence="The licence", days="Empty: as the tier has it, 0: for ever", why="For its history")
    async def renew(
        self,
        interaction: discord.Interaction[MasterBot],
        licence: LicenceId,
        days: app_commands.Range[int, 0, 36_500] | None = None,
        why: Why = "",
    ) -> None:
        """Renew a licence."""
        params = LicenceRenewParams(licence=licence, days=days, why=why)
        await self._change(interaction, licences.renew, params, "renewed")

    @carries_out(licences.suspend)
    @app_commands.command(description="Suspend a licence, until it is reinstated")
    @app_commands.describe(licence="The licence", why="For its history")
    async def suspend(self, interaction: discord.Interaction[MasterBot], licence: LicenceId, why: Why = "") -> None:
        """Suspend a licence."""
        params = LicenceChangeParams(licence=licence, why=why)
        await self._change(interaction, licences.suspend, params, "suspended")

    @carries_out(licences.reinstate)
    @app_commands.command(description="Give a licence back that was suspended or revoked")
    @app_commands.describe(licence="The licence", why="For its history")
    async def reinstate(self, interaction: discord.Interaction[MasterBot], licence: LicenceId, why: Why = "") -> None:
        """Reinstate a licence."""
        params = LicenceChangeParams(licence=licence, why=why)
        await self._change(interaction, licences.reinstate, params, "reinstated")

    @carries_out(licences.revoke)
    @app_commands.command(description="Revoke a licence: whoever uses it has none from the same moment on")
    @app_commands.describe(licence="The licence", why="For its history")
    async def revoke(self, interaction: discord.Interaction[MasterBot], licence: LicenceId, why: Why = "") -> None:
        """Ask, then revoke a licence."""
        await defer(interaction)
        operations = interaction.client.operations
        settings = operations.services.settings
        found = await operations.run(licences.show, actor_of(interaction), LicenceParams(licence=licence))
        params = LicenceChangeParams(licence=found.id, why=why)

        async def act(pressed: discord.Interaction[MasterBot]) -> None:
            await pressed.response.defer()
            done = await pressed.client.operations.run(licences.revoke, actor_of(pressed), params)
            embed = changed_embed(settings, done, "revoked")
            await pressed.edit_original_response(embed=embed, view=None)

        question = discord.Embed(
            title=f"Revoke the {as_markdown(found.tier)} licence {short_id(found)}?",
            description=f"{_whose(found)} It is {words_of(found)} now. Its features and its role end at once, on "
            "running bots too. `/licence reinstate` takes that back.",
            colour=settings.colours.warning,
        )
        await answer(interaction, question, Confirm(licences.revoke, f"Revoke {short_id(found)}", act))

    async def _change(
        self, interaction: discord.Interaction[MasterBot], operation: AnyOperation, params: Any, what: str
    ) -> None:
        await defer(interaction)
        operations = interaction.client.operations
        done = await operations.run(operation, actor_of(interaction), params)
        await answer(interaction, changed_embed(operations.services.settings, done, what))

    @issue.autocomplete("tier")
    @show_all.autocomplete("tier")
    async def _tiers(self, interaction: discord.Interaction[MasterBot], current: str) -> list[app_commands.Choice[str]]:
        names = interaction.client.services.licensing.tier_names
        fitting = [name for name in names if current.casefold() in name.casefold()]
        return [app_commands.Choice(name=name, value=name) for name in fitting[:25]]

    @show.autocomplete("licence")
    @transfer.autocomplete("licence")
    @renew.autocomplete("licence")
    @suspend.autocomplete("licence")
    @reinstate.autocomplete("licence")
    @revoke.autocomplete("licence")
    async def _licences(
        self, interaction: discord.Interaction[MasterBot], current: str
    ) -> list[app_commands.Choice[str]]:
        """Suggest licences by id, tier or holder: those of the caller, or to moderators all."""
        operations, actor = interaction.client.operations, actor_of(interaction)
        try:
            if operations.services.permissions.allow(actor, Permission.MODERATE):
                found = await operations.run(licences.listing, actor, LicencesParams(limit=_LISTED))
            else:
                found = await operations.run(licences.mine, actor, NoParams())
        except FleetError:
            # Without suggestions an id can still be typed, and the command then says what is wrong.
            return []
        wanted, choices = current.strip().casefold(), list[app_commands.Choice[str]]()
        for licence in found.licences:
            text = choice_text(licence)
            if wanted in text.casefold() or licence.id.startswith(wanted):
                choices.append(app_commands.Choice(name=text[:100], value=licence.id))
        return choices[:25]


@app_commands.guild_only()
class LicenseCommands(
    LicenceCommands, name="LicenseCommands", group_name="license", group_description="The same as /licence"
):
    """The same commands by their American name."""


def _whose(licence: LicenceDetails) -> str:
    if licence.holder_id:
        return f"<@{licence.holder_id}> holds it."
    return f"It is the bot {as_markdown(licence.node)}'s own." if licence.node_id else "Nobody has redeemed it."


async def setup(bot: MasterBot) -> None:
    """Load both."""
    await bot.add_cog(LicenceCommands())
    await bot.add_cog(LicenseCommands())
