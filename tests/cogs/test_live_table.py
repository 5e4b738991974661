"""Messages that follow the fleet: how often they are edited, and what they show in the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import discord
import pytest

from master.bus import EventBus
from master.cogs import _live_message
from master.cogs._fleet_page import PageState, render
from master.cogs._live_message import LiveMessage
from master.configuration.settings import ColourSettings, EmojiSettings
from master.events import GatewayConnected, GatewayLost, NodeReady
from master.operations import nodes
from master.operations.parameters import StatusParams
from tests.cogs.conftest import Scene
from tests.conftest import TurnableClock
from tests.services.conftest import OPERATOR, House, house, house_settings

__all__ = ["house", "house_settings"]


@dataclass
class Shown:
    """A message whose edits take as long as the test says; shows how many events there have been."""

    clock: TurnableClock
    bus: EventBus = field(default_factory=EventBus)
    happened: int = 0
    shown: list[int] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    goes_through: asyncio.Event = field(default_factory=asyncio.Event)
    edited: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    began: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    fails_with: Exception | None = None

    async def render(self, last: bool) -> int:
        return -self.happened if last else self.happened

    async def edit(self, content: int) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.began.put_nowait(content)
        await self.goes_through.wait()
        self.in_flight -= 1
        error, self.fails_with = self.fails_with, None
        if error is not None:
            raise error
        self.shown.append(content)
        self.edited.put_nowait(content)

    def happens(self, times: int) -> None:
        for _ in range(times):
            self.happened += 1
            self.bus.publish(NodeReady(at=self.clock.now(), node_id=str(self.happened)))


@pytest.fixture
def shown(clock: TurnableClock, monkeypatch: pytest.MonkeyPatch) -> Shown:
    monkeypatch.setattr(_live_message, "MIN_EDIT_INTERVAL_S", 0.05)
    monkeypatch.setattr(_live_message, "SETTLE_S", 0.01)
    return Shown(clock)


async def following(shown: Shown, *, live_s: float = 60.0) -> LiveMessage[int]:
    live = LiveMessage(shown.render, shown.edit, shown.bus, live_s=live_s)
    live.begin()
    # Its tasks begin before this one goes on.
    for _ in range(2):
        await asyncio.sleep(0)
    return live


async def test_500_events_are_few_edits_one_at_a_time_and_the_last_state_is_shown(shown: Shown) -> None:
    live = await following(shown)
    shown.happens(250)
    assert await shown.began.get() == 250
    # The edit is slow: what happens meanwhile waits, and is one edit.
    for _ in range(25):
        shown.happens(10)
        await asyncio.sleep(0)
    shown.goes_through.set()
    while await shown.edited.get() != 500:
        pass
    assert shown.shown == [250, 500]
    assert shown.most_in_flight == 1
    print(f"500 events: {live.edits} edits")
    await live.end()


async def test_edits_keep_their_distance(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_live_message, "MIN_EDIT_INTERVAL_S", 0.2)
    shown.goes_through.set()
    live, loop = await following(shown), asyncio.get_running_loop()
    began = loop.time()
    for _ in range(3):
        shown.happens(1)
        await shown.edited.get()
    assert loop.time() - began >= 0.6
    await live.end()


async def test_an_edit_that_fails_is_tried_again(shown: Shown) -> None:
    shown.goes_through.set()
    shown.fails_with = OSError("the line is down")
    live = await following(shown)
    shown.happens(3)
    assert await shown.edited.get() == 3
    assert live.is_live
    await live.end()


async def test_a_message_that_is_gone_is_not_edited_again(shown: Shown) -> None:
    class Gone:
        status, reason = 404, "Not Found"

    shown.goes_through.set()
    # discord.py takes an answer of requests too, where that is installed.
    answer: Any = Gone()
    shown.fails_with = discord.NotFound(answer, {"code": 10008, "message": "Unknown Message"})
    live = await following(shown)
    shown.happens(1)
    assert live._task is not None
    await live._task
    assert shown.shown == []


async def test_in_the_end_it_says_that_it_is_not_live_any_more(shown: Shown) -> None:
    shown.goes_through.set()
    live = await following(shown, live_s=0.05)
    assert live._task is not None
    await live._task
    shown.happens(1)
    assert shown.shown == [0]
    assert not live.is_live


async def test_an_edit_under_way_that_a_press_overtakes_is_followed_by_another(shown: Shown) -> None:
    live = await following(shown)
    shown.happens(1)
    await shown.began.get()
    # Discord shows what the press answered, and then the older edit arrives.
    live.prolong()
    shown.goes_through.set()
    assert [await shown.edited.get(), await shown.edited.get()] == [1, 1]
    await live.end()


async def test_runbots_edits_its_message_once_for_500_events(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_live_message, "MIN_EDIT_INTERVAL_S", 0.3)
    monkeypatch.setattr(_live_message, "SETTLE_S", 0.05)
    await scene.register("atlas")
    shown = await scene.runs("runbots")
    history = len(shown.history)
    for _ in range(5):
        scene.happens(100)
        await asyncio.sleep(0)
    await shown.wait_until(lambda i: len(i.history) > history)
    counted = {route: count for route, count in scene.sandbox.requests.items() if route.startswith("PATCH /webhooks")}
    print(f"500 events on the sandbox: {counted}")
    # The first shows the page.
    assert sum(counted.values()) == 2


async def test_the_page_says_since_when_the_master_is_offline(house: House) -> None:
    bus, at = house.services.bus, house.services.clock.now()

    async def embed() -> discord.Embed:
        status = await house.operations.run(nodes.status, OPERATOR, StatusParams())
        return render(EmojiSettings(), ColourSettings(), status, PageState())[0]

    bus.publish(GatewayLost(at=at, why="its API answers HTTP 503"))
    (told,) = (await embed()).fields
    assert told.name == "Offline"
    assert told.value == f"since <t:{int(at.timestamp())}:T> (<t:{int(at.timestamp())}:R>): its API answers HTTP 503"
    bus.publish(GatewayConnected(at=at))
    assert (await embed()).fields == []
