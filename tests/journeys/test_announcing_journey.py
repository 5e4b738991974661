"""An announcement from the command line; the master is killed with SIGKILL midway, and the next one goes on."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from master.demonstration.stage import Stage
from master.operations.announcement_parameters import AnnouncementsParams, ResendParams
from master.services.core.announcement_views import AnnouncementRow
from tests.services.announcing.places import Town, stalls, town

CONFIG = """
ANNOUNCE = {{
    "news": {{"CHANNEL_ID": {news}}},
    "releases": {{"CHANNEL_ID": {releases}}},
    "mastodon": {{}},
    "hook": {{}},
}}
"""

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


@pytest.fixture
async def announcing(empty_ledger: Path) -> AsyncIterator[tuple[Stage, Town]]:
    """Yield a master with places of all kinds."""
    async with town() as places, Stage(pulse_s=0.5, ledger=empty_ledger) as stage:
        news, releases = stage.guild.create_channel("news"), stage.guild.create_forum("releases")
        with (stage.home / "config.py").open("a") as config:
            config.write(CONFIG.format(news=news.id, releases=releases.id))
        with (stage.home / ".env").open("a") as env:
            env.write(f"ANNOUNCE_MASTODON={places.url('mastodon')}\nANNOUNCE_HOOK={places.url('json')}\n")
        await stage.start_master()
        yield stage, places
        if stage.sandbox.conformance is not None:
            assert stage.sandbox.conformance.violations == []


async def fleet(stage: Stage, *arguments: str) -> tuple[int, str]:
    """Run a command as an operator types it."""
    environment = {**os.environ, "FLEET_HOME": str(stage.home), "COLUMNS": "80"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "master.cli", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_a_master_killed_midway_doubles_nothing_and_no_address_is_anywhere_but_in_env(
    announcing: tuple[Stage, Town],
) -> None:
    stage, places = announcing
    code, said = await fleet(stage, "announce", "Version 2 is out", "--to", "news,releases,mastodon")
    assert (code, said.count("sent")) == (0, 3), said
    assert "https://example.social/@fleet/1" in said
    asked = asyncio.Event()

    def stall(request: web.Request) -> Any:
        asked.set()
        return stalls(request)

    places.answers["/hook"] = [stall]
    calling = asyncio.create_task(fleet(stage, "announce", "Version 3 is out", "--all"))
    await asked.wait()
    assert stage.master is not None
    stage.master.process.kill()
    await stage.master.process.wait()
    assert (await calling)[0] != 0
    await stage.start_master()
    row = await through(stage)
    assert {place.place: place.state for place in row.places} == {
        **{"hook": "asked", "mastodon": "sent", "news": "sent", "releases": "sent"}
    }
    channels = stage.sandbox.world.channels.values()
    posted = [message.content for one in channels for message in one.messages.values()]
    assert posted.count("Version 3 is out") == 2, "once in the channel, once in the forum"
    assert len(places.posted) == 2, "one status for each announcement, however often it was asked for"
    params = ResendParams(announcement=row.id, places=("hook",))
    again = await asyncio.to_thread(
        stage.client.call, "announcement_resend", params, answer=AnnouncementRow, timeout_s=60.0
    )
    assert (again.state, len(places.at("/hook"))) == ("sent", 2)
    holders = [path.name for path in stage.home.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert holders == [".env"]


async def through(stage: Stage) -> AnnouncementRow:
    """Return the last announcement once the master is through with it."""
    async with stage.listen() as tap:
        while True:
            seen = len(tap.events)
            (row,) = await asyncio.to_thread(
                stage.client.call, "announcements", AnnouncementsParams(limit=1), answer=list[AnnouncementRow]
            )
            if row.state in ("sent", "failed"):
                return row
            await tap.wait_for("announcement", None, since=seen)
