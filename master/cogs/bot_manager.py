"""/runbots: the fleet as a live page for a phone, with menus and buttons that outlive a restart of the master."""

from __future__ import annotations

import asyncio
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.embeds import error_embed, fitted, success_embed
from master.bot.operation_commands import carries_out
from master.cogs._fleet_page import PREFIX, Filter, PageState, Pressed, pressed, render, state_of
from master.cogs._live_message import LiveMessage
from master.cogs._views import Confirm, node_choices
from master.errors import FleetError
from master.operations import nodes
from master.operations.operation import Operation, Operations
from master.operations.parameters import NamesParams, StatusParams
from master.services.container import Services
from master.services.core.actors import Actor
from master.services.core.views import ActionResult
from nodekit.call_failures import ANY_FAILURE

Content = tuple[discord.Embed, discord.ui.View]
ActOnNodes = Operation[NamesParams, list[ActionResult], Any]

_MAX_LIVE = 20
"""Messages that follow the fleet at a time; the one that was pressed longest ago ends first."""
_NOT_LIVE = "not live any more: Refresh"
_ACTS: dict[str, ActOnNodes] = {"start": nodes.start, "stop": nodes.stop, "restart": nodes.restart}


class FleetPage:
    """One message of /runbots, as long as this master knows it."""

    def __init__(self, operations: Operations[Services], actor: Actor, state: PageState) -> None:
        self._operations = operations
        self._actor = actor
        self.state = state

    async def content(self, *, last: bool = False) -> Content:
        """Return embed and buttons as they are now."""
        status = await self._operations.run(nodes.status, self._actor, StatusParams())
        settings = self._operations.services.settings
        note = _NOT_LIVE if last else ""
        embed, view, self.state = render(settings.emojis, settings.colours, status, self.state, note=note)
        return fitted(embed), view

    def live(self, interaction: discord.Interaction[MasterBot]) -> LiveMessage[Content]:
        """Return what keeps the message of an interaction up to date."""

        async def show(last: bool) -> Content:
            return await self.content(last=last)

        return LiveMessage(show, editor(interaction), self._operations.services.bus)


def editor(interaction: discord.Interaction[MasterBot]) -> Any:
    """Return a function that edits the message of an interaction."""

    async def edit(content: Content) -> None:
        await interaction.edit_original_response(embed=content[0], view=content[1])

    return edit


