"""The live table of /runbots: how often it is edited, and what it says without Discord."""

from __future__ import annotations

import asyncio
from typing import Any

import discord
import pytest

from master.bot.embeds import node_line
from master.cogs import bot_manager
from master.configuration.settings import EmojiSettings
from master.events import GatewayConnected, GatewayLost, NodeReady
from master.services.core.views import NodeStatus
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


async def test_the_table_says_since_when_the_master_is_offline(house: House) -> None:
    bus, table = house.services.bus, bot_manager.FleetTable(house.operations, OPERATOR)
    at = house.services.clock.now()
    bus.publish(GatewayLost(at=at, why="its API answers HTTP 503"))
    (field,) = (await table.embed()).fields
    assert field.name == "Offline"
    assert field.value == f"since <t:{int(at.timestamp())}:T> (<t:{int(at.timestamp())}:R>): its API answers HTTP 503"
    bus.publish(GatewayConnected(at=at))
    assert (await table.embed()).fields == []


def test_a_line_says_since_when_its_node_is_offline() -> None:
    node = NodeStatus(
        id="1",
        name="atlas",
        state="offline",
        desired="running",
        readiness="handshake",
        folder="atlas",
        bot_user_id="1",
        offline_since=1_795_342_316.9,
    )
    line = node_line(EmojiSettings(), node)
    assert line.startswith(EmojiSettings().degraded)
    assert line.endswith("offline since <t:1795342316:t>")
