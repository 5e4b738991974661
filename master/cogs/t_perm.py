"""/ticket, the buttons of nodes' permission requests, and what Discord says of tickets' channels."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.embeds import success_embed
from master.bot.operation_commands import carries_out
from master.cogs._ticket_embeds import details_embed, finding_lines, permission_lines, ticket_lines
from master.cogs._views import Pages, lines_in_pages, node_choices
from master.errors import FleetError
from master.ledger.errors import LedgerError
from master.operations import tickets
from master.operations.operation import Operation
from master.operations.parameters import (
    NoParams,
    TicketCloseParams,
    TicketDecideParams,
    TicketParams,
    TicketPermissionsParams,
    TicketsParams,
)
from master.services.core.discord_port import Channel, ChannelKind, Overwrite
from master.services.people.ticket_permissions import PREFIX
from master.wording import as_markdown

log = logging.getLogger(__name__)

_ON_PAGE = 8
TicketWord = app_commands.Range[str, 1, 40]


async def on_press(interaction: discord.Interaction[MasterBot]) -> None:
    """Answer a node's request, which the button names: ``t_perm:grant:PERMISSION_ID``."""
    data: Any = interaction.data
    _, _, rest = str(data.get("custom_id", "")).partition(":")
    verb, _, permission_id = rest.partition(":")
    if verb not in ("grant", "refuse") or len(permission_id) != _ID_CHARACTERS:
        raise FleetError(
            "this button is from another version of the master", hint="`/ticket permissions` shows what is asked"
        )
    await defer(interaction)
    operations, params = interaction.client.operations, TicketDecideParams(permission_id, grant=verb == "grant")
    done = await operations.run(tickets.decide, actor_of(interaction), params)
    words = f"<@{done.subject_id}> as {done.permission_set} in ticket {done.ticket}"
    titles = {"granted": "Let in", "granting": "Let in as soon as Discord is there", "refused": "Refused"}
    await answer(
        interaction, success_embed(operations.services.settings, titles.get(done.state, done.state.title()), words)
    )


_ID_CHARACTERS = 26


