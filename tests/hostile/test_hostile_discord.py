"""Both faces of the Discord connection under nonsense: it ends neither the master's connection nor a node's bot.

``FLEET_FUZZ=10000`` says how much nonsense; counts are printed (``pytest -s``).
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import discord
import pytest

import master.bot.calls as calling
import master.bot.connection as connecting
import nodekit.connection_keeper as keeping
from master.bot.client import MasterBot
from master.bot.connection import DiscordConnection
from master.operations.operation import Operations
from master.services.container import Services
from master.services.core.discord_port import ChannelPlan, MessageRef, Notice
from master.services.core.errors import DiscordPortError
from nodekit.bot import HandshakeBot
from nodekit.connection_keeper import keep_connected
from nodekit.endpoints import apply_endpoints
from nodekit.gateway_session import GatewaySession
from nodekit.resumption import Resumption
from sandbox import BotHandle, ChannelHandle, GuildHandle, Person, Sandbox
from sandbox.intents import MESSAGE_CONTENT
from tests.hostile.discord_nonsense import Nonsense
from tests.hostile.effort import rounds
from tests.services.conftest import House, house, house_settings

__all__ = ["house", "house_settings"]

# discord.py makes a coroutine for an event before it finds that its client is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
SEED = int(os.environ.get("FLEET_SEED", "11"))
SILENCE_S = 1.0
"""After which discord.py doubts a connection: a forged READY looks like one."""
TURN = 25
"""Nonsense before a calm in which the subject has to come back."""


async def _at_once(*_: object, **__: object) -> None:
    """Do not wait five seconds before another IDENTIFY."""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make waits short, so that the time is spent on nonsense."""
    for module, name, seconds in (
        (keeping, "FIRST_PAUSE_S", 0.002),
        (keeping, "LAST_PAUSE_S", 0.02),
        (keeping, "IDENTIFY_GAP_S", 0.03),
        (keeping, "READY_TIMEOUT_S", 0.3),
        (keeping, "LOGIN_TIMEOUT_S", 0.5),
        (connecting, "RETRY_FIRST_S", 0.01),
        (connecting, "RETRY_CAP_S", 0.05),
    ):
        monkeypatch.setattr(module, name, seconds)

    def impatient(operations: Operations[Services]) -> MasterBot:
        bot = MasterBot(operations)
        bot._connection.heartbeat_timeout = SILENCE_S
        return bot

    monkeypatch.setattr(connecting, "MasterBot", impatient)
    monkeypatch.setattr(calling, "_PAUSES_S", (0.0, 0.001, 0.002))
    monkeypatch.setattr(discord.Client, "before_identify_hook", _at_once)
    yield
    # What was never awaited is found here, where it is expected.
    gc.collect()


class Ground:
    """A server with one bot, which talks nonsense for a while."""

    def __init__(self, sandbox: Sandbox, bot: BotHandle, nonsense: Nonsense) -> None:
        self.sandbox, self.bot, self.nonsense = sandbox, bot, nonsense
        sandbox.rate_limits.enabled = False
        # What is sent is wrong on purpose.
        sandbox.conformance = None
        self.ada: Person = sandbox.create_human("ada")
        self.guild: GuildHandle = sandbox.create_guild("HQ", self.ada)
        self.general: ChannelHandle = self.guild.create_channel("general")
        self.guild.add_bot(bot, bits=8)
        apply_endpoints(sandbox.api_base, sandbox.gateway_url)

    async def rages(self, until: int, subject: asyncio.Task[None], act: Callable[[], Awaitable[None]]) -> None:
        """Talk nonsense until so much was said; the subject must live on."""
        faults, nonsense, gateway = self.sandbox.faults, self.nonsense, self.sandbox.gateway
        faults.instead = nonsense.instead
        faults.spoil_frames(nonsense.frame)
        faults.spoil(nonsense.spoil_answer, count=10**9)
        while nonsense.count < until:
            if not gateway.refusals and not gateway.is_connected(self.bot.account):
                gateway.refusals.extend(nonsense.refusals())
            await self.ada.sends(self.general, f"<@{self.bot.id}> hello")
            await act()
            await asyncio.sleep(0.001)
            assert not subject.done(), subject
        faults.instead = None
        faults.spoil_frames(None)
        faults._spoilt.clear()
        gateway.refusals.clear()

    async def calms(self, subject: asyncio.Task[None], is_ready: Callable[[], bool]) -> None:
        """Wait until the subject is back with a new connection."""
        self.sandbox.world.clock = _Later(self.sandbox.world.clock)  # the day's 1,000 IDENTIFYs
        await self.sandbox.faults.drop_connections()
        async with asyncio.timeout(60):
            while not (self.sandbox.gateway.is_connected(self.bot.account) and is_ready()):
                assert not subject.done(), subject
                await asyncio.sleep(0.005)


