"""The master's bot: what a defect in one of its parts leaves standing."""

from __future__ import annotations

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
