"""Tickets: people open one at a panel, the staff answers in a channel of its own, a transcript remains.

The master holds the tickets, makes their channels and lets people in (TICKETS in its config), so this bot needs neither
Manage Channels nor Manage Roles. An example of buttons and forms that work after a restart, and of asking the master.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

import discord
from cogs import _ticket_looks as looks
from discord import app_commands
from discord.ext import commands

from nodekit import open_store
from nodekit.tickets import (
    PermissionSet,
    Priority,
    TicketCategoryView,
    TicketDesk,
    TicketPermissionResponse,
    TicketResponse,
    TicketView,
)

if TYPE_CHECKING:
    from nodekit import HandshakeBot

    Press = discord.Interaction[HandshakeBot]

log = logging.getLogger("node")

TOUCHED_EVERY_S = 60.0
"""The master is told at most so often that somebody writes in a ticket."""
AGAIN_S = (5.0, 30.0, 120.0, 600.0)
"""When a ticket is shown again after Discord, or the master, was not there."""
NO_CATEGORIES = "There are no ticket categories for this bot yet: TICKETS in the config of its master names them."


@app_commands.guild_only()
class Tickets(commands.GroupCog, group_name="ticket", group_description="Tickets"):
    """Panels, and all that is done in a ticket."""

    def __init__(self, bot: HandshakeBot) -> None:
        self.bot = bot
        self.desk = TicketDesk(bot)
        # In data/tickets.json: {"tickets": {id: what is known of it}}. The master's ledger is what counts.
        self.store = open_store("tickets.json")
        self.touched: dict[str, float] = {}
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.tasks: set[asyncio.Task[None]] = set()
        self.presses = {
            "new": self.press_new,
            "form": self.send_form,
            "claim": self.press_claim,
            "release": self.press_release,
            "close": self.press_close,
            "closing": self.send_closing,
            "reopen": self.press_reopen,
            "delete": self.press_delete,
            "deletion": self.press_deletion,
        }

    @property
    def known(self) -> dict[str, dict[str, Any]]:
        """What this bot remembers of its tickets, by their ids."""
        tickets: dict[str, dict[str, Any]] = self.store.setdefault("tickets", {})
        return tickets

    async def cog_load(self) -> None:
        """Look what became of the tickets while the bot was away."""
        if self.store:
            self.begin(self.catch_up())

    async def cog_unload(self) -> None:
        """Leave what is under way to the next one."""
        for task in self.tasks:
            task.cancel()

    def begin(self, coroutine: Any) -> None:
        """Do something in the background; the set keeps Python from forgetting it half-way."""
        task = asyncio.get_running_loop().create_task(coroutine, name="tickets")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def catch_up(self) -> None:
        """Show all tickets as they are now."""
        await self.bot.wait_until_ready()
        found = {ticket.id: ticket for ticket in (await self.desk.list()).tickets}
        for ticket_id in sorted({*self.known, *found}):
            if not await self.try_showing(ticket_id, found.get(ticket_id)):
                # Again later, beside the others: they do not wait for it.
                self.begin(self.keep_showing(ticket_id))

    # Panels and commands

    @app_commands.command(description="Post a panel in this channel, at which people open tickets")
    @app_commands.checks.has_permissions(manage_guild=True)
    @app_commands.describe(title="Its title", text="What stands below", style="A button for each kind, or one menu")
    async def panel(
        self,
        interaction: Press,
        title: app_commands.Range[str, 1, 200] = "How can we help you?",
        text: app_commands.Range[str, 1, 2000] = "Open a ticket: only you and the staff see it.",
        style: Literal["buttons", "menu"] = "buttons",
    ) -> None:
        """Post a panel."""
        await interaction.response.defer(ephemeral=True)
        categories = await self.desk.categories()
        if not categories:
            raise commands.UserInputError(NO_CATEGORIES)
        embed, view = looks.panel(title, text, categories, as_menu=style == "menu")
        channel = self.channel(interaction.channel_id or 0)
        await channel.send(embed=embed, view=view)
        self.store["panels"] = True
        await self.store.save()
        missing = "" if self.bot.intents.message_content else (
            "\nTranscripts will lack what people write: switch MESSAGE_CONTENT_INTENT on, in config.py and in the "
            "developer portal."
        )  # fmt: skip
        await interaction.followup.send(f"The panel is there.{missing}", ephemeral=True)

    @app_commands.command(description="Let somebody into this ticket")
    @app_commands.describe(person="Whom", may="What they may do in it", hours="For how long; as long as it may be")
    async def add(
        self,
        interaction: Press,
        person: discord.Member,
        may: PermissionSet = "participant",
        hours: app_commands.Range[float, 0, 8760] = 0,
    ) -> None:
        """Let somebody in; the master decides, or asks a person."""
        ticket_id = self.ticket_here(interaction)
        await interaction.response.defer(ephemeral=True)
        answer = await self.desk.add(ticket_id, interaction.user, person, may, for_s=hours * 3600)
        until = f" until <t:{int(answer.until)}:f>" if answer.until else ""
        await interaction.followup.send(said(answer, f"{person.mention} is in{until}."), ephemeral=True)
        if answer.granted:
            await self.channel(interaction.channel_id or 0).send(
                f"{person.mention} was let in by {interaction.user.mention}.",
                allowed_mentions=discord.AllowedMentions(users=[person]),
            )

    @app_commands.command(description="Take somebody out of this ticket")
    @app_commands.describe(person="Whom")
    async def remove(self, interaction: Press, person: discord.User) -> None:
        """Take somebody out."""
        ticket_id = self.ticket_here(interaction)
        await interaction.response.defer(ephemeral=True)
        answer = await self.desk.remove(ticket_id, interaction.user, person)
        await interaction.followup.send(said(answer, f"{person.mention} is out."), ephemeral=True)

    @app_commands.command(description="Pass this ticket on to another of the staff")
    @app_commands.describe(to="To whom")
    async def transfer(self, interaction: Press, to: discord.Member) -> None:
        """Pass a ticket on."""
        ticket_id = self.ticket_here(interaction)
        await interaction.response.defer(ephemeral=True)
        answer = await self.desk.transfer(ticket_id, interaction.user, to)
        await self.done(interaction, answer, f"{to.mention} has this ticket now.")

    @app_commands.command(description="How urgent is this ticket?")
    async def priority(self, interaction: Press, priority: Priority) -> None:
        """Set the priority."""
        ticket_id = self.ticket_here(interaction)
        await interaction.response.defer(ephemeral=True)
        answer = await self.desk.set_priority(ticket_id, interaction.user, priority)
        await self.done(interaction, answer, f"Its priority is {priority}.")

    @app_commands.command(description="What is this ticket about?")
    @app_commands.describe(text="A few words; they stand at its top")
    async def topic(self, interaction: Press, text: app_commands.Range[str, 1, 200]) -> None:
        """Set the topic."""
        ticket_id = self.ticket_here(interaction)
        await interaction.response.defer(ephemeral=True)
        await self.done(interaction, await self.desk.set_topic(ticket_id, interaction.user, text), "The topic is set.")

    @app_commands.command(description="Close this ticket")
    async def close(self, interaction: Press) -> None:
        """Ask for the reason; sending the form closes the ticket."""
        await self.press_close(interaction, self.ticket_here(interaction))

    @app_commands.command(description="Get what was written in this ticket, as files")
    async def transcript(self, interaction: Press) -> None:
        """Send the transcript to who asks."""
        ticket_id = self.ticket_here(interaction)
        await interaction.response.defer(ephemeral=True)
        answer = await self.desk.find(ticket_id)
        if not answer.tickets:
            raise commands.UserInputError(sentence(answer.reason))
        (ticket,) = answer.tickets
        made = await self.transcribe(ticket)
        await interaction.followup.send(files=made.files(f"ticket-{ticket.number}"), ephemeral=True)

    @app_commands.command(name="list", description="List the tickets that you may see")
    async def list_tickets(self, interaction: Press) -> None:
        """List one's own tickets; for staff all of their categories."""
        await interaction.response.defer(ephemeral=True)
        answer = await self.desk.list()
        if not answer.done:
            await interaction.followup.send(sentence(answer.reason), ephemeral=True)
            return
        roles = {role.id for role in getattr(interaction.user, "roles", ())}
        staffed = {one.name for one in await self.desk.categories() if roles & set(one.staff_roles)}
        every = interaction.permissions.manage_guild
        # One answer of the master has room for about twenty: one's own are asked for by themselves.
        mine = await self.desk.list(interaction.user)
        seen = {ticket.id: ticket for ticket in mine.tickets}
        for ticket in answer.tickets:
            if every or ticket.category in staffed or ticket.claimed_by == interaction.user.id:
                seen[ticket.id] = ticket
        left_out = answer.position if every or staffed else mine.position
        embed = looks.list_embed(list(seen.values()), left_out, is_exact=every or not staffed)
        await interaction.followup.send(embed=embed, ephemeral=True)

    # Presses and forms. They are told apart by their custom ids, so that those of an earlier process work too.

    @commands.Cog.listener()
    async def on_interaction(self, interaction: Press) -> None:
        """Handle a press, or a form; whatever goes wrong is answered."""
        data: dict[str, Any] = dict(interaction.data or {})
        custom_id = str(data.get("custom_id", ""))
        if not custom_id.startswith(looks.PREFIX):
            return
        deed, _, argument = custom_id.removeprefix(looks.PREFIX).partition(":")
        try:
            if deed not in self.presses:
                raise commands.UserInputError("This button is of another version of this bot.")
            await self.presses[deed](interaction, argument or next(iter(data.get("values", ())), ""))
        except Exception as error:
            if not self.bot.is_expected(error):
                self.bot.report(error, "event", f"ticket {deed}")
            await self.bot.answer_error(interaction, error, f"the button {custom_id[:60]}")

    async def press_new(self, interaction: Press, name: str) -> None:
        """Show the form of a category, or open a ticket without one."""
        category = await self.category(name, quick=True)
        if category is None:
            raise commands.UserInputError("No ticket can be opened for that now. Try again in a minute.")
        if category.questions:
            # The first answer, within three seconds: nothing may be awaited from the master here for long.
            await interaction.response.send_modal(looks.form(category))
        else:
            await self.open_ticket(interaction, name, [])

    async def send_form(self, interaction: Press, name: str) -> None:
        """Open a ticket with what was filled in."""
        await self.open_ticket(interaction, name, looks.answers_of(interaction))

    async def open_ticket(self, interaction: Press, name: str, answers: list[str]) -> None:
        """Open a ticket, and tell its author where it is, or their place in the queue."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        answer = await self.desk.open(name, interaction.user, answers)
        ticket = answer.tickets[0] if answer.done and answer.tickets else None
        if ticket is None:
            await interaction.followup.send(sentence(answer.reason), ephemeral=True)
            return
        self.known.setdefault(ticket.id, {})["answers"] = answers
        await self.store.save()
        if ticket.channel_id:
            text = f"Your ticket is <#{ticket.channel_id}>."
        elif ticket.state == "queued":
            place = f"You are number {answer.position} in the queue. " if answer.position else ""
            text = (
                f"All places are taken. {place}You are mentioned in your ticket, number {ticket.number}, once it opens."
            )
        else:
            text = f"Your ticket, number {ticket.number}, is being opened: you are mentioned in it."
        await interaction.followup.send(text, ephemeral=True)
        self.begin(self.keep_showing(ticket.id, ticket))

    async def press_claim(self, interaction: Press, ticket_id: str) -> None:
        """Take a ticket."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        answer = await self.desk.claim(ticket_id, interaction.user)
        await self.done(interaction, answer, "It is yours: only you and its author write in it now.")

    async def press_release(self, interaction: Press, ticket_id: str) -> None:
        """Release a ticket."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        await self.done(
            interaction, await self.desk.release(ticket_id, interaction.user), "All of the staff write in it."
        )

    async def press_close(self, interaction: Press, ticket_id: str) -> None:
        """Ask for the reason."""
        number = int(self.known.get(ticket_id, {}).get("number", 0))
        await interaction.response.send_modal(looks.closing_form(ticket_id, number))

    async def send_closing(self, interaction: Press, ticket_id: str) -> None:
        """Close a ticket; its transcript follows once it is closed, whoever closes it."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        reason = next(iter(looks.answers_of(interaction)), "")
        await self.done(
            interaction, await self.desk.close(ticket_id, interaction.user, reason), "The ticket is closed."
        )

    async def press_reopen(self, interaction: Press, ticket_id: str) -> None:
        """Open a closed ticket again."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        answer = await self.desk.reopen(ticket_id, interaction.user)
        where = f" It is <#{answer.tickets[0].channel_id}>." if answer.tickets else ""
        await self.done(interaction, answer, f"The ticket is open again.{where}")

    async def press_delete(self, interaction: Press, ticket_id: str) -> None:
        """Ask whether the channel is to be deleted."""
        text = "Delete the channel, with all that is written in it? The transcript stays."
        await interaction.response.send_message(text, view=looks.deletion_buttons(ticket_id), ephemeral=True)

    async def press_deletion(self, interaction: Press, ticket_id: str) -> None:
        """Delete a closed ticket's channel."""
        # Answered before: afterwards there is no channel in which an answer could stand.
        await interaction.response.edit_message(content="The channel is being deleted.", view=None)
        answer = await self.desk.delete(ticket_id, interaction.user)
        if not answer.done:
            await interaction.followup.send(sentence(answer.reason), ephemeral=True)

    async def done(self, interaction: Press, answer: TicketResponse, text: str) -> None:
        """Tell what became of a request, and show the ticket as it is now."""
        await interaction.followup.send(text if answer.done else sentence(answer.reason), ephemeral=True)
        for ticket in answer.tickets:
            self.begin(self.keep_showing(ticket.id, ticket))

    # What happens elsewhere

    @commands.Cog.listener()
    async def on_ticket_changed(self, ticket_id: str) -> None:
        """Show what became of a ticket, whoever did it: an operator, the clock, another of the staff."""
        await self.keep_showing(ticket_id)

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Tell the master that somebody writes in a ticket."""
        if message.author.bot or not self.known:
            return
        ticket_id, now = self.ticket_in(message.channel.id), time.monotonic()
        if ticket_id is not None and now - self.touched.get(ticket_id, float("-inf")) >= TOUCHED_EVERY_S:
            self.touched[ticket_id] = now
            await self.desk.touch(ticket_id, message.author)

    # Showing a ticket

    async def keep_showing(self, ticket_id: str, ticket: TicketView | None = None) -> None:
        """Show a ticket; when Discord or the master is not there, again later."""
        for pause in AGAIN_S:
            if await self.try_showing(ticket_id, ticket):
                return
            ticket = None
            await asyncio.sleep(pause)
        if not await self.try_showing(ticket_id):
            log.warning("ticket %s could not be shown", ticket_id)

    async def try_showing(self, ticket_id: str, ticket: TicketView | None = None) -> bool:
        """Show a ticket; False if that is to be tried again."""
        try:
            async with self.turns[ticket_id]:
                answer = await self.desk.find(ticket_id) if ticket is None else TicketResponse(True, tickets=(ticket,))
                if answer.code == "not_your_ticket":
                    self.known.pop(ticket_id, None)
                elif not answer.tickets:
                    raise ConnectionError(answer.reason)
                else:
                    await self.show(answer.tickets[0])
        except discord.NotFound:
            log.info("the channel of ticket %s is gone", ticket_id)
        except (discord.HTTPException, OSError) as error:
            log.info("ticket %s cannot be shown now: %s", ticket_id, error)
            return False
        return True

    async def show(self, ticket: TicketView) -> None:
        """Bring a ticket's own message in line with it; of a closed one the transcript is made, once."""
        if ticket.state == "deleted":
            self.known.pop(ticket.id, None)
            self.turns.pop(ticket.id, None)
            await self.store.save()
            return
        record = self.known.setdefault(ticket.id, {})
        record |= {"channel": ticket.channel_id, "number": ticket.number}
        if ticket.channel_id and ticket.state in ("open", "closing", "closed"):
            await self.show_message(ticket, record)
            if ticket.state == "open":
                record |= {"handed_over": False, "told": ""}
            elif ticket.state == "closed" and not record.get("handed_over"):
                await self.hand_over(ticket, record)
                record["handed_over"] = True
        await self.store.save()

    async def show_message(self, ticket: TicketView, record: dict[str, Any]) -> None:
        """Post the ticket's message, with a mention of its author, or edit it if it shows something else."""
        category = await self.category(ticket.category)
        answers = list(zip(category.questions if category else (), record.get("answers", ()), strict=False))
        shown = [ticket.state, ticket.claimed_by, ticket.priority, ticket.topic, len(answers)]
        if record.get("message") and record.get("shown") == shown:
            return
        channel, embed, view = (
            self.channel(ticket.channel_id),
            looks.ticket_embed(ticket, answers),
            looks.ticket_buttons(ticket),
        )
        message_id = record.get("message") or await self.find_message(channel, ticket)
        try:
            if not message_id:
                raise LookupError
            await channel.get_partial_message(message_id).edit(embed=embed, view=view)
        except (LookupError, discord.NotFound):
            if ticket.state != "open":
                return
            greeting = await channel.send(
                f"{looks.mention(ticket.author_id)}, this is your ticket. Somebody of the staff answers here.",
                embed=embed,
                view=view,
                allowed_mentions=discord.AllowedMentions(users=[discord.Object(ticket.author_id)]),
            )
            message_id = greeting.id
        except discord.HTTPException:
            # A closed thread is archived, and takes no edit: the log has its button to reopen it.
            if ticket.state == "open":
                raise
        record |= {"message": message_id, "shown": shown}

    async def find_message(self, channel: discord.PartialMessageable, ticket: TicketView) -> int | None:
        """Return the ticket's message of an earlier process that could not write down that it had posted it."""
        async for message in channel.history(limit=20, oldest_first=True):
            mine = self.bot.user is not None and message.author.id == self.bot.user.id
            if mine and message.embeds and message.embeds[0].title == looks.ticket_embed(ticket, ()).title:
                return message.id
        return None

    async def hand_over(self, ticket: TicketView, record: dict[str, Any]) -> None:
        """Send the transcript to the author, and to the category's log, which says whether the author got it."""
        made, category = await self.transcribe(ticket), await self.category(ticket.category)
        name = f"ticket-{ticket.number}"
        if not record.get("told"):
            # Written down: should the log fail, the author does not get it once more.
            record["told"] = await self.tell_author(ticket, made.files(name))
            await self.store.save()
        if category is None or not category.log_channel_id:
            return
        try:
            await self.channel(category.log_channel_id).send(
                embed=looks.ending_embed(ticket, made.messages, record["told"]),
                files=made.files(name),
                view=looks.reopen_button(ticket),
            )
        except (discord.Forbidden, discord.NotFound) as error:
            log.error("no transcripts in channel %s, the log of %s: %s", category.log_channel_id, category.name, error)

    async def tell_author(self, ticket: TicketView, files: list[discord.File]) -> str:
        """Send the transcript to the author; returns whether they have it, for the log."""
        text = f"Your ticket {ticket.number} is closed. What was written in it is in these files."
        try:
            author = self.bot.get_user(ticket.author_id) or await self.bot.fetch_user(ticket.author_id)
            await author.send(text, embed=looks.ticket_embed(ticket, ()), files=files)
        except discord.Forbidden:
            return "Its author has not got it: their direct messages are closed."
        except discord.HTTPException as error:
            return f"Its author has not got it: Discord answers {error.status}."
        return "Its author has it too."

    async def transcribe(self, ticket: TicketView) -> Any:
        """Return the transcript of a ticket."""
        # Imported when it is needed: most bots never close a ticket.
        from nodekit.transcripts import transcribe

        people = {"Opened by": ticket.author_id, "Claimed by": ticket.claimed_by, "Closed by": ticket.closed_by}
        facts = [(name, await self.name_of(user_id)) for name, user_id in people.items() if user_id]
        facts += [("Topic", ticket.topic)] if ticket.topic else []
        facts += [("Reason", ticket.reason)] if ticket.reason else []
        return await transcribe(
            self.channel(ticket.channel_id),
            title=f"Ticket {ticket.number}: {ticket.category}",
            facts=facts,
            may_read=self.bot.intents.message_content,
        )

    # Looking up

    async def name_of(self, user_id: int) -> str:
        """Return a person's name, or their id."""
        try:
            user = self.bot.get_user(user_id) or await self.bot.fetch_user(user_id)
        except discord.HTTPException:
            return str(user_id)
        return f"{user.name} ({user_id})"

    async def category(self, name: str, *, quick: bool = False) -> TicketCategoryView | None:
        """Return a category by its name."""
        return next((one for one in await self.desk.categories(quick=quick) if one.name == name), None)

    def channel(self, channel_id: int) -> discord.PartialMessageable:
        """Return a channel to write in, whether or not this bot has it in its cache."""
        return self.bot.get_partial_messageable(channel_id)

    def ticket_in(self, channel_id: int) -> str | None:
        """Return the id of the ticket that a channel is of."""
        return next((key for key, record in self.known.items() if record.get("channel") == channel_id), None)

    def ticket_here(self, interaction: Press) -> str:
        """Return the id of the ticket in whose channel a command is used."""
        ticket_id = self.ticket_in(interaction.channel_id or 0)
        if ticket_id is None:
            raise commands.UserInputError("Use this in the channel of a ticket.")
        return ticket_id


def said(answer: TicketPermissionResponse, text: str) -> str:
    """Return what to tell of a permission: the text if it was done, else why not."""
    if answer.code == "asking":
        return "A person has to allow that, and is asked now."
    return text if answer.granted or answer.code == "revoked" else sentence(answer.reason or answer.code)


def sentence(reason: str) -> str:
    """Return the master's reason as a sentence."""
    text = reason.strip() or "the master gives no reason"
    return text[:1].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


async def setup(bot: HandshakeBot) -> None:
    """Load the cog."""
    await bot.add_cog(Tickets(bot))
