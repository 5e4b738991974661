"""A master with tickets, on a server with staff, and nodes that ask it with their own keys."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import discord
import pytest
from msgspec.structs import replace

from handshake.messages import (
    Body,
    TicketPermissionRequest,
    TicketPermissionResponse,
    TicketRequest,
    TicketResponse,
    TicketView,
    VerificationRequest,
)
from handshake.redaction import Secret
from handshake.signing import Signer, Verifier
from master.bot.port import DiscordPyPort
from master.configuration.settings import Settings, TicketCategory, TicketSettings
from master.events import AlertRaised, TicketChanged
from master.ledger.rows import ticket_permissions, tickets
from master.ledger.rows.records import Node, Ticket, TicketPermission
from master.services.container import DiscordView
from master.services.core.keys import master_secret_of
from master.services.onboarding.saga import CloneRequest
from master.services.people.ticketing import Ticketing
from master.services.trust.source import Source
from master.supervision.clock import SystemClock
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, GuildHandle, Person, Sandbox, permissions
from sandbox.records import Channel, Role
from tests.services.conftest import OPERATOR, House, open_house

MASTER_BITS = (
    permissions.EVERYONE_DEFAULT
    | permissions.MANAGE_CHANNELS
    | permissions.MANAGE_ROLES
    | permissions.MANAGE_MESSAGES
    | permissions.MANAGE_THREADS
    | permissions.CREATE_PRIVATE_THREADS
)
LOCAL = Source(transport="local", pid=1)


class AheadClock(SystemClock):
    """The system clock, whose wall time a test sets ahead: processes are supervised by the other one."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class TicketNode:
    """A node's own end: it asks with its real key, as nodekit does."""

    def __init__(self, house: House, name: str, licence: str) -> None:
        self.house, self.licence = house, licence
        self.node: Node = house.services.directory.find(name)
        self.key = master_secret_of(house.services.settings.identity).derive_node_key(self.node.id, 1)
        self.signer = Signer(
            self.key, from_master=False, clock=time.time, session=house.services.sessions.offered(self.node.id)
        )
        self.reader = Verifier(
            lambda _node, _epoch: self.key, node_id=self.node.id, clock=time.time, replay_guard=None, skew_s=None
        )

    async def says(self, body: Body) -> Body | None:
        answer = await self.house.services.reception.receive(self.signer.sign(body), LOCAL)
        return None if answer is None else self.reader.open(answer).body

    async def proves_itself(self) -> None:
        request = VerificationRequest(
            licence=self.licence,
            version="1",
            pid=self.house.services.supervisor.pid_of(self.node.id) or 0,
            pid_started_at=0.0,
            bot_user_id=self.node.bot_user_id,
            started_at=0.0,
        )
        await self.says(request)
        assert self.house.services.verification.is_verified(self.node.id)

    async def asks(self, action: Any, **fields: Any) -> TicketResponse:
        answer = await self.says(TicketRequest(action=action, **fields))
        assert isinstance(answer, TicketResponse), answer
        return answer

    async def opens(self, author: Person, category: str = "support", **fields: Any) -> TicketView:
        answer = await self.asks("open", actor_id=author.id, category=category, **fields)
        assert (answer.done, answer.code) == (True, "open"), answer
        return answer.tickets[0]

    async def asks_for(self, ticket_id: str, who: Person, **fields: Any) -> TicketPermissionResponse:
        answer = await self.says(
            TicketPermissionRequest(ticket_id=ticket_id, user_id=who.id, action=fields.pop("action", "grant"), **fields)
        )
        assert isinstance(answer, TicketPermissionResponse), answer
        return answer


