"""/mailbox, and the buttons below a mail in its ticket: staff answer and close, nobody else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from handshake.redaction import Secret
from master.bot.client import MasterBot
from master.bot.port import DiscordPyPort
from master.configuration.settings import MailboxSettings, PeopleSettings, Settings, TicketCategory, TicketSettings
from master.ledger.rows import mail_threads
from master.ledger.rows.mail_records import MailThread
from master.services.container import DiscordView
from master.services.core.discord_port import Notice
from master.services.mailbox.mail_notices import ticket_buttons
from master.services.onboarding.saga import CloneRequest
from nodekit.endpoints import apply_endpoints
from sandbox import ChannelHandle, Interaction, Message, Person, Sandbox, permissions
from sandbox.records import Overwrite
from tests.services.conftest import OPERATOR, House, house_settings, open_house
from tests.services.people.ticket_house import MASTER_BITS

__all__ = ["house_settings"]

pytestmark = pytest.mark.timeout(60)
TICKET = "01" + "M" * 24


@dataclass
class Desk:
    """A server with an open ticket that came by mail; ada operates, sam is staff, eve is neither."""

    house: House
    sandbox: Sandbox
    office: ChannelHandle
    channel: ChannelHandle
    account: Any
    message: Message
    ada: Person
    sam: Person
    eve: Person

    async def runs(self, who: Person, name: str, options: dict[str, object] | None = None) -> Interaction:
        asked = await who.runs_command(self.office, self.account, name, options)
        return await asked.wait_until(lambda i: bool(i.embeds))


@pytest.fixture
async def desk(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[Desk]:
    ada, sam, eve = (sandbox.create_human(name) for name in ("ada", "sam", "eve"))
    guild = sandbox.create_guild("HQ", ada)
    staff = guild.create_role("staff")
    guild.add_member(sam, [staff])
    guild.add_member(eve)
    account = sandbox.create_bot("Fleetmaster")
    guild.add_bot(account, bits=MASTER_BITS)
    office = guild.create_channel("office")
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    # Nobody listens there: what is answered waits.
    mailbox = MailboxSettings(
        host="127.0.0.1", port=9, user="bots@fleet.example", security="none", smtp_host="127.0.0.1"
    )
    settings = replace(
        house_settings,
        identity=replace(house_settings.identity, guild_id=guild.id),
        channels=replace(house_settings.channels, verify=0),
        operators=PeopleSettings(user_ids=frozenset({ada.id})),
        tickets=TicketSettings(categories={"support": TicketCategory(staff_roles=frozenset({staff.id}))}),
        mailboxes={"support": mailbox},
    )
    holder: list[MasterBot] = []
    view = DiscordView(
        user_id=lambda: account.id,
        state=lambda: "ready",
        port=DiscordPyPort(lambda: holder[0] if holder else None, 5.0),
    )
    async with open_house(settings, sandbox, view) as house:
        bot = MasterBot(house.operations)
        holder.append(bot)
        running = [asyncio.create_task(bot.start(account.token)), asyncio.create_task(house.services.mailboxes.run())]
        await sandbox.gateway.wait_connected(account.account, timeout_s=20)
        await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas"), start=False))
        services = house.services
        now = services.clock.now()
        thread = MailThread(
            ticket_id=TICKET, mailbox="support", address="eve@shop.example", subject="Help", last_message_id="<a@b>",
            message_ids='["<a@b>"]', changed_at=now,
        )  # fmt: skip
        node = services.directory.find("atlas")
        ticket = await services.ticketing.tickets.open_by_mail(
            TICKET, node, "support", topic="Help", also=lambda c: mail_threads.insert(c, thread)
        )
        opened = await services.ticketing.work.do(ticket.id)
        assert opened is not None
        channel = guild.channel(opened.channel_id or 0)
        notice = Notice(text="a mail", buttons=ticket_buttons(TICKET, can_answer=True))
        await services.mailboxes.tools.port.post(channel.id, notice)
        yield Desk(house, sandbox, office, channel, account, channel.messages[0], ada, sam, eve)
        await bot.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_staff_answer_from_the_ticket(desk: Desk) -> None:
    # Without one it fails at once.
    await desk.house.services.mailboxes.set_password("support", Secret("x"))
    form = await desk.sam.presses(desk.message, "Answer by mail")
    done = await desk.sam.submits_modal(form, {"It is sent to who wrote the mail": "Try again."})
    done = await done.wait_until(lambda i: bool(i.embeds))
    assert done.embeds[0]["description"] == "It is on its way to eve\\@shop.example."
    ledger = desk.house.services.ledger
    every = ("waiting", "sending", "sent", "failed", "asked")
    (answer,) = await ledger.read(lambda c: mail_threads.answers_in(c, every, limit=5))
    assert answer.state in ("waiting", "sending"), (answer.state, answer.detail)
    assert (answer.text, answer.written_by) == ("Try again.", f"discord:{desk.sam.id}")
    assert desk.channel.messages[-1].embeds[0]["title"] == "Answered by mail, to eve\\@shop.example"
    closed = await (await desk.sam.presses(desk.message, "Close")).wait_until(lambda i: bool(i.embeds))
    assert closed.embeds[0]["title"].endswith("Ticket 1 is closed")


async def test_who_is_not_of_the_staff_neither_answers_nor_closes(desk: Desk) -> None:
    channel = desk.sandbox.world.channels[desk.channel.id]
    channel.overwrites[desk.eve.id] = Overwrite(id=desk.eve.id, type=1, allow=permissions.VIEW_CHANNEL, deny=0)
    closed = await (await desk.eve.presses(desk.message, "Close")).wait_until(lambda i: bool(i.embeds))
    assert "is not of the staff" in str(closed.embeds)
    form = await desk.eve.presses(desk.message, "Answer by mail")
    done = await desk.eve.submits_modal(form, {"It is sent to who wrote the mail": "Send me money."})
    done = await done.wait_until(lambda i: bool(i.embeds))
    assert "is not of the staff" in str(done.embeds)
    ledger = desk.house.services.ledger
    assert await ledger.read(lambda c: mail_threads.answers_in(c, ("waiting", "sending", "sent"), limit=5)) == []


async def test_an_operator_sees_and_steers_mailboxes(desk: Desk) -> None:
    shown = await desk.runs(desk.ada, "mailbox list")
    assert "**support** stopped" in shown.embeds[0]["description"]
    await desk.house.services.mailboxes.set_password("support", Secret("x"))
    tested = await desk.runs(desk.ada, "mailbox test", {"mailbox": "support"})
    assert tested.embeds[0]["title"] == "support does not work"
    assert "cannot be reached" in tested.embeds[0]["description"]
    paused = await desk.runs(desk.ada, "mailbox pause", {"mailbox": "support"})
    assert paused.embeds[0]["title"].endswith("support is stopped")
    resumed = await desk.runs(desk.ada, "mailbox resume", {"mailbox": "support"})
    assert resumed.embeds[0]["title"].endswith(("support is starting", "support is backoff"))
