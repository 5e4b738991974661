"""Announcements are sent at their time, to each place by itself, again where it failed, and nowhere twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from master.configuration.settings import Settings
from master.ledger.rows import announcements as rows
from master.services.announcing.announcements import Draft
from master.services.announcing.errors import AnnouncementRefused
from master.services.core.announcement_views import AnnouncementRow
from sandbox import Sandbox
from tests.services.announcing.announcing_house import AnnouncingHouse, announcing_house
from tests.services.announcing.places import hangs_up, status
from tests.services.conftest import house_settings

__all__ = ["house_settings"]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def at(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[AnnouncingHouse]:
    async with announcing_house(house_settings, sandbox) as opened:
        yield opened


async def test_every_place_gets_it_and_tells_where_it_is(at: AnnouncingHouse) -> None:
    at.begins()
    row = await at.announces("news", "forum", "mastodon", title="Release", text="Out now, <@1> @everyone")
    assert row.state == "sent", row
    states = {one.place: (one.state, one.url) for one in row.places}
    posted = at.news.messages[0]
    assert states["news"] == (
        "sent",
        f"https://discord.com/channels/{at.news.channel.guild_id}/{at.news.id}/{posted.id}",
    )
    assert posted.content.replace("\u200b", "") == "Release\n\nOut now, <@1> @everyone"
    assert (posted.mentions, posted.mention_everyone) == ([], False)
    assert [post.name for post in at.posts] == ["Release"]
    assert states["forum"][1].endswith(f"/{at.posts[0].id}")
    assert states["mastodon"] == ("sent", "https://example.social/@fleet/1")


@pytest.mark.slow
async def test_a_place_that_is_away_is_tried_again_and_one_that_refuses_is_not(at: AnnouncingHouse) -> None:
    at.town.answers["/hook"] = [status(500), status(503)]
    at.town.answers["/api/articles"] = [status(401)]
    at.begins()
    row = await at.announces("json", "devto", "gone", "empty")
    states = {one.place: one for one in row.places}
    assert (states["devto"].state, states["devto"].detail) == ("given_up", "HTTP 401 Unauthorized")
    assert "10003" in states["gone"].detail or "not" in states["gone"].detail
    assert states["empty"].detail == "it has no CHANNEL_ID, and .env no ANNOUNCE_EMPTY"
    sent = await at.until(row.id, "json", "sent")
    assert sent.attempts == 3
    assert len(at.town.at("/hook")) == 3
    assert {alert.title for alert in at.alerts} == {
        f"An announcement did not reach {place}" for place in ("devto", "gone", "empty")
    }
    again = await at.announcing.announcements.resend(row.id[:-1], ["devto"])
    await at.until(again.id, "devto", "sent")


@pytest.mark.slow
async def test_a_place_that_never_comes_back_is_given_up(at: AnnouncingHouse) -> None:
    at.town.answers["/hook"] = [status(500)] * 9
    at.begins()
    row = await at.announces("json")
    found = await at.until(row.id, "json", "given_up")
    assert (found.attempts, found.detail) == (4, "HTTP 500 Internal Server Error")

    async def ended() -> AnnouncementRow | None:
        now = await at.announcing.announcements.row(row.id)
        return now if now.state != "sending" else None

    over = await at.seen(ended)
    assert (over.state, over.detail) == ("failed", "not at json")


async def test_what_may_have_arrived_is_asked_about_and_repeated_only_where_nothing_doubles(
    at: AnnouncingHouse,
) -> None:
    at.town.answers["/hook"] = [hangs_up]
    at.town.answers["/api/v1/statuses"] = [hangs_up]
    at.begins()
    row = await at.announces("json", "mastodon")
    await at.until(row.id, "json", "asked")
    await at.until(row.id, "mastodon", "sent")
    assert len(at.town.at("/hook")) == 1
    assert len({one.headers["Idempotency-Key"] for one in at.town.at("/api/v1/statuses")}) == 1
    assert [alert.title for alert in at.alerts] == ["Did an announcement reach json?"]


async def test_a_master_killed_midway_sends_what_is_left_and_doubles_nothing(at: AnnouncingHouse) -> None:
    """It was killed after Discord had both, and while the webhook was asked; Mastodon was not begun."""
    row = await at.announces_nothing_yet("news", "forum", "json", "mastodon")
    await at.posts_as_the_killed_one(row)
    at.begins()
    for place, state in (("news", "sent"), ("forum", "sent"), ("mastodon", "sent"), ("json", "asked")):
        await at.until(row.id, place, state)
    assert (len(at.news.messages), len(at.posts)) == (1, 1)
    assert (len(at.town.at("/hook")), len(at.town.at("/api/v1/statuses"))) == (0, 1)


@pytest.mark.slow
async def test_discord_away_for_a_while_costs_nothing_and_doubles_nothing(at: AnnouncingHouse) -> None:
    at.sandbox.faults.hang_up(path_contains="/threads", carried_out=True)
    at.sandbox.faults.answer_next(500, count=3, path_contains="/messages")
    at.begins()
    row = await at.announces("news", "forum")
    await asyncio.gather(at.until(row.id, "news", "sent"), at.until(row.id, "forum", "sent"))
    assert (len(at.news.messages), len(at.posts)) == (1, 1)


async def test_a_time_and_a_schedule_are_kept_and_long_missed_ones_are_not_made_up(at: AnnouncingHouse) -> None:
    now = at.clock.now()
    at.begins()
    once = await at.announces("news", text="once", at=now + timedelta(hours=2))
    weekly = await at.announces("news", text="weekly", every="0 18 * * 5")
    assert (once.state, weekly.state, at.news.messages) == ("scheduled", "scheduled", [])
    at.clock.ahead = timedelta(hours=2, seconds=1)
    at.announcing.sender.look_again()
    await at.until(once.id, "news", "sent")
    at.clock.ahead = timedelta(seconds=weekly.due_at - now.timestamp() + 1)
    at.announcing.sender.look_again()

    async def made() -> AnnouncementRow | None:
        return next((one for one in await at.announcing.announcements.listing() if one.parent_id), None)

    await at.until((await at.seen(made)).id, "news", "sent")
    assert [message.content for message in at.news.messages] == ["once", "weekly"]
    parent = await at.announcing.announcements.row(weekly.id)
    assert parent.due_at == weekly.due_at + 7 * 86_400
    at.clock.ahead += timedelta(days=8)
    at.announcing.sender.look_again()

    async def next_time() -> bool | None:
        return (await at.announcing.announcements.row(weekly.id)).due_at > parent.due_at or None

    assert await at.seen(next_time)
    assert len(at.news.messages) == 2, "a day late is not made up"
    cancelled = await at.announcing.announcements.cancel(weekly.id)
    assert cancelled.state == "cancelled"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"text": " "}, "needs a text"),
    ({"text": "x" * 10_001}, "too long"),
    ({"places": ("nowhere",)}, "no place nowhere"),
    ({"places": ()}, "no place is named"),
    ({"every": "* * * * *"}, "every five minutes"),
    ({"every": "nonsense"}, "is no schedule"),
]


async def test_what_cannot_be_announced_is_refused_before_anything_is_written(at: AnnouncingHouse) -> None:
    for draft, said in REFUSED:
        fields: dict[str, Any] = {"places": ("news",), **draft}
        places = fields.pop("places")
        with pytest.raises(AnnouncementRefused, match=said):
            await at.announces(*places, **fields)
    with pytest.raises(AnnouncementRefused, match="over"):
        await at.announces("news", at=at.clock.now() - timedelta(seconds=1))
    assert await at.house.services.ledger.read(lambda c: rows.recent(c, limit=5)) == []


async def test_a_preview_shows_what_is_cut_and_sends_nothing(at: AnnouncingHouse) -> None:
    found = await at.announcing.announcements.preview(Draft(text="x" * 3000, everywhere=True))
    cut = {one.place: one.cut or one.problem[:12] for one in found.places}
    assert (cut["mastodon"], cut["news"], cut["ntfy"], cut["devto"]) == (2501, 1001, "", "")
    assert (cut["empty"], bool(cut["gone"])) == ("it has no CH", True)
    assert (at.town.came, at.news.messages) == ([], [])