@dataclass
class TicketHouse:
    """A house with two verified nodes; ada owns the server, sam is staff, tom too, eve and max are members."""

    house: House
    settings: Settings
    sandbox: Sandbox
    guild: GuildHandle
    bot: BotHandle
    place: Channel
    room: Channel
    staff: Role
    people: dict[str, Person]
    clock: AheadClock
    atlas: TicketNode
    borealis: TicketNode
    alerts: list[AlertRaised] = field(default_factory=list)
    events: list[TicketChanged] = field(default_factory=list)

    @property
    def ticketing(self) -> Ticketing:
        return self.house.services.ticketing

    def __getattr__(self, name: str) -> Person:
        """Return a person by name."""
        return self.people[name]

    def channel(self, view: TicketView | Ticket) -> Channel:
        return self.sandbox.world.channels[view.channel_id or 0]

    def may(self, who: Person | BotHandle, view: TicketView) -> str:
        """Return what somebody may do in a ticket: ``rw``, ``r`` or nothing."""
        bits = permissions.in_channel(self.guild.guild, self.channel(view), who.id)
        return "r" * bool(bits & permissions.VIEW_CHANNEL) + "w" * bool(bits & permissions.SEND_MESSAGES)

    async def ticket(self, view: TicketView) -> Ticket:
        found = await self.house.services.ledger.read(lambda c: tickets.find(c, view.id))
        assert found is not None
        return found

    async def permissions_in(self, view: TicketView) -> list[TicketPermission]:
        return await self.house.services.ledger.read(lambda c: ticket_permissions.of_ticket(c, view.id))

    async def later(self, **ahead: float) -> None:
        """Let time go by, and the master do what is due then; Discord is looked at too."""
        self.clock.ahead += timedelta(**ahead)
        self.ticketing.work.now()
        self.ticketing.upkeep.look_again()
        await self.ticketing.upkeep.step()

    def update(self, **changes: Any) -> None:
        """Change the settings of tickets at run time, as `fleet reload` does."""
        reloading = self.house.services.reloading
        now = reloading.settings
        reloading._settings = replace(now, tickets=replace(now.tickets, **changes))
        reloading.take_effect()


def category(house: TicketHouse, **changes: Any) -> dict[str, TicketCategory]:
    """Return the categories with a changed one."""
    found = dict(house.house.services.settings.tickets.categories)
    found["support"] = replace(found["support"], **changes)
    return found


@asynccontextmanager
async def open_ticket_house(
    base: Settings, sandbox: Sandbox, *, master_bits: int = MASTER_BITS
) -> AsyncIterator[TicketHouse]:
    """Open a house with tickets."""
    people = {name: sandbox.create_human(name) for name in ("ada", "sam", "tom", "eve", "max", "stranger")}
    guild = sandbox.create_guild("HQ", people["ada"])
    staff = guild.create_role("staff")
    for name in ("sam", "tom"):
        guild.add_member(people[name], [staff])
    for name in ("eve", "max"):
        guild.add_member(people[name])
    bot = sandbox.create_bot("Fleetmaster")
    guild.add_bot(bot, bits=master_bits)
    place = sandbox.world.create_channel(guild.guild, "tickets", kind=4)
    room = sandbox.world.create_channel(guild.guild, "ticket-threads")
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    kind = TicketCategory(channel_id=place.id, staff_roles=frozenset({staff.id}), most_open_each=3)
    settings = replace(
        base,
        identity=replace(base.identity, guild_id=guild.id),
        tickets=TicketSettings(
            categories={
                "support": kind,
                "threads": replace(kind, channel_id=room.id, threads=True),
                "borealis-only": replace(kind, nodes=frozenset({"borealis"})),
            },
            requests_a_minute=1_000,
        ),
    )
    clock = AheadClock()
    client = discord.Client(intents=discord.Intents.none(), max_messages=None)
    async with client:
        await client.login(bot.token)
        view = DiscordView(user_id=lambda: bot.id, state=lambda: "ready", port=DiscordPyPort(lambda: client, 5.0))
        async with open_house(settings, sandbox, view, clock=clock) as house:
            nodes = []
            for name in ("atlas", "borealis"):
                account = house.bot(name)
                made = await house.clone(OPERATOR, CloneRequest(name=name, token=Secret(account.token), start=True))
                guild.add_bot(account)
                nodes.append(TicketNode(house, name, made.licence))
                await nodes[-1].proves_itself()
            opened = TicketHouse(
                house, settings, sandbox, guild, bot, place, room, staff, people, clock, nodes[0], nodes[1]
            )
            house.services.bus.on(AlertRaised, opened.alerts.append)
            house.services.bus.on(TicketChanged, opened.events.append)
            yield opened


@pytest.fixture
async def desk(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[TicketHouse]:
    """Yield a house with tickets."""
    async with open_ticket_house(house_settings, sandbox) as opened:
        yield opened