class BotManager(commands.Cog):
    """The command /runbots, and the presses on its messages."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot
        self._live: dict[int, tuple[FleetPage, LiveMessage[Content]]] = {}

    async def cog_load(self) -> None:
        """Take presses, also on messages of an earlier master."""
        self._bot.press_handlers[PREFIX] = self.on_press

    async def cog_unload(self) -> None:
        """Take no more presses, and leave the messages as they are."""
        self._bot.press_handlers.pop(PREFIX, None)
        await asyncio.gather(*(live.end() for _, live in self._live.values()))

    @carries_out(nodes.status)
    @app_commands.command(description="The fleet, live: what is in trouble first, and buttons to steer it")
    @app_commands.describe(find="Only nodes with this in their name")
    async def runbots(
        self, interaction: discord.Interaction[MasterBot], find: app_commands.Range[str, 0, 40] = ""
    ) -> None:
        """Show the first page."""
        await defer(interaction)
        state = PageState(Filter("name", find.strip())) if find.strip() else PageState()
        page = FleetPage(interaction.client.operations, actor_of(interaction), state)
        content = await page.content()
        try:
            shown = await interaction.edit_original_response(embed=content[0], view=content[1])
        except ANY_FAILURE:
            # A server without deferral: the words, at least.
            await answer(interaction, content[0])
            return
        await self._follow(shown.id, page, interaction)

    @runbots.autocomplete("find")
    async def _nodes(self, interaction: discord.Interaction[MasterBot], current: str) -> list[app_commands.Choice[str]]:
        return await node_choices(interaction, current)

    async def on_press(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Carry out a press on a page; the page is read back from the message, so any will do."""
        press, message = pressed(interaction.data), interaction.message
        if press is None or message is None:
            raise FleetError("this page is from another version of the master", hint="run /runbots again")
        state = state_of(message)
        if press.verb in _ACTS:
            await self._act(interaction, press.verb, message, state)
        else:
            await self._show(interaction, message, _after(state, press))

    async def _show(
        self, interaction: discord.Interaction[MasterBot], message: discord.Message, state: PageState
    ) -> None:
        """Show a state of the page as the response."""
        page = FleetPage(interaction.client.operations, actor_of(interaction), state)
        embed, view = await page.content()
        await interaction.response.edit_message(embed=embed, view=view)
        await self._follow(message.id, page, interaction)

    async def _act(
        self, interaction: discord.Interaction[MasterBot], verb: str, message: discord.Message, state: PageState
    ) -> None:
        """Start or restart the chosen nodes; stop them after a question."""
        operations = interaction.client.operations
        await operations.authorise(_ACTS[verb], actor_of(interaction))
        known = operations.services.directory
        wanted = (known.get(node_id) for node_id in state.shown if node_id in state.chosen)
        chosen = [node for node in wanted if node is not None]
        if not chosen:
            raise FleetError("no node is chosen", hint="choose nodes in the menu first, then press again")
        ids, names = tuple(node.id for node in chosen), [node.name for node in chosen]
        if verb == "stop":
            await self._ask_to_stop(interaction, ids, names)
            return
        # The page is shown anew rather than "thinking": it follows what happens.
        await self._show(interaction, message, state)
        await answer(interaction, await self._run(interaction, _ACTS[verb], ids))

    async def _ask_to_stop(
        self, interaction: discord.Interaction[MasterBot], ids: tuple[str, ...], names: list[str]
    ) -> None:
        settings = interaction.client.services.settings

        async def act(pressed: discord.Interaction[MasterBot]) -> None:
            # Without buttons at once: a second press has nothing to press.
            stopping = discord.Embed(title=f"Stopping {_counted(names)} …", colour=settings.colours.information)
            await pressed.response.edit_message(embed=stopping, view=None)
            try:
                done = await self._run(pressed, nodes.stop, ids)
            except FleetError as error:
                done = error_embed(settings, error)
            await pressed.edit_original_response(embed=fitted(done), view=None)

        question = discord.Embed(
            title=f"Stop {_counted(names)}?", description=", ".join(names), colour=settings.colours.warning
        )
        await answer(interaction, question, Confirm(nodes.stop, "Stop", act))

    async def _run(
        self, interaction: discord.Interaction[MasterBot], operation: ActOnNodes, ids: tuple[str, ...]
    ) -> discord.Embed:
        """Run an operation on nodes; returns what came of it."""
        operations = interaction.client.operations
        results = await operations.run(operation, actor_of(interaction), NamesParams(names=ids))
        settings, verb = operations.services.settings, operation.name
        failed = [result for result in results if not result.ok]
        if failed:
            told = "\n".join(f"{result.node}: {result.detail}" for result in failed)
            return error_embed(settings, FleetError(f"{verb}: {len(failed)} of {len(results)} failed", hint=told))
        names = [result.node for result in results]
        listed = ", ".join(names) if len(names) > 3 else ""
        return success_embed(settings, f"{verb}: {_counted(names)}", listed)

    async def _follow(self, message_id: int, page: FleetPage, interaction: discord.Interaction[MasterBot]) -> None:
        """Keep a message up to date from now on, with the token of this interaction."""
        known = self._live.pop(message_id, None)
        if known is not None and known[1].is_live:
            shown, live = known
            shown.state = page.state
            live.edit = editor(interaction)
            live.prolong()
            self._live[message_id] = known
            return
        self._live = {key: value for key, value in self._live.items() if value[1].is_live}
        while len(self._live) >= _MAX_LIVE:
            _, ending = self._live.pop(next(iter(self._live)))
            await ending.end()
        live = page.live(interaction)
        self._live[message_id] = (page, live)
        live.begin()


def _after(state: PageState, press: Pressed) -> PageState:
    """Return what the page shows after a press."""
    match press.verb:
        case "filter":
            return state.filtered(press.values[0]) if press.values else PageState()
        case "choose":
            return state.choosing(press.values)
        case "page":
            return state.turned(press.number)
        case _:
            return state


def _counted(names: list[str]) -> str:
    """Return up to three names, or how many there are."""
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} nodes"


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(BotManager(bot))
