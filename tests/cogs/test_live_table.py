"""The live table of /runbots: how often it is edited."""

from __future__ import annotations

import asyncio
from typing import Any

import discord
import pytest

from master.cogs import bot_manager
from master.events import NodeReady
from tests.services.conftest import OPERATOR, House, house, house_settings

__all__ = ["house", "house_settings"]


class Shown:
    """The message of a table; counts its edits."""

    def __init__(self) -> None:
        self.edits: asyncio.Queue[discord.Embed] = asyncio.Queue()

    async def edit(self, *, embed: discord.Embed, view: Any) -> None:
        self.edits.put_nowait(embed)


async def test_many_events_of_one_moment_are_one_edit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot_manager, "MIN_EDIT_INTERVAL_S", 0)
    bus, shown = house.services.bus, Shown()
    table = bot_manager.FleetTable(house.operations, OPERATOR)
    table.watch(shown)  # type: ignore[arg-type]
    # Its task begins before this one goes on.
    await asyncio.sleep(0)
    for moment in range(2):
        for number in range(100):
            bus.publish(NodeReady(at=house.services.clock.now(), node_id=f"{moment}{number}"))
        await shown.edits.get()
    assert shown.edits.empty()
    await table.on_timeout()
