"""LOG_CHANNEL, from an alert of the services to the message, through a bad day on Discord and a restarted master."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import structs

from master.bot import connection as connection_module
from master.bot.connection import DiscordConnection
from master.configuration.settings import ChannelSettings, Settings
from master.events import AlertLevel, MessageRefused, NodeMissing
from master.operations.operation import Operations
from master.services.container import DiscordView, Services
from master.services.core import alert_limiter, alert_outbox
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


@dataclass
class Building:
    """What outlives a master: its settings with their state folder, its bot, its channel."""

    sandbox: Sandbox
    settings: Settings
    bot: BotHandle
    log: ChannelHandle

    @asynccontextmanager
    async def office(self) -> AsyncIterator[Office]:
        connection = DiscordConnection(self.bot.token, self.settings.state_dir / "master-id")
        view = DiscordView(user_id=connection.user_id, state=connection.state, port=connection.port)
        async with open_house(self.settings, self.sandbox, view) as house:
            saving = asyncio.create_task(house.services.outbox.run())
            await asyncio.sleep(0)  # let it begin
            office = Office(self.sandbox, self.bot, self.log, house.services, connection)
            try:
                yield office
            finally:
                tasks = [task for task in (office.connecting, saving) if task is not None]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def building(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Building:
    monkeypatch.setattr(connection_module, "RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(alert_outbox, "FIRST_RETRY_S", 0.05)
    guild = sandbox.create_guild("HQ", sandbox.create_human("ada"))
    log = guild.create_channel("fleet-log")
    bot = sandbox.create_bot("Fleetmaster")
    guild.add_bot(bot)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    settings = structs.replace(settings_in(tmp_path, sandbox, empty_ledger), channels=ChannelSettings(log=log.id))
    return Building(sandbox, settings, bot, log)


@pytest.fixture
async def office(building: Building) -> AsyncIterator[Office]:
    async with building.office() as office:
        yield office


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
        office.alert("first")
        office.alert("broken", fields=(("a name without its value",),))
        office.alert("after the hang-up")
        await office.shown("after the hang-up")
    lost = [record for record in caplog.records if record.message == "an alert could not be posted"]
    assert [getattr(record, "title") for record in lost] == ["broken"]  # noqa: B009
    # The hang-ups outlasted every attempt of one post, and the alert waited.
    assert any(record.message == "alerts wait for Discord" for record in caplog.records)
    assert office.titles() == ["first", "after the hang-up"]


async def test_a_short_hang_up_loses_and_doubles_nothing(office: Office) -> None:
    await office.connect()
    office.sandbox.faults.hang_up(method="POST", path_contains="/messages", carried_out=True)
    office.alert("once")
    office.alert("then this")
    await office.shown("then this")
    assert office.titles() == ["once", "then this"]


async def test_a_server_that_hangs_up_at_login_is_tried_again(office: Office) -> None:
    # aiohttp's ServerDisconnectedError is no OSError: caught as one, it would end the master.
    office.sandbox.faults.hang_up(count=3, path_contains="/users/@me")
    await office.connect()
    assert office.connecting is not None
    assert not office.connecting.done()


async def test_alerts_of_an_outage_survive_the_masters_restart_and_come_together(building: Building) -> None:
    async with building.office() as office:
        office.services.bus.publish(
            NodeMissing(at=office.services.clock.now(), node_id="atlas", detail="no such folder")
        )
        for number in range(5):
            office.alert(f"trouble {number}")
        office.services.bus.publish(
            MessageRefused(at=office.services.clock.now(), node_id=None, reason="bad_signature", transport="channel")
        )
        assert len(office.services.outbox) == 7
    assert building.settings.outbox_path.stat().st_mode & 0o777 == 0o600
    async with building.office() as office:
        assert office.titles() == []
        await office.connect()
        (embed,) = (await office.shown("7 alerts from the time without Discord")).embeds
        lines = embed["description"].splitlines()
        assert "A message was refused" in lines[0]  # about security, although it came last
        assert "atlas has lost its folder" in lines[1]
        assert "no such folder" in lines[1]
        assert len(lines) == 7
        # What comes now comes by itself again.
        office.alert("after it")
        await office.shown("after it")
        async with asyncio.timeout(WAIT_S):
            while len(office.services.outbox):  # noqa: ASYNC110 - the message is there before its sender knows
                await asyncio.sleep(0.01)
    assert not building.settings.outbox_path.exists()


async def test_one_node_that_floods_hides_neither_forgeries_nor_other_nodes(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = office.services
    # Five messages: Discord has more wait.
    monkeypatch.setattr(alert_limiter, "EACH_NODE", 2)
    for number in range(60):
        services.alerts.raise_alert(AlertLevel.ERROR, f"noisy {number}", key=f"error:{number}", node="noisy")
    services.alerts.raise_alert(AlertLevel.ERROR, "atlas is quarantined", key="quarantined:atlas", node="atlas")
    services.alerts.raise_alert(AlertLevel.ERROR, "forged atlas", key="refused:atlas", node="atlas", is_security=True)
    services.alerts.raise_alert(AlertLevel.ERROR, "forged noisy", key="refused:noisy", node="noisy", is_security=True)
    await office.connect()
    await office.shown("atlas is quarantined")
    assert office.titles() == ["forged atlas", "forged noisy", "noisy 0", "noisy 1", "atlas is quarantined"]
