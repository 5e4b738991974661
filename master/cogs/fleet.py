"""/fleet: the audit log, backups, a changed config, and who is in the fleet, under which name and licence."""

from __future__ import annotations

from typing import Literal

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, ask, defer
from master.bot.client import MasterBot
from master.bot.embeds import reload_embed, success_embed
from master.bot.operation_commands import carries_out
from master.bot.telling_embeds import description_embed, entry_lines, timeline_embed
from master.cogs._changing import INSTEAD_OF_FORM, TokenForm, removal_question
from master.cogs._cog_commands import CogCommands
from master.cogs._doctor_embeds import doctor_pages
from master.cogs._lineage_embeds import generation_lines, lineage_embed
from master.cogs._views import Confirm, Pages, lines_in_pages, node_choices
from master.configuration.settings import EmojiSettings, Settings
from master.operations import changing, kernel, ledger, nodes, telling
from master.operations import lineage as lineage_operations
from master.operations.parameters import (
    AuditParams,
    BackupParams,
    NodeParams,
    NoParams,
    RemoveParams,
    RenameParams,
    WhyParams,
)
from master.services.core.views import AuditView, Soundness
from master.wording import as_markdown

_READ, _ON_PAGE = 150, 10


def audit_line(emojis: EmojiSettings, row: AuditView) -> str:
    """Render one audit row; user input is escaped, so it is not rendered as markup."""
    mark = emojis.success if row.outcome == "done" else emojis.error
    detail, actor, action = as_markdown(row.detail[:120]), as_markdown(row.actor[:60]), as_markdown(row.action)
    return f"{mark} <t:{int(row.at)}:f> **{action}** by {actor}" + (f": {detail}" if detail else "")


def _audit_pages(settings: Settings, rows: list[AuditView], sound: Soundness) -> list[discord.Embed]:
    lines = [audit_line(settings.emojis, row) for row in rows] or ["Nothing was done yet."]
    return [_audit_embed(settings, page, sound) for page in lines_in_pages(lines, on_page=_ON_PAGE)]


