"""A master's mailboxes in this process: a real IMAP server, a real Discord (the sandbox), a real ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import discord
from msgspec.structs import replace

from handshake.redaction import Secret
from master.bot.port import DiscordPyPort
from master.configuration.settings import (
    ChannelSettings,
    MailboxSettings,
    MailRule,
    Settings,
    TicketCategory,
    TicketSettings,
)
from master.events import AlertRaised, Event, MailActedOn, MailboxChanged
from master.ledger.rows import mails
from master.ledger.rows.mail_records import Mail
from master.services.container import DiscordView
from master.services.mailbox.mailboxes import Mailboxes
from nodekit.endpoints import apply_endpoints
from sandbox import ChannelHandle, GuildHandle, Person, Sandbox
from sandbox.records import Message
from tests.hostile.faulty_imap import FaultyImap
from tests.services.conftest import House, open_house
from tests.services.mailbox.dovecot import PASSWORD, USER, Dovecot
from tests.services.people.ticket_house import MASTER_BITS

PATIENCE_S = 30.0
MX = "mx.fleet.example"
VOUCHED = f"{MX}; dkim=pass header.d=shop.example; spf=pass smtp.mailfrom=eve@shop.example"


@dataclass
class MailScene:
    """A server with a log channel and a channel for mails; ada owns it, sam is of the staff."""

    house: House
    sandbox: Sandbox
    guild: GuildHandle
    log: ChannelHandle
    inbox: ChannelHandle
    ada: Person
    sam: Person
    events: list[Event] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    @property
    def mailboxes(self) -> Mailboxes:
        return self.house.services.mailboxes

    def start(self) -> None:
        self._task = asyncio.create_task(self.mailboxes.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def restart(self) -> None:
        """Have another master take over, as far as mailboxes are concerned."""
        await self.stop()
        self.house.services.mailboxes._watchers = {}
        self.start()

    def note(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait for what an event brings about."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._changed.clear()
                if found := holds():
                    return found
                await self._changed.wait()

    async def state(self, state: str, name: str = "inbox") -> MailboxChanged:
        def find() -> MailboxChanged | None:
            if self.mailboxes.state_of(name)[0] != state:
                return None
            found = [e for e in self.events if isinstance(e, MailboxChanged) and e.state == state and e.mailbox == name]
            return found[-1] if found else None

        found: MailboxChanged = await self.until(find)
        return found

    def acts(self, action: str = "") -> list[MailActedOn]:
        return [e for e in self.events if isinstance(e, MailActedOn) and action in ("", e.action)]

    async def acted(self, count: int, action: str = "") -> list[MailActedOn]:
        return await self.until(lambda: (a := self.acts(action)) if len(self.acts(action)) >= count else None)  # type: ignore[no-any-return]

    @property
    def alerts(self) -> list[AlertRaised]:
        return [event for event in self.events if isinstance(event, AlertRaised)]

    async def mails(self, **query: Any) -> list[Mail]:
        return await self.house.services.ledger.read(lambda c: mails.recent(c, limit=5_000, **query))

    async def mail_in(self, state: str, count: int = 1) -> list[Mail]:
        """Wait until so many mails are in a state."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = await self.mails(states=(state,))
                if len(found) >= count:
                    return found
                # No event says that a mail is ignored.
                await asyncio.sleep(0.02)

    def posts(self, channel: ChannelHandle | None = None) -> list[Message]:
        return [m for m in (channel or self.inbox).messages if m.embeds]


def mailbox_at(
    server: Dovecot | FaultyImap, rules: Mapping[str, MailRule] | None = None, **values: Any
) -> MailboxSettings:
    found = {"host": "127.0.0.1", "port": server.port, "security": "none", "user": USER, "authserv_id": MX}
    return MailboxSettings(**{**found, **values}, rules=rules or {})


@asynccontextmanager
async def open_mail_scene(
    base: Settings, sandbox: Sandbox, mailboxes: Mapping[str, MailboxSettings], *, password: str = PASSWORD
) -> AsyncIterator[MailScene]:
    ada, sam = sandbox.create_human("ada"), sandbox.create_human("sam")
    guild = sandbox.create_guild("HQ", ada)
    staff = guild.create_role("staff")
    guild.add_member(sam, [staff])
    bot = sandbox.create_bot("Fleetmaster")
    guild.add_bot(bot, bits=MASTER_BITS)
    log, inbox = guild.create_channel("log"), guild.create_channel("inbox")
    place = sandbox.world.create_channel(guild.guild, "tickets", kind=4)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    kind = TicketCategory(channel_id=place.id, staff_roles=frozenset({staff.id}), most_open_each=3)
    settings = replace(
        base,
        identity=replace(base.identity, guild_id=guild.id),
        channels=ChannelSettings(verify=1, log=log.id),
        tickets=TicketSettings(categories={"support": kind}),
        mailboxes={name: replace(one, channel_id=one.channel_id or inbox.id) for name, one in mailboxes.items()},
    )
    client = discord.Client(intents=discord.Intents.none(), max_messages=None)
    async with client:
        await client.login(bot.token)
        view = DiscordView(user_id=lambda: bot.id, state=lambda: "ready", port=DiscordPyPort(lambda: client, 5.0))
        async with open_house(settings, sandbox, view) as house:
            scene = MailScene(house, sandbox, guild, log, inbox, ada, sam)
            house.services.bus.on(Event, scene.note)
            if password:
                for name in mailboxes:
                    await scene.mailboxes.set_password(name, Secret(password))
            scene.start()
            try:
                yield scene
            finally:
                await scene.stop()
