"""/mailbox: what is watched, whether it works; the buttons of mails in their tickets."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.embeds import success_embed
from master.bot.operation_commands import carries_out
from master.cogs._mailbox_embeds import mailbox_lines, tested_lines
from master.cogs._views import OperationModal, Pages, lines_in_pages
from master.errors import FleetError
from master.operations import mailboxes
from master.operations.parameters import MailAnswerParams, MailboxParams, MailTicketParams, NoParams
from master.wording import as_markdown

_ON_PAGE = 8
_ID_CHARACTERS = 26
PREFIX = "mailbox"
MailboxWord = app_commands.Range[str, 1, 40]


class AnswerForm(OperationModal, title="Answer by mail"):
    """Asks for the text of an answer: nothing that staff write in the channel itself leaves it."""

    text: discord.ui.TextInput[AnswerForm] = discord.ui.TextInput(
        label="It is sent to who wrote the mail", style=discord.TextStyle.long, max_length=4_000
    )

    def __init__(self, ticket: str) -> None:
        super().__init__()
        self._ticket = ticket

    async def on_submit(self, interaction: discord.Interaction[MasterBot], /) -> None:  # type: ignore[override]
        """Send it."""
        await defer(interaction)
        operations = interaction.client.operations
        params = MailAnswerParams(self._ticket, self.text.value)
        done = await operations.run(mailboxes.answer, actor_of(interaction), params)
        words = f"It is on its way to {as_markdown(done.to)}."
        await answer(interaction, success_embed(operations.services.settings, f"Ticket {done.ticket}", words))


async def on_press(interaction: discord.Interaction[MasterBot]) -> None:
    """Answer, or close, the ticket that the button names: ``mailbox:answer:TICKET_ID``."""
    data: Any = interaction.data
    _, _, rest = str(data.get("custom_id", "")).partition(":")
    verb, _, ticket = rest.partition(":")
    if verb not in ("answer", "close") or len(ticket) != _ID_CHARACTERS:
        raise FleetError("this button is from another version of the master", hint="`/mailbox answer` does the same")
    if verb == "answer":
        await interaction.response.send_modal(AnswerForm(ticket))
        return
    await defer(interaction)
    operations = interaction.client.operations
    done = await operations.run(mailboxes.close_ticket, actor_of(interaction), MailTicketParams(ticket))
    await answer(interaction, success_embed(operations.services.settings, f"Ticket {done.number} is {done.state}"))


@app_commands.guild_only()
@app_commands.default_permissions(manage_messages=True)
class MailboxCommands(commands.GroupCog, group_name="mailbox", group_description="Mailboxes that are watched"):
    """Shows and steers mailboxes, and answers mails from their tickets."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        """Take presses, also on messages of an earlier master."""
        self._bot.press_handlers[PREFIX] = on_press

    async def cog_unload(self) -> None:
        """Take no more presses."""
        self._bot.press_handlers.pop(PREFIX, None)

    @carries_out(mailboxes.listing)
    @app_commands.command(name="list", description="The mailboxes, with their states")
    async def show_all(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show the mailboxes."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(mailboxes.listing, actor_of(interaction), NoParams())
        await _send(interaction, "Mailboxes", mailbox_lines(operations.services.settings.emojis, found))

    @carries_out(mailboxes.test)
    @app_commands.command(description="Step by step what works, and what the rules would do; nothing is done")
    @app_commands.describe(mailbox="As in MAILBOXES")
    async def test(self, interaction: discord.Interaction[MasterBot], mailbox: MailboxWord) -> None:
        """Try a mailbox."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(mailboxes.test, actor_of(interaction), MailboxParams(mailbox))
        title = f"{as_markdown(found.name)} {'works' if found.works else 'does not work'}"
        await _send(interaction, title, tested_lines(operations.services.settings.emojis, found))

    @carries_out(mailboxes.pause)
    @app_commands.command(description="Stop watching a mailbox for now")
    @app_commands.describe(mailbox="As in MAILBOXES")
    async def pause(self, interaction: discord.Interaction[MasterBot], mailbox: MailboxWord) -> None:
        """Pause a mailbox."""
        await _steer(interaction, mailboxes.pause, mailbox)

    @carries_out(mailboxes.resume)
    @app_commands.command(description="Watch a mailbox again that was paused, or whose login was refused")
    @app_commands.describe(mailbox="As in MAILBOXES")
    async def resume(self, interaction: discord.Interaction[MasterBot], mailbox: MailboxWord) -> None:
        """Resume a mailbox."""
        await _steer(interaction, mailboxes.resume, mailbox)

    @carries_out(mailboxes.answer)
    @app_commands.command(name="answer", description="Answer by mail, in a ticket that came by mail")
    @app_commands.describe(ticket="Its number; without it the one of this channel")
    async def answer_mail(
        self, interaction: discord.Interaction[MasterBot], ticket: app_commands.Range[str, 0, 40] = ""
    ) -> None:
        """Ask for the answer."""
        await interaction.response.send_modal(AnswerForm(ticket or f"<#{interaction.channel_id}>"))

    @test.autocomplete("mailbox")
    @pause.autocomplete("mailbox")
    @resume.autocomplete("mailbox")
    async def _names(self, interaction: discord.Interaction[MasterBot], current: str) -> list[app_commands.Choice[str]]:
        known = interaction.client.services.settings.mailboxes
        found = [name for name in known if current.casefold() in name.casefold()]
        return [app_commands.Choice(name=name, value=name) for name in found][:25]


async def _steer(interaction: discord.Interaction[MasterBot], operation: Any, mailbox: str) -> None:
    await defer(interaction)
    operations = interaction.client.operations
    done = await operations.run(operation, actor_of(interaction), MailboxParams(mailbox))
    title = f"{as_markdown(done.name)} is {done.state}"
    await answer(interaction, success_embed(operations.services.settings, title, as_markdown(done.detail)))


async def _send(interaction: discord.Interaction[MasterBot], title: str, lines: list[str]) -> None:
    colour = interaction.client.services.settings.colours.information
    pages = [
        discord.Embed(title=title[:250], description="\n".join(page), colour=colour)
        for page in lines_in_pages(lines, on_page=_ON_PAGE)
    ]
    await Pages(mailboxes.listing, pages).send(interaction)


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(MailboxCommands(bot))