@app_commands.guild_only()
@app_commands.default_permissions(manage_messages=True)
class TicketPermissionCommands(commands.GroupCog, group_name="ticket", group_description="Tickets of the bots"):
    """Shows tickets, and answers nodes that ask to let somebody in."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        """Take presses, also on messages of an earlier master."""
        self._bot.press_handlers[PREFIX] = on_press

    async def cog_unload(self) -> None:
        """Take no more presses."""
        self._bot.press_handlers.pop(PREFIX, None)

    @carries_out(tickets.listing)
    @app_commands.command(name="list", description="Tickets, newest first")
    @app_commands.describe(node="Only of this bot", everything="Also those that are over")
    async def show_all(
        self, interaction: discord.Interaction[MasterBot], node: str = "", everything: bool = False
    ) -> None:
        """Show tickets."""
        await defer(interaction)
        operations = interaction.client.operations
        params = TicketsParams(node=node, all=everything)
        found = await operations.run(tickets.listing, actor_of(interaction), params)
        await self._send(interaction, tickets.listing, "Tickets", ticket_lines(found))

    @carries_out(tickets.show)
    @app_commands.command(description="One ticket: its form, who claimed it, who was let in")
    @app_commands.describe(ticket="Its number, or its channel")
    async def show(self, interaction: discord.Interaction[MasterBot], ticket: TicketWord) -> None:
        """Show a ticket."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(tickets.show, actor_of(interaction), TicketParams(ticket))
        await answer(interaction, details_embed(operations.services.settings, found))

    @carries_out(tickets.close)
    @app_commands.command(description="Close a ticket: its author only reads it then")
    @app_commands.describe(ticket="Its number, or its channel", reason="Its author sees it")
    async def close(
        self,
        interaction: discord.Interaction[MasterBot],
        ticket: TicketWord,
        reason: app_commands.Range[str, 0, 400] = "",
    ) -> None:
        """Close a ticket."""
        await defer(interaction)
        operations = interaction.client.operations
        done = await operations.run(tickets.close, actor_of(interaction), TicketCloseParams(ticket, reason))
        title = f"Ticket {done.number} is {done.state}"
        await answer(interaction, success_embed(operations.services.settings, title, as_markdown(done.reason)))

    @carries_out(tickets.reopen)
    @app_commands.command(description="Open a closed ticket again")
    @app_commands.describe(ticket="Its number, or its channel")
    async def reopen(self, interaction: discord.Interaction[MasterBot], ticket: TicketWord) -> None:
        """Open a ticket again."""
        await defer(interaction)
        operations = interaction.client.operations
        done = await operations.run(tickets.reopen, actor_of(interaction), TicketParams(ticket))
        await answer(interaction, success_embed(operations.services.settings, f"Ticket {done.number} is {done.state}"))

    @carries_out(tickets.permissions)
    @app_commands.command(description="Who is let into which ticket, and what bots ask for")
    @app_commands.describe(everything="Also what is over")
    async def permissions(self, interaction: discord.Interaction[MasterBot], everything: bool = False) -> None:
        """Show permissions."""
        await defer(interaction)
        operations = interaction.client.operations
        params = TicketPermissionsParams(all=everything)
        found = await operations.run(tickets.permissions, actor_of(interaction), params)
        await self._send(interaction, tickets.permissions, "Let into tickets", permission_lines(found))

    @carries_out(tickets.check)
    @app_commands.command(description="May the master do all that tickets need?")
    async def check(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show what is missing."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(tickets.check, actor_of(interaction), NoParams())
        emojis = operations.services.settings.emojis
        await self._send(interaction, tickets.check, "What tickets need", finding_lines(emojis, found))

    async def _send(
        self,
        interaction: discord.Interaction[MasterBot],
        operation: Operation[Any, Any, Any],
        title: str,
        lines: list[str],
    ) -> None:
        colour = interaction.client.services.settings.colours.information
        pages = [
            discord.Embed(title=title, description="\n".join(page), colour=colour)
            for page in lines_in_pages(lines, on_page=_ON_PAGE)
        ]
        await Pages(operation, pages).send(interaction)

    @show_all.autocomplete("node")
    async def _nodes(self, interaction: discord.Interaction[MasterBot], current: str) -> list[app_commands.Choice[str]]:
        return await node_choices(interaction, current)

    @show.autocomplete("ticket")
    @close.autocomplete("ticket")
    @reopen.autocomplete("ticket")
    async def _tickets(
        self, interaction: discord.Interaction[MasterBot], current: str
    ) -> list[app_commands.Choice[str]]:
        found = await interaction.client.services.ticketing.showing.listing(limit=100)
        wanted = current.casefold().lstrip("#")
        choices = [(f"{one.number}: {one.node}, {one.state} {one.topic}", str(one.number)) for one in found]
        return [
            app_commands.Choice(name=name[:100], value=value) for name, value in choices if wanted in name.casefold()
        ][:25]

    # What happens to their channels

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """End the ticket of a channel that somebody deleted; others that wait may have room now."""
        await _quietly(lambda: self._bot.services.ticketing.work.channel_gone(channel.id))

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, event: discord.RawThreadDeleteEvent) -> None:
        """End the ticket of a thread that somebody deleted."""
        await _quietly(lambda: self._bot.services.ticketing.work.channel_gone(event.thread_id))

    @commands.Cog.listener()
    async def on_guild_channel_update(self, before: discord.abc.GuildChannel, after: discord.abc.GuildChannel) -> None:
        """Look at the permissions of a channel that was changed."""
        if before.overwrites != after.overwrites:
            await _quietly(lambda: self._bot.services.ticketing.upkeep.seen(_channel_of(after)))


def _channel_of(channel: discord.abc.GuildChannel) -> Channel:
    """Return a channel as services see it."""
    found = []
    for target, overwrite in channel.overwrites.items():
        allow, deny = overwrite.pair()
        is_role = isinstance(target, discord.Role) or (
            isinstance(target, discord.Object) and target.type is discord.Role
        )
        found.append(Overwrite(target.id, "role" if is_role else "member", allow.value, deny.value))
    return Channel(
        id=channel.id,
        name=channel.name,
        kind=ChannelKind.TEXT,
        guild_id=channel.guild.id,
        parent_id=channel.category_id,
        overwrites=tuple(found),
    )


async def _quietly(act: Callable[[], Awaitable[None]]) -> None:
    """Look at a ticket after an event; without the ledger the next look at all channels does it."""
    try:
        await act()
    except LedgerError as error:
        log.info("a ticket's channel was not looked at", extra={"why": error.message})


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(TicketPermissionCommands(bot))
