"""The master's bot: what a defect in one of its parts leaves standing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import discord

from master.bot.client import MasterBot
from tests.services.conftest import House


class Asked:
    """A command's interaction, which keeps its answer."""

    type = discord.InteractionType.application_command
    command = None
    data: ClassVar[dict[str, str]] = {"name": "gone"}
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
