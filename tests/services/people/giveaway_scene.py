"""A server with a channel, and masters that come and go: each has its own services over the same ledger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import discord
from msgspec import structs

from master.bot.port import DiscordPyPort
from master.bus import EventBus
from master.configuration.settings import LicenceTier, Settings
from master.events import AlertRaised, GiveawayChanged
from master.ledger.database import Ledger
from master.ledger.rows import audit
from master.ledger.rows import licences as licence_rows
from master.ledger.rows.records import Licence
from master.security.licence_codes import LicenceCodes
from master.security.vault import SeedVault
from master.services.core.actors import Actor
from master.services.core.alerts import Alerts
from master.services.core.auditing import Auditor, audit_chain_of
from master.services.core.directory import NodeDirectory
from master.services.core.giveaway_views import GiveawayDetails, GiveawayView
from master.services.core.keys import master_secret_of
from master.services.core.permissions import Permissions
from master.services.people.giveaway_building import build_giveaways
from master.services.people.giveaway_draw import check
from master.services.people.giveaway_records import GiveawayRecords
from master.services.people.giveaway_rules import Entrant
from master.services.people.giveaways import Giveaways, Wanted
from master.services.people.licence_guesses import Guesses
from master.services.people.licences import Licences
from master.services.trust.licensing import Licensing
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, GuildHandle, Message, Person, Sandbox, permissions
from tests.conftest import TurnableClock
from tests.services.conftest import settings_in

HOUR = 3_600.0


@dataclass
class GiveawayMaster:
    """One master's giveaways."""

    giveaways: Giveaways
    auditor: Auditor
    licences: Licences
    alerts: list[AlertRaised]
    events: list[GiveawayChanged]


@dataclass
class GiveawayScene:
    """What is around them."""

    sandbox: Sandbox
    guild: GuildHandle
    channel: ChannelHandle
    account: BotHandle
    ada: Person
    clock: TurnableClock
    settings: Settings
    ledger: Ledger
    port: DiscordPyPort
    people: list[Person] = field(default_factory=list)

    def master(self, *, ledger: Any = None, port: Any = None, clock: TurnableClock | None = None) -> GiveawayMaster:
        """Start a master's giveaways, without their loop."""
        bus, clock = EventBus(), clock or self.clock
        ledger = ledger or self.ledger
        settings = self.settings
        secret = master_secret_of(settings.identity)
        auditor = Auditor(ledger, self.ledger.chain, clock, Permissions(settings), bus)
        licensing = Licensing(LicenceCodes(secret), settings.licence_tiers, clock)
        licences = Licences(ledger=ledger, licensing=licensing, bus=bus, clock=clock, guesses=Guesses(clock))
        made = build_giveaways(
            ledger=ledger,
            records=GiveawayRecords(ledger),
            port=port or self.port,
            licences=licences,
            auditor=auditor,
            alerts=Alerts(bus, NodeDirectory(bus, clock), clock),
            seeds=SeedVault(secret),
            bus=bus,
            clock=clock,
            settings=lambda: self.settings,
            own_id=lambda: self.account.id,
        )
        master = GiveawayMaster(made, auditor, licences, [], [])
        bus.on(AlertRaised, master.alerts.append)
        bus.on(GiveawayChanged, master.events.append)
        return master

    def new_channel(self) -> None:
        """Go on in another channel: of one, Discord takes five messages in five seconds."""
        self.channel = self.guild.create_channel("giveaways")

    def person(self, name: str = "") -> Person:
        """Have somebody join the server."""
        person = self.sandbox.create_human(name or f"p{len(self.people)}")
        self.guild.add_member(person)
        self.people.append(person)
        return person

    @property
    def moderator(self) -> Actor:
        return Actor(face="discord", identity=str(self.ada.id), name="ada", is_member=True)

    async def start(self, master: GiveawayMaster, **fields: Any) -> GiveawayView:
        """Start a giveaway of an hour as ada."""
        values: dict[str, Any] = {"prize": "a mug", "duration_s": HOUR} | fields
        wanted = Wanted(guild_id=self.guild.id, channel_id=self.channel.id, started_by=self.ada.id, **values)
        async with master.auditor.action(self.moderator, "giveaway_start") as entry:
            return await master.giveaways.start(entry, wanted)

    async def enter(self, master: GiveawayMaster, giveaway_id: str, count: int) -> list[Person]:
        """Have so many people join the server, and enter."""
        people = [self.person() for _ in range(count)]
        entries = (master.giveaways.enter(self.guild.id, giveaway_id, Entrant(user_id=person.id)) for person in people)
        await asyncio.gather(*entries)
        return people

    async def details(self, giveaway_id: str) -> GiveawayDetails:
        return await GiveawayRecords(self.ledger).details(giveaway_id)

    async def audited(self, action: str) -> list[str]:
        """Return what the audit log has of an action, oldest first."""
        rows = await self.ledger.read(lambda c: audit.search(c, action=action, limit=100))
        return [row.detail for row in rows][::-1]

    async def licences(self) -> list[Licence]:
        found = await self.ledger.read(lambda c: licence_rows.list_beginning(c, "", limit=1_000))
        return [one for one in found if one.origin.startswith("giveaway:")]

    def announcements(self) -> list[Message]:
        return [message for message in self.channel.messages if message.attachments]

    def files(self) -> list[Any]:
        """Return the draws' files that were posted, checked."""
        return [check(message.attachments[0].content.decode()) for message in self.announcements()]

    def message_of(self, view: GiveawayView) -> Message:
        (found,) = [message for message in self.channel.messages if message.id == view.message_id]
        return found

    def direct(self, person: Person) -> list[Message]:
        """Return the messages that the master sent somebody."""
        channel = self.sandbox.world.direct_channel(self.account.account, person.user)
        return list(channel.messages.values())

    def leaves(self, person: Person) -> None:
        self.sandbox.world.remove_member(self.guild.guild, person.user)


def label_of(message: Message) -> str:
    """Return the label of a message's first button."""
    return str(message.components[0]["components"][0]["label"])


def words_of(message: Message) -> str:
    """Return all that a message says."""
    return message.content + json.dumps(message.embeds, ensure_ascii=False)


@asynccontextmanager
async def open_giveaway_scene(
    folder: Path, sandbox: Sandbox, empty_ledger: Path, clock: TurnableClock
) -> AsyncIterator[GiveawayScene]:
    sandbox.world.clock = clock
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", ada)
    account = sandbox.create_bot("Fleetmaster")
    guild.add_bot(account, bits=permissions.EVERYONE_DEFAULT)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    settings = settings_in(folder, sandbox, empty_ledger)
    settings = structs.replace(
        settings,
        licence_tiers=(LicenceTier(name="standard"), LicenceTier(name="pro", days=30)),
        giveaways=structs.replace(settings.giveaways, most_open=3),
    )
    client = discord.Client(intents=discord.Intents.none(), max_messages=None)
    await client.login(account.token)
    current: Callable[[], discord.Client | None] = lambda: client  # noqa: E731
    ledger = await Ledger.open(settings.database, chain=audit_chain_of(settings))
    channel = guild.create_channel("giveaways")
    try:
        yield GiveawayScene(
            sandbox, guild, channel, account, ada, clock, settings, ledger, DiscordPyPort(current, timeout_s=10.0)
        )
    finally:
        await ledger.close()
        await client.close()
