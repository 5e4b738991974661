"""Slash commands that cannot be registered: an alert, a line of the status, and tried again until they are."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import structs

from master.bot import registration as registration_module
from master.bot.connection import DiscordConnection
from master.configuration.settings import ChannelSettings
from master.demonstration.stage import Stage
from master.operations.operation import Operations
from master.services.container import DiscordView, Services
from master.services.core.registered_commands import load_record, load_registered
from master.terminal import summary_line
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, GuildHandle, Sandbox
from tests.services.conftest import open_house, settings_in

WAIT_S = 20.0


@dataclass
class Office:
    """The master's bot, in this process, with a LOG_CHANNEL on its server."""

    sandbox: Sandbox
    bot: BotHandle
    guild: GuildHandle
    log: ChannelHandle
    connection: DiscordConnection
    operations: Operations[Services]
    record_path: Path
    connecting: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self.connecting = asyncio.create_task(self.connection.run(self.operations))
        await self.sandbox.gateway.wait_connected(self.bot.account, timeout_s=WAIT_S)

    async def disconnect(self) -> None:
        if self.connecting is not None:
            self.connecting.cancel()
            await asyncio.gather(self.connecting, return_exceptions=True)

    async def said(self, title: str) -> str:
        message = await self.log.wait_for_message(
            lambda message: any(title == embed.get("title") for embed in message.embeds), timeout_s=WAIT_S
        )
        return str(message.embeds[0].get("description", ""))

    def at_discord(self) -> set[str]:
        return {command["name"] for command in self.sandbox.commands.of_scope(self.bot.id, self.guild.id)}


@pytest.fixture
async def office(
    tmp_path: Path, sandbox: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Office]:
    monkeypatch.setattr(registration_module, "RETRY_FIRST_S", 0.1)
    guild = sandbox.create_guild("HQ", sandbox.create_human("ada"))
    log, bot = guild.create_channel("fleet-log"), sandbox.create_bot("Fleetmaster")
    guild.add_bot(bot)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    settings = settings_in(tmp_path, sandbox, empty_ledger)
    identity = structs.replace(settings.identity, guild_id=guild.id)
    settings = structs.replace(settings, identity=identity, channels=ChannelSettings(log=log.id))
    connection = DiscordConnection(bot.token, tmp_path / "master-id")
    view = DiscordView(user_id=connection.user_id, state=connection.state, port=connection.port)
    async with open_house(settings, sandbox, view) as house:
        # What carries alerts to LOG_CHANNEL.
        posting = asyncio.create_task(house.services.outbox.run())
        operations = Operations(house.services)
        office = Office(sandbox, bot, guild, log, connection, operations, settings.registered_commands_path)
        yield office
        await office.disconnect()
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)


@pytest.mark.parametrize(
    ("status", "words", "hint"), [(403, "403", "scope=bot+applications.commands"), (0, "disconnected", "try again")]
)
async def test_a_failed_registration_is_an_alert_and_a_problem_until_it_succeeds(
    office: Office, status: int, words: str, hint: str
) -> None:
    if status:
        office.sandbox.faults.answer_next(status, count=3, method="PUT", path_contains="/commands")
    else:
        office.sandbox.faults.hang_up(count=6, method="PUT", path_contains="/commands")
    await office.connect()
    assert words in office.connection.commands_problem()
    assert hint in await office.said("The slash commands could not be registered")
    assert load_record(office.record_path) is None
    await office.said("The slash commands are registered again")
    assert office.connection.commands_problem() == ""
    assert office.at_discord() == set(load_registered(office.record_path)) > {"dupbot", "runbots"}
    titles = [embed["title"] for message in office.log.messages for embed in message.embeds]
    assert titles.count("The slash commands could not be registered") == 1


@pytest.mark.slow
async def test_what_has_not_changed_is_not_registered_again_and_what_discord_lost_is(office: Office) -> None:
    await office.connect()
    registered = office.at_discord()
    before = office.record_path.stat().st_mtime_ns
    await office.disconnect()
    await office.connect()
    assert office.record_path.stat().st_mtime_ns == before
    await office.disconnect()
    office.sandbox.commands.overwrite(office.bot.id, office.guild.id, [])
    await office.connect()
    assert office.at_discord() == registered


async def test_the_id_of_a_bot_whose_token_does_not_tell_it_is_learned_and_remembered(
    office: Office, tmp_path: Path
) -> None:
    office.sandbox.world.set_token(office.bot.account, "y" * 408)
    office.connection = DiscordConnection(office.bot.token, tmp_path / "master-id")
    assert office.connection.user_id() == 0
    await office.connect()
    assert office.connection.user_id() == office.bot.id
    assert DiscordConnection(office.bot.token, tmp_path / "master-id").user_id() == office.bot.id
    assert DiscordConnection("z" * 408, tmp_path / "master-id").user_id() == 0


@pytest.mark.slow
async def test_status_and_doctor_say_that_commands_are_not_registered(empty_ledger: Path) -> None:
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as stage:
        stage.sandbox.faults.answer_next(403, count=99, method="PUT", path_contains="/commands")
        await stage.start_master()
        async with asyncio.timeout(WAIT_S):
            while not (status := await stage.status()).master.commands:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
        assert "403" in status.master.commands
        assert "slash commands are not registered" in summary_line(status).plain
        findings = await asyncio.to_thread(_doctor, stage.home)
        assert findings["master's commands"]["verdict"] == "fail"
        assert (findings["server"]["verdict"], findings["channel LOG"]["verdict"]) == ("ok", "ok")


def _doctor(home: Path) -> dict[str, dict[str, str]]:
    command = [sys.executable, "-m", "master.cli", "doctor", "--json", "--home", str(home)]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=60, env={**os.environ}, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return {finding["what"]: finding for finding in json.loads(done.stdout)}