def _audit_embed(settings: Settings, lines: list[str], sound: Soundness) -> discord.Embed:
    embed = discord.Embed(
        title="Audit log",
        description="\n".join(lines),
        colour=settings.colours.information if sound.ok else settings.colours.error,
    )
    if sound.ok:
        embed.set_footer(text=f"{sound.audit_rows} rows, none altered or removed")
    else:
        embed.add_field(
            name="It is not as it was left", value="\n".join(map(as_markdown, sound.faults))[:1024], inline=False
        )
    return embed


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class FleetCommands(commands.GroupCog, group_name="fleet", group_description="The fleet as a whole"):
    """What was done, keeping it, who is licensed, and applying a changed config."""

    cogs = CogCommands(name="cogs", description="The parts of the master that serve Discord")

    @carries_out(ledger.audit)
    @app_commands.command(description="The latest actions of operators, and whether the audit log is intact")
    @app_commands.describe(node="Only what was done to this node", action="Only this action, such as restart")
    async def audit(
        self,
        interaction: discord.Interaction[MasterBot],
        node: app_commands.Range[str, 0, 40] = "",
        action: app_commands.Range[str, 0, 40] = "",
    ) -> None:
        """Show the latest rows and check the chain."""
        await defer(interaction)
        actor, operations = actor_of(interaction), interaction.client.operations
        wanted = AuditParams(limit=_READ, node=node, action=action.strip())
        rows = await operations.run(ledger.audit, actor, wanted)
        sound = await operations.run(ledger.verify_audit, actor, NoParams())
        await Pages(ledger.audit, _audit_pages(operations.services.settings, rows, sound)).send(interaction)

    @audit.autocomplete("node")
    async def _nodes(self, interaction: discord.Interaction[MasterBot], current: str) -> list[app_commands.Choice[str]]:
        return await node_choices(interaction, current)

    @carries_out(telling.describe)
    @app_commands.command(description="All that is known of a node: its bot, state, last exit, limits, last lines")
    @app_commands.describe(node="The node")
    async def describe(self, interaction: discord.Interaction[MasterBot], node: str) -> None:
        """Show a node."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(telling.describe, actor_of(interaction), NodeParams(name=node))
        await answer(interaction, description_embed(operations.services.settings, found))

    @carries_out(telling.why)
    @app_commands.command(description="What happened to a node and why, what is the matter now, and what to do")
    @app_commands.describe(node="The node", hours="How far back; a day if it is left out")
    async def why(
        self, interaction: discord.Interaction[MasterBot], node: str, hours: app_commands.Range[int, 1, 2160] = 24
    ) -> None:
        """Show a node's timeline, the newest first: a phone shows the beginning."""
        await defer(interaction)
        operations = interaction.client.operations
        since = operations.services.clock.now().timestamp() - hours * 3600.0
        found = await operations.run(telling.why, actor_of(interaction), WhyParams(name=node, since=since))
        settings = operations.services.settings
        pages = lines_in_pages(entry_lines(found), on_page=_ON_PAGE)
        await Pages(telling.why, [timeline_embed(settings, found, page) for page in pages]).send(interaction)

    @carries_out(lineage_operations.lineage)
    @app_commands.command(description="How a node came to be what it is: clone, patches, rollbacks, edits by hand")
    @app_commands.describe(node="The node")
    async def lineage(self, interaction: discord.Interaction[MasterBot], node: str) -> None:
        """Show a node's generations, the newest first."""
        await defer(interaction)
        operations, operation = interaction.client.operations, lineage_operations.lineage
        found = await operations.run(operation, actor_of(interaction), NodeParams(name=node))
        settings = operations.services.settings
        pages = lines_in_pages(generation_lines(found), on_page=_ON_PAGE)
        await Pages(operation, [lineage_embed(settings, found, page) for page in pages]).send(interaction)

    @carries_out(ledger.backup)
    @app_commands.command(description="Back the ledger up into the master's state folder")
    async def backup(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Write a backup."""
        await defer(interaction)
        operations = interaction.client.operations
        made = await operations.run(ledger.backup, actor_of(interaction), BackupParams())
        words = (
            f"{made.rows} rows, {made.bytes / 1e6:.1f} MB. Keep `.env` too: without its secret no token can be read."
        )
        await answer(interaction, success_embed(operations.services.settings, "The ledger is backed up", words))

    @carries_out(nodes.revoke)
    @app_commands.command(description="Revoke a node's licence and stop it, until it is reinstated")
    @app_commands.describe(node="The node whose licence is revoked")
    async def revoke(self, interaction: discord.Interaction[MasterBot], node: str) -> None:
        """Ask, then revoke the licence and stop the node."""
        settings = interaction.client.services.settings
        name = interaction.client.services.directory.find(node).name

        async def act(pressed: discord.Interaction[MasterBot]) -> None:
            await pressed.response.defer()
            await pressed.client.operations.run(nodes.revoke, actor_of(pressed), NodeParams(name=name))
            words = f"It was stopped, and starts no more until `/fleet reinstate {name}`."
            done = success_embed(settings, f"The licence of {name} is revoked", words)
            await pressed.edit_original_response(embed=done, view=None)

        question = discord.Embed(
            title=f"Revoke the licence of {name}?",
            description="The node is stopped, and starts no more until it is reinstated.",
            colour=settings.colours.warning,
        )
        await answer(interaction, question, Confirm(nodes.revoke, "Revoke", act))

    @carries_out(nodes.reinstate)
    @app_commands.command(description="Take the revocation of a node's licence back")
    @app_commands.describe(node="The node whose licence is valid again")
    async def reinstate(self, interaction: discord.Interaction[MasterBot], node: str) -> None:
        """Make the licence valid again."""
        await defer(interaction)
        operations = interaction.client.operations
        done = await operations.run(nodes.reinstate, actor_of(interaction), NodeParams(name=node))
        title = f"The licence of {done.node} is valid again"
        await answer(interaction, success_embed(operations.services.settings, title, "The node is still stopped."))

    @carries_out(changing.remove)
    @app_commands.command(description="Remove a node from the fleet; its history stays")
    @app_commands.describe(node="The node to remove", files="What becomes of its folder and its logs")
    async def remove(
        self,
        interaction: discord.Interaction[MasterBot],
        node: str,
        files: Literal["keep", "archive", "purge"] = "keep",
    ) -> None:
        """Ask, then remove the node."""
        await defer(interaction)
        operations = interaction.client.operations
        params = RemoveParams(names=(operations.services.directory.find(node).name,), fate=files)
        (plan,) = await operations.run(changing.plan_removal, actor_of(interaction), params)
        await answer(interaction, *removal_question(operations.services.settings, plan, params))

    @carries_out(changing.set_token)
    @app_commands.command(name="set-token", description="Give a node another token, such as one that was reset")
    @app_commands.describe(node="The node", new_bot="It may be another bot's token than before")
    async def set_token(self, interaction: discord.Interaction[MasterBot], node: str, new_bot: bool = False) -> None:
        """Ask for the token in a form, then set it."""
        name = interaction.client.services.directory.find(node).name
        await ask(interaction, TokenForm(name, new_bot=new_bot), INSTEAD_OF_FORM)

    @carries_out(changing.rename)
    @app_commands.command(description="Rename a node; it keeps running")
    @app_commands.describe(node="The node", new_name="Its name from now on")
    async def rename(
        self, interaction: discord.Interaction[MasterBot], node: str, new_name: app_commands.Range[str, 1, 40]
    ) -> None:
        """Rename the node."""
        await defer(interaction)
        operations = interaction.client.operations
        params = RenameParams(name=node, new_name=new_name.strip())
        done = await operations.run(changing.rename, actor_of(interaction), params)
        title = f"{as_markdown(done.node)} is {as_markdown(done.new_name)}"
        words = "\n".join(map(as_markdown, done.notes))
        await answer(interaction, success_embed(operations.services.settings, title, words))

    @describe.autocomplete("node")
    @why.autocomplete("node")
    @lineage.autocomplete("node")
    @revoke.autocomplete("node")
    @reinstate.autocomplete("node")
    @remove.autocomplete("node")
    @set_token.autocomplete("node")
    @rename.autocomplete("node")
    async def _revocable(
        self, interaction: discord.Interaction[MasterBot], current: str
    ) -> list[app_commands.Choice[str]]:
        return await node_choices(interaction, current)

    @carries_out(kernel.doctor)
    @app_commands.command(description="Check everything a fleet needs, and say what to do about what is missing")
    async def doctor(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show what is the matter, the worst first; of what is well only the names."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(kernel.doctor, actor_of(interaction), NoParams())
        await Pages(kernel.doctor, doctor_pages(operations.services.settings, found)).send(interaction)

    @carries_out(kernel.reload)
    @app_commands.command(description="Apply a changed config.py to the running master")
    async def reload(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Reload, and say what took effect."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(kernel.reload, actor_of(interaction), NoParams())
        await answer(interaction, reload_embed(operations.services.settings, found))


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(FleetCommands())
