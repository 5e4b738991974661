"""The master's bot: what a defect in one of its parts leaves standing."""

from __future__ import annotations

from types import SimpleNamespace

import discord
import pytest

from master.bot.client import MasterBot
from tests.services.conftest import House


async def test_a_broken_cog_costs_its_own_commands_alone(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async with MasterBot(house.operations) as bot:
        await bot.load_cogs(["tests.bot.broken_cog", "tests.bot.no_such_cog", "master.cogs.fleet"])
        assert bot.tree.get_command("fleet") is not None
    said = [(record.message, record.__dict__["cog"]) for record in caplog.records if record.exc_info]
    assert sorted(said) == [
        ("cog could not be loaded", "tests.bot.broken_cog"),
        ("cog could not be loaded", "tests.bot.no_such_cog"),
    ]


class Asked:
    """A command's interaction, which keeps its answer."""

    type = discord.InteractionType.application_command
    command = None
    guild_id = 1
    channel = None

    def __init__(self, client: MasterBot) -> None:
        self.client = client
        self.user = SimpleNamespace(id=7, display_name="ada")
        self.response = self
        self.said: list[tuple[str, bool]] = []

    def is_done(self) -> bool:
        return False

    async def send_message(self, *, embed: discord.Embed, view: object, ephemeral: bool) -> None:
        self.said.append((f"{embed.title}", ephemeral))


async def test_a_command_that_is_no_longer_there_is_answered(house: House) -> None:
    async with MasterBot(house.operations) as bot:
        asked = Asked(bot)
        assert not await bot.tree.interaction_check(asked)  # type: ignore[arg-type]
    ((title, ephemeral),) = asked.said
    assert "This command is no longer there" in title
    assert ephemeral
