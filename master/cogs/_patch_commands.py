"""/patch: rolls signed patches out, and steers roll-outs. A person on Discord decides when, and never signs."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.embeds import success_embed
from master.bot.operation_commands import AnyOperation, carries_out
from master.bot.wire import embed_payload
from master.cogs._patch_embeds import next_text, patch_embed, patch_line, state_words, status_lines
from master.cogs._patch_files import downloaded
from master.cogs._patch_presses import rollback_text
from master.cogs._views import Confirm, Pages, lines_in_pages
from master.configuration.settings import Settings
from master.errors import FleetError
from master.operations import patches
from master.operations.parameters import (
    PatchDeployParams,
    PatchesParams,
    PatchParams,
    PatchReceiveParams,
    PatchStopParams,
)
from master.services.core.patch_views import PatchDetails, PatchView
from master.wording import as_markdown

_ON_PAGE = 8
_HISTORY = 100
_STATUS = 30
_MOST_SOAK_MINUTES = 7 * 24 * 60
_SIGNED_ELSEWHERE = "It is its author's signature that makes it a patch; whoever uses this command only says when."

Reason = app_commands.Range[str, 0, 300]


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class PatchCommands(commands.GroupCog, group_name="patch", group_description="New code for the nodes, by canary"):
    """Rolls patches out, shows and steers roll-outs."""

    @carries_out(patches.receive)
    @app_commands.command(description="Roll out a signed patch: a file, or one that was received already")
    @app_commands.describe(
        file="The .fleetpatch file that its author signed",
        patch="One that was received already, instead of a file",
        canary="How many nodes get it first; 0: none",
        soak_minutes="How long each wave is watched",
        urgent="All at once, for a fleet that is broken already",
    )
    async def deploy(
        self,
        interaction: discord.Interaction[MasterBot],
        file: discord.Attachment | None = None,
        patch: app_commands.Range[str, 1, 80] = "",
        canary: app_commands.Range[int, 0, 100] | None = None,
        soak_minutes: app_commands.Range[float, 0, _MOST_SOAK_MINUTES] | None = None,
        urgent: bool = False,
    ) -> None:
        """Accept the file, show what it is, and ask."""
        await defer(interaction)
        found = await _received(interaction, file, patch)
        params = PatchDeployParams(
            patch=found.patch.id,
            canary=canary,
            soak_s=None if soak_minutes is None else soak_minutes * 60.0,
            urgent=urgent,
        )
        embed = _shown(interaction.client.services.settings, found)
        embed.title = f"Roll {as_markdown(found.patch.label)} out?"[:256]
        said = [embed.description or "", _as_wanted(params), _SIGNED_ELSEWHERE]
        embed.description = "\n".join(part for part in said if part)
        embed.set_footer(text=found.patch.id)
        await answer(interaction, embed, _confirm(patches.deploy, "Roll out", params))

    @carries_out(patches.listing)
    @app_commands.command(description="Roll-outs under way, and the version of every node")
    async def status(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show what goes on."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(patches.listing, actor_of(interaction), PatchesParams(limit=_STATUS))
        await _pages(interaction, "Patches", status_lines(found), on_page=20)

    @carries_out(patches.show)
    @app_commands.command(description="One patch: what it changes, its plan, how far each node is")
    @app_commands.describe(patch="The patch")
    async def show(self, interaction: discord.Interaction[MasterBot], patch: app_commands.Range[str, 1, 80]) -> None:
        """Show one patch."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(patches.show, actor_of(interaction), PatchParams(patch=patch))
        await answer(interaction, _shown(operations.services.settings, found))

    @carries_out(patches.approve)
    @app_commands.command(description="Approve a patch; each operator counts once")
    @app_commands.describe(patch="The patch")
    async def approve(self, interaction: discord.Interaction[MasterBot], patch: app_commands.Range[str, 1, 80]) -> None:
        """Approve a patch."""
        await _carry_out(interaction, patches.approve, PatchParams(patch=patch))

    @carries_out(patches.pause)
    @app_commands.command(description="Pause a roll-out: no further node gets it for now")
    @app_commands.describe(patch="The patch", why="For its history and the audit log")
    async def pause(
        self, interaction: discord.Interaction[MasterBot], patch: app_commands.Range[str, 1, 80], why: Reason = ""
    ) -> None:
        """Pause a roll-out."""
        await _carry_out(interaction, patches.pause, PatchStopParams(patch=patch, why=why))

    @carries_out(patches.resume)
    @app_commands.command(description="Go on with a roll-out that is paused, or that asks")
    @app_commands.describe(patch="The patch")
    async def resume(self, interaction: discord.Interaction[MasterBot], patch: app_commands.Range[str, 1, 80]) -> None:
        """Go on with a roll-out."""
        await _carry_out(interaction, patches.resume, PatchParams(patch=patch))

    @carries_out(patches.retry)
    @app_commands.command(description="Take up a roll-out that was aborted or failed")
    @app_commands.describe(patch="The patch")
    async def retry(self, interaction: discord.Interaction[MasterBot], patch: app_commands.Range[str, 1, 80]) -> None:
        """Take a roll-out up again."""
        await _carry_out(interaction, patches.retry, PatchParams(patch=patch))

    @carries_out(patches.abort)
    @app_commands.command(description="Abort a roll-out: no further node gets it, those that have it keep it")
    @app_commands.describe(patch="The patch", why="For its history and the audit log")
    async def abort(
        self, interaction: discord.Interaction[MasterBot], patch: app_commands.Range[str, 1, 80], why: Reason = ""
    ) -> None:
        """Ask, then abort a roll-out."""
        await defer(interaction)
        found = await interaction.client.services.patches.show(patch)
        text = "No further node gets it. Those that have it keep it; /patch rollback takes it back from them."
        params = PatchStopParams(patch=found.patch.id, why=why)
        await _ask(interaction, f"Abort {as_markdown(found.patch.label)}?", text, patches.abort, "Abort", params)

    @carries_out(patches.rollback)
    @app_commands.command(description="Roll a patch back on every node that has it, and quarantine it")
    @app_commands.describe(patch="The patch", why="For its history and the audit log")
    async def rollback(
        self, interaction: discord.Interaction[MasterBot], patch: app_commands.Range[str, 1, 80], why: Reason = ""
    ) -> None:
        """Ask, then roll a patch back."""
        await defer(interaction)
        found = await interaction.client.services.patches.show(patch)
        params = PatchStopParams(patch=found.patch.id, why=why)
        title = f"Roll {as_markdown(found.patch.label)} back?"
        await _ask(interaction, title, rollback_text(found), patches.rollback, "Roll back", params)

    @carries_out(patches.listing)
    @app_commands.command(description="All patches, the newest first, and what became of them")
    async def history(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show all patches."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(patches.listing, actor_of(interaction), PatchesParams(limit=_HISTORY))
        lines = [patch_line(patch) for patch in found.patches] or ["No patch was ever received."]
        await _pages(interaction, "History of patches", lines, on_page=_ON_PAGE)

    @deploy.autocomplete("patch")
    @show.autocomplete("patch")
    @approve.autocomplete("patch")
    @pause.autocomplete("patch")
    @resume.autocomplete("patch")
    @retry.autocomplete("patch")
    @abort.autocomplete("patch")
    @rollback.autocomplete("patch")
    async def _patches(
        self, interaction: discord.Interaction[MasterBot], current: str
    ) -> list[app_commands.Choice[str]]:
        """Suggest patches: those for which the command may be of use first."""
        try:
            found = await interaction.client.services.patches.list(_HISTORY)
        except FleetError:
            # The ledger is away: the command itself says so.
            return []
        command = interaction.command.name if interaction.command is not None else ""
        fitting = _FITTING.get(command)
        wanted = current.casefold()
        known = [patch for patch in found.patches if wanted in patch.label or patch.id.startswith(current.upper())]
        known.sort(key=lambda patch: fitting is not None and patch.state not in fitting)
        return [
            app_commands.Choice(name=f"{patch.label} ({state_words(patch.state)})"[:100], value=patch.id)
            for patch in known[:25]
        ]


_UNDER_WAY = ("approved", "rolling", "soaking", "asking")
_FITTING: dict[str, tuple[str, ...]] = {
    "deploy": ("received", "approved"),
    "approve": ("received", "approved"),
    "pause": _UNDER_WAY,
    "resume": ("paused", "asking"),
    "retry": ("aborted", "failed"),
    "abort": (*_UNDER_WAY, "paused", "received"),
    "rollback": (*_UNDER_WAY, "paused", "done", "aborted"),
}
"""In which states a patch is suggested first; the operation decides what may be done."""


async def _received(
    interaction: discord.Interaction[MasterBot], file: discord.Attachment | None, patch: str
) -> PatchDetails:
    """Accept the attached file, or find the patch that is named."""
    operations, services = interaction.client.operations, interaction.client.services
    if (file is None) == (not patch):
        raise FleetError("name a patch, or attach its file: one of the two", hint="`/patch history` lists patches")
    if file is None:
        return await services.patches.show(patch)
    if services.discord is None:
        raise FleetError("the master has no connection to download it with")
    async with downloaded(services.discord, file, services.settings.patches_dir) as path:
        params = PatchReceiveParams(path=str(path))
        received = await operations.run(patches.receive, actor_of(interaction), params)
    return await services.patches.show(received.id)


def _shown(settings: Settings, found: PatchDetails) -> discord.Embed:
    return discord.Embed.from_dict(embed_payload(patch_embed(settings.colours, found)))


def _as_wanted(params: PatchDeployParams) -> str:
    """Say what the command asks for beyond the plan."""
    said = []
    if params.urgent:
        said.append("**urgent**: all nodes at once, without a canary")
    if params.canary is not None:
        said.append(f"canary {params.canary}")
    if params.soak_s is not None:
        said.append(f"watched for {params.soak_s / 60:g} min")
    return f"Asked for: {', '.join(said)}" if said else ""


def _confirm(operation: AnyOperation, label: str, params: Any) -> Confirm:
    async def act(pressed: discord.Interaction[MasterBot]) -> None:
        await pressed.response.defer()
        done = await pressed.client.operations.run(operation, actor_of(pressed), params)
        await pressed.edit_original_response(embed=_done(pressed.client.services.settings, done), view=None)

    return Confirm(operation, label, act)


async def _ask(
    interaction: discord.Interaction[MasterBot], title: str, text: str, operation: AnyOperation, label: str, params: Any
) -> None:
    settings = interaction.client.services.settings
    question = discord.Embed(title=title[:256], description=text, colour=settings.colours.warning)
    await answer(interaction, question, _confirm(operation, label, params))


async def _carry_out(interaction: discord.Interaction[MasterBot], operation: AnyOperation, params: Any) -> None:
    await defer(interaction)
    operations = interaction.client.operations
    done = await operations.run(operation, actor_of(interaction), params)
    await answer(interaction, _done(operations.services.settings, done))


def _done(settings: Settings, done: PatchView) -> discord.Embed:
    text = ""
    if done.state == "received":
        text = f"Approved by {len(done.approved_by)} of {done.approvals}. {next_text(done)}"
    elif done.channel_id and done.message_id:
        text = f"How far it is: <#{done.channel_id}>"
    return success_embed(settings, f"{as_markdown(done.label)}: {state_words(done.state)}", text)


async def _pages(interaction: discord.Interaction[MasterBot], title: str, lines: list[str], *, on_page: int) -> None:
    colour = interaction.client.services.settings.colours.information
    pages = [
        discord.Embed(title=title, description="\n".join(page), colour=colour)
        for page in lines_in_pages(lines, on_page=on_page)
    ]
    await Pages(patches.listing, pages).send(interaction)
