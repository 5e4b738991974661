"""A place that announcements go to answers with whatever it likes. Each test here failed once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from master.configuration.settings import Settings
from sandbox import Sandbox
from tests.cogs.test_announce import Counter, counter
from tests.services.announcing.announcing_house import AnnouncingHouse, announcing_house
from tests.services.announcing.places import status
from tests.services.conftest import house_settings

__all__ = ["counter", "house_settings"]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def at(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[AnnouncingHouse]:
    async with announcing_house(house_settings, sandbox) as opened:
        yield opened


async def test_a_place_that_asks_for_patience_for_ever_stops_no_other_announcement(at: AnnouncingHouse) -> None:
    """A number that is no time ended the sender, and with it every announcement."""
    at.town.answers["/api/articles"] = [status(429, Retry_After="9" * 20)]
    at.begins()
    row = await at.announces("devto")
    (place,) = row.places
    assert (place.state, place.detail) == ("waiting", "HTTP 429 Too Many Requests")
    assert place.next_at is not None
    assert place.next_at - row.at < 100_000
    assert (await at.announces("news")).state == "sent"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://a.example/ [Log in](https://evil.example)", "https://a.example/\n# Big"]
)
async def test_what_a_place_says_it_made_is_a_link_or_nothing(at: AnnouncingHouse, url: str) -> None:
    at.town.answers["/api/articles"] = [lambda _request: web.json_response({"id": 7, "url": url}, status=201)]
    at.begins()
    row = await at.announces("devto")
    assert [(one.state, one.url) for one in row.places] == [("sent", "")]


async def test_two_presses_at_once_send_once(counter: Counter) -> None:
    shown = await counter.fills("news", Title="", Text="Once")
    pressed = await asyncio.gather(*(counter.ada.presses(shown, "Send") for _ in range(5)))
    for one in pressed:
        await one.wait_until(lambda i: bool(i.embeds), timeout_s=30)
    assert [message.content for message in counter.news.messages] == ["Once"]
