"""Attacks on the ticket cog of the template, through real processes: long forms, thousands of long messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import discord
import pytest
from aiohttp import web

from nodekit import transcripts
from nodekit.transcripts import Entry, render
from tests.child_template.ticket_scene import answered, buttons, field, scene
from tests.hostile.effort import rounds

pytestmark = pytest.mark.timeout(180)
LONG = tuple(f"Question {number}?" for number in range(5))


@pytest.mark.slow
async def test_the_longest_form_topic_and_reason_fit_into_a_tickets_message(empty_ledger: Path) -> None:
    """Discord takes 6,000 characters in an embed; what it refuses would leave a closed ticket looking open."""
    async with scene(empty_ledger, questions=LONG) as up:
        channel = await up.open(up.ann, await up.panel(), dict.fromkeys(LONG, "*" * 1_000))
        greeting = await up.greeting(channel)
        assert field(greeting, LONG[4]).endswith("…")
        topic = await answered(await up.sam.runs_command(channel, up.node, "ticket topic", {"text": "*" * 200}))
        assert topic.content
        form = await up.press(up.sam, greeting, "Close")
        await answered(await up.sam.submits_modal(form, {"answer0": "*" * 400}))
        greeting = await up.greeting(channel, lambda m: buttons(m) == ["Reopen", "Delete"])
        assert field(greeting, "Closed").startswith("\\*" * 400)


@pytest.mark.slow
async def test_thousands_of_long_messages_stop_no_nodes_heart(empty_ledger: Path) -> None:
    async with scene(empty_ledger) as up:
        channel = await up.open(up.ann, await up.panel())
        greeting = await up.greeting(channel)
        pid = (await up.stage.node("atlas")).pid
        count = rounds(2_000)
        for number in range(count):
            await up.ann.sends(channel, f"{number} <script>\u202e".ljust(2_000, "y"))
        form = await up.press(up.sam, greeting, "Close")
        await answered(await up.sam.submits_modal(form, {}))
        logged = await up.log.wait_for_message(lambda m: bool(m.attachments), timeout_s=120)
        page, text = (file.content for file in logged.attachments)
        print(f"{count:,} messages: a page of {len(page):,} bytes, a text of {len(text):,}")
        assert b"<script" not in page
        assert (await up.stage.node("atlas")).pid == pid
        assert not [event for event in up.tap.events if event.kind in ("degraded", "node_degraded")]


async def test_a_transcript_is_made_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a sign of life of the bot, Discord or the master, gets it meanwhile."""
    began, may_end = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(*arguments: object, **named: object) -> transcripts.Transcript:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result(60)
        return render([], title="late")

    class Empty:
        def history(self, *, limit: int) -> AsyncIterator[discord.Message]:
            return _nothing()

    monkeypatch.setattr(transcripts, "render", slowly)
    making = asyncio.create_task(transcripts.transcribe(Empty(), title="x"))  # type: ignore[arg-type]
    await began.wait()
    may_end.set()
    assert b"late" in (await making).text


async def _nothing() -> AsyncIterator[discord.Message]:
    nothing: tuple[discord.Message, ...] = ()
    for message in nothing:
        yield message


def test_every_character_is_shown_or_replaced_as_its_category_says() -> None:
    shown = "".join(map(chr, [*range(0x20, 0x3000), 0x1F600, 0xE0001, 0xFFFE, 0x10FFFF, 0xD800]))
    text = render([Entry(datetime.now(UTC), "a", shown)], title="t").text.decode()
    for hidden in ("\x7f", "\xad", "\u200b", "\u202e", "\u2066", "\U000e0001", "\ufeff"):
        assert hidden not in text
    for kept in ("é", "\u200d", "\u2764", "\U0001f600", "~"):
        assert kept in text


@pytest.mark.slow
async def test_tickets_that_cannot_be_shown_hold_up_no_other_after_a_start(empty_ledger: Path) -> None:
    """Each is tried again for twelve minutes; the others must not wait behind it."""
    async with scene(empty_ledger) as up:
        stage, panel = up.stage, await up.panel()
        channels = [await up.open(up.sam, panel) for _ in range(5)]
        for channel in channels:
            await up.greeting(channel)
        await stage.act("stop", ["atlas"])
        for number in range(1, 6):
            closed = await stage.operator.runs_command(
                stage.office, stage.master_bot, "ticket close", {"ticket": str(number)}
            )
            await answered(closed)
        locked = {f"/channels/{channel.id}/" for channel in channels[:-1]}

        async def instead(request: web.Request) -> web.StreamResponse | None:
            if any(path in request.path for path in locked):
                return web.json_response({"message": "Missing Access", "code": 50001}, status=403)
            return None

        stage.sandbox.faults.instead = instead
        since = len(up.tap.events)
        await stage.act("start", ["atlas"])
        await up.tap.wait_for("ready", "atlas", since=since)
        await up.greeting(channels[-1], lambda message: buttons(message) == ["Reopen", "Delete"])
        stage.sandbox.faults.instead = None