class _Later:
    """A clock that is a day ahead of another."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def __call__(self) -> float:
        return self._clock() + 90_000.0


def _report(name: str, nonsense: Nonsense, turns: int, more: str) -> None:
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(nonsense.made.items()))
    print(f"\n{name}: {nonsense.count} nonsense answers, {turns} returns, 0 ends; {more}\n  {kinds}")


async def test_no_nonsense_ends_the_masters_connection(house: House, hasty: None) -> None:
    wanted = rounds(60)
    nonsense = Nonsense(SEED, 0.4)
    bot = house.sandbox.create_bot("Fleetmaster", privileged_intents=MESSAGE_CONTENT)
    ground = Ground(house.sandbox, bot, nonsense)
    connection = DiscordConnection(bot.token, house.services.settings.state_dir / "master-id")
    port, chance = connection.port, random.Random(SEED)  # noqa: S311
    connection._port._calls.timeout_s = 0.3
    refused = calls = turns = 0

    async def act() -> None:
        """Call Discord as services do: whatever the answer, it is an error that they know."""
        nonlocal refused, calls
        ref = MessageRef(ground.general.id, 1)
        plan = ChannelPlan(name="new")
        deeds: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: port.post(ground.general.id, Notice(text="x")),
            lambda: port.fetch_message(ref),
            lambda: port.messages_since(ground.general.id, limit=5),
            lambda: port.react(ref, "🎉"),
            lambda: port.reactors(ref, "🎉", limit=5),
            lambda: port.channels(ground.guild.id),
            lambda: port.create_channel(ground.guild.id, plan),
            lambda: port.roles_of(ground.guild.id, ground.ada.id),
            lambda: port.user_name(ground.ada.id),
            lambda: port.direct_message(ground.ada.id, Notice(text="x")),
        )
        calls += 1
        try:
            await chance.choice(deeds)()
        except DiscordPortError:
            refused += 1

    while nonsense.count < wanted:
        subject = asyncio.create_task(connection.run(house.operations))
        for _ in range(4):
            await ground.rages(min(nonsense.count + TURN, wanted), subject, act)
            await ground.calms(subject, lambda: connection.state() == "ready")
            turns += 1
        subject.cancel()
        assert (await asyncio.wait({subject}, timeout=10))[0]
    _report("the master's connection", nonsense, turns, f"{calls} calls, of which {refused} failed by name")
    assert refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cogs").mkdir()
    return tmp_path


async def test_no_nonsense_ends_a_nodes_bot(sandbox: Sandbox, folder: Path, hasty: None) -> None:
    wanted = rounds(60)
    nonsense = Nonsense(SEED + 1, 0.4)
    ground = Ground(sandbox, sandbox.create_bot("Atlas"), nonsense)
    turns = resumed = 0

    async def act() -> None:
        return None

    while nonsense.count < wanted:
        bot = HandshakeBot(intents=discord.Intents.default(), folder=folder, heartbeat_timeout=SILENCE_S)
        # As in a fleet: with the session of its predecessor, and recorded for its successor.
        session = GatewaySession(os.open(folder / "session", os.O_RDWR | os.O_CREAT, 0o600))
        resumption = Resumption(session)
        resumed += resumption.saved is not None
        keep_connected(bot)
        bot._enable_debug_events = True
        bot.on_socket_raw_receive = _recorder(resumption)  # type: ignore[attr-defined]

        async def run(bot: HandshakeBot = bot, resumption: Resumption = resumption) -> None:
            with resumption.answering(bot):
                await bot.login(ground.bot.token)
            resumption.begin(bot)
            await bot.connect()

        subject = asyncio.create_task(run())
        for _ in range(4):
            await ground.rages(min(nonsense.count + TURN, wanted), subject, act)
            await ground.calms(subject, bot.is_ready)
            turns += 1
        await bot.close()
        assert (await asyncio.wait({subject}, timeout=10))[0]
        assert subject.exception() is None
        session.close()
    _report("a node's bot", nonsense, turns, f"{resumed} successors with a session to resume")


def _recorder(resumption: Resumption) -> Callable[[str | bytes], Awaitable[None]]:
    async def on_socket_raw_receive(raw: str | bytes) -> None:
        resumption.take(raw)

    return on_socket_raw_receive
