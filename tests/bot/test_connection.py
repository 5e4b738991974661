"""The master's connection to Discord: what never ends it, and what does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import discord
import pytest

import master.bot.connection as connecting
import nodekit.connection_keeper as keeping
from master.bot.client import MasterBot
from master.bot.connection import DiscordConnection
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, Sandbox
from sandbox.intents import MESSAGE_CONTENT
from tests.services.conftest import House


@dataclass
class Line:
    """The connection of a master, not yet begun."""

    house: House
    bot: BotHandle
    connection: DiscordConnection
    task: asyncio.Task[None] | None = None

    @property
    def sandbox(self) -> Sandbox:
        return self.house.sandbox

    def begin(self) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self.connection.run(self.house.operations))
        return self.task

    async def is_ready(self) -> None:
        async with asyncio.timeout(10):
            while self.connection.state() != "ready":  # noqa: ASYNC110 - the connection tells nobody
                await asyncio.sleep(0)


async def _at_once(*_: object, **__: object) -> None:
    """Do not wait five seconds before another IDENTIFY."""


@pytest.fixture
async def line(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    for module, name in (
        (keeping, "FIRST_PAUSE_S"),
        (keeping, "LAST_PAUSE_S"),
        (connecting, "RETRY_FIRST_S"),
        (connecting, "RETRY_CAP_S"),
    ):
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(discord.Client, "before_identify_hook", _at_once)
    bot = house.sandbox.create_bot("Fleetmaster", privileged_intents=MESSAGE_CONTENT)
    house.sandbox.create_guild("HQ", house.sandbox.create_human("ada")).add_bot(bot)
    apply_endpoints(house.sandbox.api_base, house.sandbox.gateway_url)
    made = Line(house, bot, DiscordConnection(bot.token, house.services.settings.state_dir / "master-id"))
    yield made
    if made.task is not None:
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)


@pytest.mark.parametrize("code", [1000, 4000, 4009, 4010, 4011, 4012, 4013])
@pytest.mark.slow
async def test_no_close_code_but_a_refusal_ends_it(line: Line, code: int) -> None:
    line.sandbox.faults.refuse_identify(line.bot.account, code, count=2)
    task = line.begin()
    await line.is_ready()
    assert not task.done()


@pytest.mark.parametrize(("code", "why"), [(4004, "token"), (4014, "MESSAGE CONTENT")])
async def test_a_refusal_is_final_and_said_and_not_an_error(line: Line, code: int, why: str) -> None:
    line.sandbox.faults.refuse_identify(line.bot.account, code)
    await asyncio.wait_for(line.begin(), 10)
    assert why in line.connection.state()
    assert line.connection.state().startswith("refused: ")
    assert why in line.connection.why_offline()


async def test_an_error_of_its_own_set_up_begins_it_anew(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up, failed = MasterBot.setup_hook, 0

    async def fail_once(self: MasterBot) -> None:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise KeyError("nobody expected that")
        await set_up(self)

    monkeypatch.setattr(MasterBot, "setup_hook", fail_once)
    line.begin()
    await line.is_ready()
    assert failed == 2


async def test_it_says_that_it_is_offline_while_it_is(line: Line) -> None:
    assert line.connection.offline_s() is not None
    line.begin()
    await line.is_ready()
    assert line.connection.offline_s() is None
    async with line.sandbox.faults.outage():
        async with asyncio.timeout(10):
            while not line.connection.why_offline():  # noqa: ASYNC110 - the connection tells nobody
                await asyncio.sleep(0)
        assert line.connection.offline_s() is not None
        assert line.connection.state() != "ready"
    await line.is_ready()
    assert line.connection.why_offline() == ""
    # The session went on.
    assert line.sandbox.gateway.identifies[line.bot.id] == 1


async def test_cancelling_it_in_an_outage_ends_it_at_once(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    task = line.begin()
    await line.is_ready()
    monkeypatch.setattr(keeping, "FIRST_PAUSE_S", 60.0)
    monkeypatch.setattr(keeping, "LAST_PAUSE_S", 60.0)
    async with line.sandbox.faults.outage():
        async with asyncio.timeout(10):
            while not line.connection.why_offline():  # noqa: ASYNC110 - the connection tells nobody
                await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done
