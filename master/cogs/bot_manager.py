"""/runbots: the fleet as a live table, with buttons to refresh, start, stop and restart."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.embeds import error_embed, node_line, success_embed
from master.bot.operation_commands import carries_out
from master.cogs._views import Confirm, OperationView
from master.errors import FleetError
from master.events import NodeEvent
from master.operations import nodes
from master.operations.operation import Operation, Operations
from master.operations.parameters import NamesParams, StatusParams
from master.services.container import Services
from master.services.core.actors import Actor
from master.services.core.views import ActionResult, FleetStatus
from master.wording import duration

log = logging.getLogger(__name__)

PAGE = 20
LIVE_S = 600.0
MIN_EDIT_INTERVAL_S = 3.0
_TROUBLED = frozenset({"degraded", "offline", "backoff", "quarantined", "missing"})


class FleetTable(OperationView):
    """One page of the fleet; updates its message on node events."""

    def __init__(self, operations: Operations[Services], actor: Actor) -> None:
        super().__init__(nodes.status, timeout_s=LIVE_S)
        self._operations = operations
        self._actor = actor
        self._services = operations.services
        self._page = 0
        self._chosen: list[str] = []
        self._watching: asyncio.Task[None] | None = None

    async def embed(self) -> discord.Embed:
        """Render the current page."""
        status = await self._operations.run(nodes.status, self._actor, StatusParams())
        pages = max((len(status.nodes) - 1) // PAGE + 1, 1)
        self._page = min(self._page, pages - 1)
        shown = status.nodes[self._page * PAGE : (self._page + 1) * PAGE]
        self._update_controls([node.name for node in shown], pages)
        return self._render(status, shown, pages)

    def _render(self, status: FleetStatus, shown: tuple[Any, ...], pages: int) -> discord.Embed:
        settings = self._services.settings
        ready = sum(node.state == "ready" for node in status.nodes)
        troubled = sum(node.state in _TROUBLED for node in status.nodes)
        lines = "\n".join(node_line(settings.emojis, node) for node in shown)
        embed = discord.Embed(
            title=f"{ready} of {len(status.nodes)} nodes ready",
            description=lines or "No nodes yet: /dupbot creates the first one.",
            colour=settings.colours.error if troubled else settings.colours.success,
            timestamp=discord.utils.utcnow(),
        )
        master = status.master
        footer = f"master up {duration(master.uptime_s)} · {master.rss_bytes / 2**20:.0f} MB · ledger {master.ledger}"
        if master.troubles:
            said = discord.utils.escape_markdown("\n".join(master.troubles)[:1000])
            embed.add_field(name="The master's files", value=said, inline=False)
        if master.offline_since is not None:
            since = int(master.offline_since)
            why = discord.utils.escape_markdown(master.offline_why[:300]) or "the master is not connected to Discord"
            embed.add_field(name="Offline", value=f"since <t:{since}:T> (<t:{since}:R>): {why}", inline=False)
        embed.set_footer(text=footer + (f" · page {self._page + 1} of {pages}" if pages > 1 else ""))
        return embed

    def _update_controls(self, names: list[str], pages: int) -> None:
        self._chosen = [name for name in self._chosen if name in names]
        menu: discord.ui.Select[Any] = self.choose
        menu.options = [
            discord.SelectOption(label=name, value=name, default=name in self._chosen) for name in names
        ] or [discord.SelectOption(label="no nodes", value="-")]
        menu.disabled = not names
        menu.max_values = max(len(names), 1)
        for button in (self.start, self.stop_nodes, self.restart):
            button.disabled = not self._chosen
        self.turn.disabled = pages < 2

    def watch(self, message: discord.InteractionMessage | discord.WebhookMessage) -> None:
        """Keep ``message`` up to date until the view times out."""
        self._watching = asyncio.create_task(self._watch(message), name="runbots table")

    async def _watch(self, message: discord.InteractionMessage | discord.WebhookMessage) -> None:
        with self._services.bus.subscribe(NodeEvent) as events:
            async for _event in events:
                if self.is_finished():
                    continue
                # Events in quick succession result in one edit, which shows them all.
                await asyncio.sleep(MIN_EDIT_INTERVAL_S)
                events.clear()
                try:
                    await message.edit(embed=await self.embed(), view=self)
                except (discord.HTTPException, FleetError) as error:
                    log.debug("the table is not updated any more: %s", error)
                    return

    async def on_timeout(self) -> None:
        """Stop updating."""
        if self._watching is not None:
            self._watching.cancel()

    @discord.ui.select(placeholder="Choose nodes", min_values=0, max_values=1, row=0)
    async def choose(self, interaction: discord.Interaction[MasterBot], select: discord.ui.Select[Any]) -> None:
        """Store the selection."""
        self._chosen = [value for value in select.values if value != "-"]
        await interaction.response.edit_message(embed=await self.embed(), view=self)

    @discord.ui.button(label="Refresh", style=discord.ButtonStyle.secondary, row=1)
    async def refresh(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Show the fleet as it is now."""
        await interaction.response.edit_message(embed=await self.embed(), view=self)

    @discord.ui.button(label="Start", style=discord.ButtonStyle.success, row=1)
    async def start(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Start the selected nodes."""
        await self._act(interaction, nodes.start)

    @discord.ui.button(label="Stop", style=discord.ButtonStyle.danger, row=1)
    async def stop_nodes(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Stop the selected nodes after a confirmation."""
        names = ", ".join(self._chosen)

        async def act(pressed: discord.Interaction[MasterBot]) -> None:
            await self._act(pressed, nodes.stop)

        question = discord.Embed(
            title=f"Stop {len(self._chosen)} node(s)?",
            description=names[:4000],
            colour=self._services.settings.colours.warning,
        )
        await answer(interaction, question, Confirm(nodes.stop, "Stop", act))

    @discord.ui.button(label="Restart", style=discord.ButtonStyle.primary, row=1)
    async def restart(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Restart the selected nodes."""
        await self._act(interaction, nodes.restart)

    @discord.ui.button(label="Next page", style=discord.ButtonStyle.secondary, row=1)
    async def turn(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Show the next page."""
        self._page = (self._page + 1) % max((len(self._services.directory) - 1) // PAGE + 1, 1)
        await interaction.response.edit_message(embed=await self.embed(), view=self)

    async def _act(
        self, interaction: discord.Interaction[MasterBot], operation: Operation[NamesParams, list[ActionResult], Any]
    ) -> None:
        await defer(interaction)
        settings, verb = self._services.settings, operation.name
        wanted = NamesParams(names=tuple(self._chosen))
        results = await self._operations.run(operation, actor_of(interaction), wanted)
        failed = [result for result in results if not result.ok]
        if failed:
            told = "; ".join(f"{result.node}: {result.detail}" for result in failed)
            embed = error_embed(settings, FleetError(f"{verb}: {len(failed)} of {len(results)} failed", hint=told))
        else:
            embed = success_embed(settings, f"{verb}: {', '.join(result.node for result in results)}")
        await answer(interaction, embed)


class BotManager(commands.Cog):
    """The command /runbots."""

    @carries_out(nodes.status)
    @app_commands.command(description="The fleet, live: states, figures, and buttons to steer it")
    async def runbots(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show the table."""
        await defer(interaction)
        table = FleetTable(interaction.client.operations, actor_of(interaction))
        embed = await table.embed()
        try:
            table.watch(await interaction.followup.send(embed=embed, view=table, ephemeral=True, wait=True))
        except discord.HTTPException:
            await answer(interaction, embed)


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(BotManager())
