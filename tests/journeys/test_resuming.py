"""A node's gateway session outlives its process, and its IDENTIFYs are counted."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import time
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from master.operations.parameters import RegisterParams
from master.services.core.views import Registered
from nodekit.identify_budget import DAILY_IDENTIFIES
from sandbox.intents import GUILD_MEMBERS

pytestmark = pytest.mark.timeout(120)

RECORDER = """
from pathlib import Path
from discord.ext import commands

class Recorder(commands.Cog):
    def __init__(self, bot):
        self.bot = bot

    @commands.Cog.listener()
    async def on_ready(self):
        self.note("ready")

    @commands.Cog.listener()
    async def on_resumed(self):
        guild = self.bot.guilds[0]
        self.note(f"resumed in {guild.name} with {len(guild.text_channels)} channels as {self.bot.user.name}")

    @commands.Cog.listener()
    async def on_guild_available(self, guild):
        self.note("guild")

    @commands.Cog.listener()
    async def on_message(self, message):
        if not message.author.bot:
            self.note(f"heard {message.channel.name}")

    def note(self, text):
        with Path("notes").open("a") as notes:
            notes.write(text + "\\n")

async def setup(bot):
    await bot.add_cog(Recorder(bot))
"""


def notes_of(folder: Path) -> list[str]:
    path = folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


async def until_noted(folder: Path, text: str) -> None:
    while text not in notes_of(folder):  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)


@pytest.fixture
async def folder(stage: Stage, tap: EventTap) -> Path:
    """A node called atlas that notes what it is told of, restarted with that cog."""
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    folder = stage.home / "bots" / "atlas"
    await stage.act("stop", ["atlas"])
    (folder / "cogs" / "recorder.py").write_text(RECORDER)
    since = len(tap.events)
    await stage.act("start", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    await asyncio.wait_for(until_noted(folder, "ready"), 10)
    (folder / "notes").unlink()
    return folder


def counts(stage: Stage) -> tuple[int, int]:
    bot = stage.bots["atlas"].id
    return stage.sandbox.gateway.identifies.get(bot, 0), stage.sandbox.gateway.resumes.get(bot, 0)


async def test_a_killed_node_resumes_and_hears_what_was_said_meanwhile(
    stage: Stage, tap: EventTap, folder: Path
) -> None:
    identified, resumed = counts(stage)
    asked = stage.sandbox.requests["GET /users/@me"]
    since = len(tap.events)
    pid = (await stage.node("atlas")).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    await stage.operator.sends(stage.office, "anybody there?")
    await tap.wait_for("ready", "atlas", since=since)
    await asyncio.wait_for(until_noted(folder, "heard operators"), 10)
    await asyncio.wait_for(until_noted(folder, "resumed in Fleet HQ with 4 channels as atlas"), 10)
    assert counts(stage) == (identified, resumed + 1)
    assert stage.sandbox.requests["GET /users/@me"] == asked
    # Its own listeners learn that it is ready, and only then what happened meanwhile.
    assert notes_of(folder).index("ready") < notes_of(folder).index("heard operators")


async def test_a_restart_resumes_and_the_cache_follows_what_changed(stage: Stage, tap: EventTap, folder: Path) -> None:
    identified, resumed = counts(stage)
    for count in (1, 2, 3):
        stage.guild.create_channel(f"new-{count}")
        since = len(tap.events)
        await stage.act("restart", ["atlas"])
        await tap.wait_for("ready", "atlas", since=since)
        told = f"resumed in Fleet HQ with {4 + count} channels as atlas"
        await asyncio.wait_for(until_noted(folder, told), 10)
    assert counts(stage) == (identified, resumed + 3)


@pytest.mark.slow
async def test_changed_intents_begin_anew_and_take_effect(stage: Stage, tap: EventTap, folder: Path) -> None:
    identified, resumed = counts(stage)
    config = folder / "config.py"
    stage.bots["atlas"].account.privileged_intents = GUILD_MEMBERS
    for count, (members, others) in enumerate((("False", "True"), ("True", "False")), 1):
        config.write_text(config.read_text().replace(f"MEMBERS_INTENT = {members}", f"MEMBERS_INTENT = {others}"))
        since = len(tap.events)
        pid = (await stage.node("atlas")).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await tap.wait_for("ready", "atlas", since=since)
        assert counts(stage) == (identified + count, resumed)
        intents = stage.sandbox.gateway.intents_of(stage.bots["atlas"].account)
        assert bool(intents & GUILD_MEMBERS) is (others == "True")
    # Unchanged from here on, it resumes again.
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    assert counts(stage) == (identified + 2, resumed + 1)


@pytest.mark.slow
async def test_a_session_that_discord_forgot_is_begun_anew(stage: Stage, tap: EventTap, folder: Path) -> None:
    identified, resumed = counts(stage)
    stage.sandbox.faults.forget_sessions(stage.bots["atlas"].account)
    since = len(tap.events)
    pid = (await stage.node("atlas")).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await tap.wait_for("ready", "atlas", since=since)
    await asyncio.wait_for(until_noted(folder, "ready"), 20)
    assert counts(stage) == (identified + 1, resumed)


@pytest.mark.slow
async def test_a_stopped_node_is_offline_and_begins_anew(stage: Stage, tap: EventTap, folder: Path) -> None:
    identified, resumed = counts(stage)
    await stage.act("stop", ["atlas"])
    since = len(tap.events)
    await stage.act("start", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    assert counts(stage) == (identified + 1, resumed)


def spend_all(stage: Stage, bot_user_id: int) -> None:
    now_ms = int(time.time() * 1000)
    stamps = b"".join(struct.pack(">Q", now_ms - 1000 * number) for number in range(DAILY_IDENTIFIES, 0, -1))
    (stage.home / "state" / "identifies" / str(bot_user_id)).write_bytes(stamps)


async def test_a_spent_budget_defers_the_start_and_says_so(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    await stage.act("stop", ["atlas"])
    identified, _ = counts(stage)
    spend_all(stage, stage.bots["atlas"].id)
    (result,) = await stage.act("start", ["atlas"])
    assert not result.ok
    assert "800 IDENTIFYs in a day" in result.detail
    node = await stage.node("atlas")
    assert node.state == "quarantined"
    assert node.next_start_in_s is not None
    assert node.next_start_in_s > 80_000
    assert counts(stage)[0] == identified
    (stage.home / "state" / "identifies" / str(stage.bots["atlas"].id)).unlink()
    since = len(tap.events)
    await stage.act("release", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)


@pytest.mark.slow
async def test_a_node_that_runs_out_while_it_runs_ends_instead_of_identifying(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    identified, _ = counts(stage)
    spend_all(stage, stage.bots["atlas"].id)
    await stage.sandbox.faults.invalidate_session(stage.bots["atlas"].account, resumable=False)
    exited = await tap.wait_for("exited", "atlas")
    assert "exited with code 68" in exited.detail
    await tap.wait_for("quarantined", "atlas")
    assert counts(stage)[0] == identified


@pytest.mark.slow
async def test_each_start_of_a_foreign_bot_counts_as_an_identify(stage: Stage, tap: EventTap) -> None:
    folder = stage.home / "bots" / "foreign"
    folder.mkdir(parents=True)
    (folder / "bot.py").write_text("import signal; signal.pause()")
    bot = stage.create_bot("foreign")
    params = RegisterParams(name="foreign", token=bot.token, folder="foreign", readiness="process")
    await asyncio.to_thread(stage.client.call, "register", params, answer=Registered, timeout_s=60.0)
    await tap.wait_for("spawned", "foreign")
    await stage.act("restart", ["foreign"])
    assert (stage.home / "state" / "identifies" / str(bot.id)).stat().st_size == 2 * 8
