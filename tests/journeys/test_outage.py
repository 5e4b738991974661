"""Discord away from a running fleet, as a closed port and as a page of HTML: nobody's fault, and over in seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from master.demonstration.stage import EventTap, Stage
from master.services.core.views import FleetEvent
from tests.nodekit.foreign import place, register

pytestmark = pytest.mark.timeout(120)

BACK_WITHIN_S = 15.0
"""Seconds on an idle machine; several times as much beside other tests."""

# A bot that knows no fleet: it ends at once when it cannot log in, as most do.
FOREIGN = """
import discord, yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route
Route.BASE = {api_base!r}
DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL({gateway_url!r})
bot = discord.Client(intents=discord.Intents.none())
bot.run({token!r}, reconnect=False)
"""


def foreign(stage: Stage, name: str) -> str:
    sandbox = stage.sandbox
    return FOREIGN.format(api_base=sandbox.api_base, gateway_url=sandbox.gateway_url, token=stage.bots[name].token)


@asynccontextmanager
async def away(stage: Stage, kind: str) -> AsyncIterator[None]:
    """Take Discord away: nothing listens, or a proxy in front of it answers in its own words."""
    async with stage.sandbox.faults.outage():
        if kind == "refused":
            yield
            return

        async def sorry(_request: web.Request) -> web.Response:
            return web.Response(status=503, text="<html>upstream</html>", content_type="text/html")

        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", sorry)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        port = int(stage.sandbox.api_base.split(":")[2].split("/")[0])
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield
        finally:
            await runner.cleanup()


def kinds(events: list[FleetEvent], *wanted: str) -> list[str]:
    return [event.kind for event in events if event.kind in wanted]


async def all_ready(stage: Stage) -> None:
    while any(node.state != "ready" for node in (await stage.status()).nodes):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_short_outage_is_nobodys_fault(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    stage.create_bot("oldbot")
    place(stage, "oldbot", foreign(stage, "oldbot"))
    await register(stage, "oldbot")
    await stage.sandbox.gateway.wait_connected(stage.bots["oldbot"].account, timeout_s=BACK_WITHIN_S)
    since = len(tap.events)
    async with away(stage, "refused"):
        await tap.wait_for("box_offline", "", since=since)
        await tap.wait_for("held", "oldbot", since=since)
        await tap.wait_for("offline", "atlas", since=since)
        status = await stage.status()
        assert {node.state for node in status.nodes} == {"offline"}
        assert status.master.discord == "offline"
    await tap.wait_for("box_online", "", since=since)
    await tap.wait_for("recovered", "atlas", since=since)
    await tap.wait_for("spawned", "oldbot", since=since)
    # A bot that ends by itself may do so twice before the master has looked, and is forgiven then.
    offline_at = next(index for index, event in enumerate(tap.events[since:], since) if event.kind == "box_offline")
    assert kinds(tap.events[offline_at:], "backoff") == []
    assert kinds(tap.events[since:], "quarantined") == []
    (oldbot,) = [node for node in (await stage.status()).nodes if node.name == "oldbot"]
    assert oldbot.state != "backoff"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refused", "HTML 503"])
async def test_an_outage_is_a_state_of_the_box_and_no_nodes_fault(stage: Stage, tap: EventTap, kind: str) -> None:
    for name in ("atlas", "borealis"):
        await stage.register(name)
        await tap.wait_for("ready", name)
    stage.create_bot("oldbot")
    place(stage, "oldbot", foreign(stage, "oldbot"))
    await register(stage, "oldbot")
    await tap.wait_for("ready", "oldbot")
    stage.create_bot("cassini")
    await stage.duplicate("cassini")
    await tap.wait_for("ready", "cassini")
    await stage.act("stop", ["cassini"])

    since = len(tap.events)
    async with away(stage, kind):
        await tap.wait_for("box_offline", "", since=since)
        # The bot of its own ends, and is held; those with the kit run on, and say that they are offline.
        await tap.wait_for("held", "oldbot", since=since)
        await tap.wait_for("offline", "atlas", since=since)
        await tap.wait_for("offline", "borealis", since=since)
        # One that is started now, and one that dies now, are no crash loops either.
        await stage.act("start", ["cassini"])
        os.kill((await stage.node("atlas")).pid or 0, signal.SIGKILL)
        await tap.wait_for("spawned", "atlas", since=since)
        status = await stage.status()
        assert status.master.discord == "offline"
        assert status.master.offline_since is not None
        assert abs(status.at - status.master.offline_since) < 60
        assert "its API" in status.master.offline_why
        states = {node.name: node.state for node in status.nodes}
        assert states["oldbot"] == states["borealis"] == "offline"
        assert "ready" not in states.values()
        assert all(node.offline_since for node in status.nodes if node.state == "offline")
        started = time.monotonic()
        (result,) = await stage.act("stop", ["borealis"])
        assert result.ok
        assert time.monotonic() - started < 4.0
        await stage.act("start", ["borealis"])
    back = time.monotonic()
    await tap.wait_for("box_online", "", since=since)
    await asyncio.wait_for(all_ready(stage), BACK_WITHIN_S)
    print(f"{kind}: all back after {time.monotonic() - back:.1f} s")
    status = await stage.status()
    assert status.master.discord == "ready"
    assert status.master.offline_since is None
    seen = tap.events[since:]
    assert kinds(seen, "quarantined") == []
    assert kinds(seen, "box_offline", "box_online") == ["box_offline", "box_online"]
    alerts = [event.detail for event in seen if event.kind == "alert"]
    away_told, back_told = [title for title in alerts if "Discord" in title]
    assert away_told == "This box cannot reach Discord"
    assert back_told.startswith("Discord is back after")
    # The bot that ended for want of Discord is told of by these two; who was killed is another matter.
    assert [title for title in alerts if title.startswith("oldbot")] == []


async def offline(stage: Stage) -> None:
    """Wait for the box's outage: the master's own connection is lost before it has looked why."""
    while "its API" not in (await stage.status()).master.offline_why:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_box_that_boots_before_its_network(empty_ledger: Path) -> None:
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as stage:
        await stage.start_master()
        async with stage.listen() as tap:
            for name in ("atlas", "borealis"):
                await stage.register(name)
                await tap.wait_for("ready", name)
        assert stage.master is not None
        stage.master.process.send_signal(signal.SIGTERM)
        await stage.master.process.wait()
        async with away(stage, "refused"):
            await stage.start_master()
            await offline(stage)
            # It ends at once, and what it had to say is not lost with it.
            began = time.monotonic()
            stage.master.process.send_signal(signal.SIGTERM)
            await stage.master.process.wait()
            print(f"the master ended in the outage within {time.monotonic() - began:.1f} s")
            assert time.monotonic() - began < 6.0
            assert "cannot reach Discord" in (stage.home / "state" / "alerts.json").read_text()
            await stage.start_master()
            await offline(stage)
        async with stage.listen() as tap:
            await asyncio.wait_for(all_ready(stage), BACK_WITHIN_S)
            assert kinds(tap.events, "quarantined") == []
        told = await stage.log.wait_for_message(lambda message: "cannot reach Discord" in str(message.embeds))
        assert told.author.id == stage.master_bot.id
