"""LOG_CHANNEL, from an alert of the services to the message, through a bad day on Discord."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from msgspec import structs

from master.bot import connection as connection_module
from master.bot.connection import DiscordConnection
from master.configuration.settings import ChannelSettings
from master.events import AlertLevel
from master.operations.operation import Operations
from master.services.container import Services
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, Message, Sandbox
from tests.services.conftest import open_house, settings_in

WAIT_S = 20.0


@dataclass
class Office:
    """The master's services and its bot, in this process, with a LOG_CHANNEL."""

    sandbox: Sandbox
    bot: BotHandle
    log: ChannelHandle
    services: Services
    connection: DiscordConnection
    connecting: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self.connecting = asyncio.create_task(self.connection.run(Operations(self.services)))
        await self.sandbox.gateway.wait_connected(self.bot.account, timeout_s=WAIT_S)

    def alert(self, title: str, **extra: object) -> None:
        self.services.alerts.raise_alert(AlertLevel.ERROR, title, key=title, **extra)  # type: ignore[arg-type]

    async def shown(self, title: str) -> Message:
        return await self.log.wait_for_message(
            lambda message: any(title == embed.get("title") for embed in message.embeds), timeout_s=WAIT_S
        )

    def titles(self) -> list[str]:
        return [embed["title"] for message in self.log.messages for embed in message.embeds]


@pytest.fixture
async def office(
    tmp_path: Path, sandbox: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Office]:
    monkeypatch.setattr(connection_module, "RETRY_FIRST_S", 0.05)
    guild = sandbox.create_guild("HQ", sandbox.create_human("ada"))
    log = guild.create_channel("fleet-log")
    bot = sandbox.create_bot("Fleetmaster")
    guild.add_bot(bot)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    settings = structs.replace(settings_in(tmp_path, sandbox, empty_ledger), channels=ChannelSettings(log=log.id))
    async with open_house(settings, sandbox) as house:
        connection = DiscordConnection(bot.token, tmp_path / "master-id")
        services = replace(house.services, discord=connection.port)
        office = Office(sandbox, bot, log, services, connection)
        try:
            yield office
        finally:
            if office.connecting is not None:
                office.connecting.cancel()
                await asyncio.gather(office.connecting, return_exceptions=True)


async def test_an_alert_is_posted_with_its_colour_and_fields(office: Office) -> None:
    await office.connect()
    office.alert("atlas died", text="signal 9", fields=(("node", "atlas"), ("empty", "")))
    (embed,) = (await office.shown("atlas died")).embeds
    assert embed["description"] == "signal 9"
    assert embed["color"] == office.services.settings.colours.error
    assert [(field["name"], field["value"]) for field in embed["fields"]] == [("node", "atlas"), ("empty", "-")]


async def test_posting_goes_on_after_hang_ups_refusals_and_alerts_that_cannot_be_rendered(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    await office.connect()
    office.sandbox.faults.hang_up(count=3, method="POST", path_contains=f"/channels/{office.log.id}/messages")
    with caplog.at_level(logging.WARNING):
        office.alert("lost")
        office.alert("broken", fields=(("a name without its value",),))
        office.alert("after the hang-up")
        await office.shown("after the hang-up")
    lost = [record for record in caplog.records if record.message == "an alert could not be posted"]
    assert [getattr(record, "title") for record in lost] == ["lost", "broken"]  # noqa: B009
    assert [record.exc_info is not None for record in lost] == [False, True]
    assert office.titles() == ["after the hang-up"]


async def test_a_short_hang_up_loses_and_doubles_nothing(office: Office) -> None:
    await office.connect()
    office.sandbox.faults.hang_up(method="POST", path_contains="/messages", carried_out=True)
    office.alert("once")
    office.alert("then this")
    await office.shown("then this")
    assert office.titles() == ["once", "then this"]


async def test_a_server_that_hangs_up_at_login_is_tried_again(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    # aiohttp's ServerDisconnectedError is no OSError: caught as one, it would end the master.
    office.sandbox.faults.hang_up(count=3, path_contains="/users/@me")
    await office.connect()
    assert office.connecting is not None
    assert not office.connecting.done()
    assert any(record.message == "Discord cannot be reached" for record in caplog.records)
