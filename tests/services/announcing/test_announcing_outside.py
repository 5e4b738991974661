"""One attempt at a place outside Discord, in its child process: what is sent, and what is understood of the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from master.services.announcing.outcomes import Fate, Outcome
from master.services.announcing.outside import Outside
from tests.services.announcing.places import Town, hangs_up, mail_server, stalls, status, town

STATUSES, HOOK, TOPIC, ARTICLES = "/api/v1/statuses", "/hook", "/", "/api/articles"
ENVIRONMENT: dict[str, str] = {"PATH": "/usr/bin", "MASTER_SECRET": "not for a child"}


@pytest.fixture
async def places() -> AsyncIterator[Town]:
    async with town() as opened:
        yield opened


async def sent(places: Town, *schemes: str, timeout_s: float = 60.0) -> list[Outcome]:
    """Send to several places at once."""
    outside = Outside(ENVIRONMENT, timeout_s=timeout_s)
    return list(
        await asyncio.gather(*(outside.send(places.url(scheme), "News", "hi @all", "key-1") for scheme in schemes))
    )


async def test_each_place_gets_it_in_its_shape_and_says_where_it_is(places: Town) -> None:
    mastodon, ntfy, devto = await sent(places, "mastodon", "ntfy", "devto")
    assert (mastodon.fate, ntfy.fate, devto.fate) == (Fate.SENT,) * 3, (mastodon, ntfy, devto)
    assert mastodon.url == "https://example.social/@fleet/1"
    assert devto.url == "https://dev.to/fleet/news-7"
    status_ = places.at(STATUSES)[0]
    assert status_.headers["Authorization"] == "Bearer s3cret-token"
    assert status_.headers["Idempotency-Key"] == "key-1"
    assert json.loads(status_.body)["status"] == "News\n\nhi @\u200ball"
    article = json.loads(places.at(ARTICLES)[0].body)["article"]
    assert (article["title"], article["published"]) == ("News", True)
    assert json.loads(places.at(TOPIC)[0].body)["title"] == "News"


async def test_what_is_asked_for_later_what_is_refused_and_what_is_not_known(places: Town) -> None:
    places.answers = {
        STATUSES: [status(429, Retry_After="77")],
        HOOK: [status(500), status(404), hangs_up],
        ARTICLES: [status(422)],
    }
    limited, broken, refused = await sent(places, "mastodon", "json", "devto")
    assert limited == Outcome(fate=Fate.AWAY, detail="HTTP 429 Too Many Requests", retry_after_s=77.0)
    assert (broken.fate, broken.detail) == (Fate.AWAY, "HTTP 500 Internal Server Error")
    assert (refused.fate, refused.detail) == (Fate.REFUSED, "HTTP 422 Unprocessable Entity")
    (gone,) = await sent(places, "json")
    (broke,) = await sent(places, "json")
    assert (gone.fate, gone.detail) == (Fate.REFUSED, "HTTP 404 Not Found")
    assert broke.fate is Fate.UNKNOWN


async def test_a_redirect_is_not_followed(places: Town) -> None:
    there = f"http://127.0.0.1:{places.port}/inside"
    places.answers = {HOOK: [status(302, Location=there)], ARTICLES: [status(301, Location=there)]}
    hook, article = await sent(places, "json", "devto")
    assert (hook.fate, hook.detail) == (
        Fate.REFUSED,
        "HTTP 302 Found: it redirects to 127.0.0.1, which is not followed",
    )
    assert article.fate is Fate.REFUSED
    assert places.at("/inside") == []


@pytest.mark.slow
async def test_the_address_is_in_no_argument_and_no_environment_and_a_child_that_stalls_is_ended(places: Town) -> None:
    seen: list[str] = []

    def look(request: web.Request) -> Any:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                cmdline = (process / "cmdline").read_bytes()
                if b"announcing.child" in cmdline:
                    seen.append((cmdline + (process / "environ").read_bytes()).decode(errors="replace"))
            except OSError:
                continue
        return stalls(request)

    places.answers = {STATUSES: [look]}
    (outcome,) = await sent(places, "mastodon", timeout_s=15.0)
    assert outcome.fate is Fate.UNKNOWN, outcome
    assert seen
    assert not any("s3cret" in text or "not for a child" in text for text in seen)


async def test_what_is_no_address_or_not_there_says_so(places: Town) -> None:
    outside = Outside(ENVIRONMENT)
    known = await outside.know([places.url("mastodon"), "nonsense://x", places.url("devto")])
    assert [one.limits.text if one.limits is not None else one.detail for one in known] == [
        500,
        "apprise does not know such an address",
        0,
    ]
    nowhere, closed = await asyncio.gather(
        outside.send("nonsense://x", "", "hi", ""), outside.send("json://127.0.0.1:9/x", "", "hi", "")
    )
    assert nowhere.fate is Fate.REFUSED
    assert (closed.fate, closed.detail) == (Fate.AWAY, "the connection was refused")


async def test_a_mail_is_sent_and_one_whose_end_is_not_known_is_not_called_away() -> None:
    async with mail_server() as (port, mails):
        url = f"mailto://127.0.0.1:{port}?from=fleet@example.org&to=all@example.org&mode=insecure"
        outside = Outside(ENVIRONMENT)
        taken = await outside.send(url, "News", "hello", "k")
        assert taken.fate is Fate.SENT, taken
        assert mails.taken[0].rcpt_tos == ["all@example.org"]
        assert b"News" in (mails.taken[0].content or b"")
        mails.drops = True
        dropped = await outside.send(url, "News", "again", "k")
        assert dropped.fate is Fate.UNKNOWN, dropped
    away = await outside.send(url, "News", "again", "k")
    assert away.fate is Fate.AWAY, away
