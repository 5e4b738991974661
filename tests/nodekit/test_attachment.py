"""A bot that somebody wrote, with one line of ours."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from sandbox import Sandbox
from sandbox.intents import GUILD_MEMBERS
from tests.nodekit.foreign import client, kill, log_of, noted, notes_of, place, register, sessions

pytestmark = pytest.mark.timeout(120)


def attached(stage: Stage, name: str, **changes: str) -> str:
    """Return a bot that reads its own token, as it always did, and has one line of ours."""
    before = f"import nodekit\nos.environ['DISCORD_TOKEN'] = {stage.bots[name].token!r}\n"
    return client(before=before, after="nodekit.attach(bot)\n", **changes)


async def test_one_line_brings_readiness_error_reports_and_resume(stage: Stage, tap: EventTap) -> None:
    stage.create_bot("oldbot")
    folder = place(stage, "oldbot", attached(stage, "oldbot"))
    await register(stage, "oldbot")
    assert (await stage.node("oldbot")).readiness == "handshake"
    await tap.wait_for("verified", "oldbot")
    await tap.wait_for("ready", "oldbot")
    await noted(folder, "ready in Fleet HQ with 1 members")
    assert sessions(stage, "oldbot") == (1, 0)

    await stage.operator.sends(stage.office, "hello")
    await stage.log.wait_for_message(
        lambda m: any("oldbot: ValueError in on\\_message" in e.get("title", "") for e in m.embeds)
    )
    assert "nobody expected that" in log_of(stage, "oldbot")
    await stage.operator.runs_command(stage.office, stage.bots["oldbot"], "explode")
    await stage.log.wait_for_message(
        lambda m: any("oldbot: ZeroDivisionError in /explode" in e.get("title", "") for e in m.embeds)
    )

    await kill(stage, tap, "oldbot")
    await noted(folder, "resumed")
    assert sessions(stage, "oldbot") == (1, 1)


@pytest.mark.slow
async def test_a_stop_lets_the_program_clean_up_and_shows_it_offline(stage: Stage, tap: EventTap) -> None:
    stage.create_bot("oldbot")
    folder = place(stage, "oldbot", attached(stage, "oldbot"))
    await register(stage, "oldbot")
    await tap.wait_for("ready", "oldbot")
    since = len(tap.events)
    await stage.act("stop", ["oldbot"])
    await tap.wait_for("goodbye", "oldbot", since=since)
    assert "ended" in notes_of(folder)
    # Nothing was left to resume: the next start is a new session.
    await stage.act("start", ["oldbot"])
    await tap.wait_for("ready", "oldbot", since=since)
    assert sessions(stage, "oldbot") == (2, 0)


@pytest.mark.slow
async def test_a_restart_leaves_the_session_to_the_successor(stage: Stage, tap: EventTap) -> None:
    stage.create_bot("oldbot")
    folder = place(stage, "oldbot", attached(stage, "oldbot"))
    await register(stage, "oldbot")
    await tap.wait_for("ready", "oldbot")
    since = len(tap.events)
    await stage.act("restart", ["oldbot"])
    await tap.wait_for("ready", "oldbot", since=since)
    await noted(folder, "resumed")
    assert sessions(stage, "oldbot") == (1, 1)


@pytest.mark.slow
async def test_a_bot_that_fetches_its_members_resumes_too(stage: Stage, tap: EventTap) -> None:
    stage.create_bot("oldbot", privileged_intents=GUILD_MEMBERS)
    intents = "discord.Intents.default().value | discord.Intents.members.flag"
    folder = place(stage, "oldbot", attached(stage, "oldbot", intents=intents))
    await register(stage, "oldbot")
    await tap.wait_for("ready", "oldbot")
    await noted(folder, "ready in Fleet HQ with 3 members")
    stage.guild.add_member(stage.sandbox.create_human("grace"))
    await noted(folder, "joined: grace")
    await kill(stage, tap, "oldbot")
    # As they are now, not as they were when the session began.
    await noted(folder, "ready in Fleet HQ with 4 members")
    await noted(folder, "resumed")
    assert sessions(stage, "oldbot") == (1, 1)


@pytest.mark.slow
async def test_a_sharded_bot_is_a_node_and_begins_anew(stage: Stage, tap: EventTap) -> None:
    stage.create_bot("shards")
    script = (
        "import discord, nodekit\n"
        "from discord.ext import commands, tasks\n"
        "bot = commands.AutoShardedBot('!', intents=discord.Intents.default())\n"
        "nodekit.attach(bot)\n"
        "@tasks.loop(count=1)\n"
        "async def chores():\n"
        "    raise KeyError('the broom')\n"
        "@bot.listen()\n"
        "async def on_ready():\n"
        "    chores.start()\n"
        f"bot.run({stage.bots['shards'].token!r})\n"
    )
    place(stage, "shards", script)
    await register(stage, "shards")
    await tap.wait_for("ready", "shards")
    await stage.log.wait_for_message(
        lambda m: any("shards: KeyError in chores" in e.get("title", "") for e in m.embeds)
    )
    await kill(stage, tap, "shards")
    # A solution restarts it too, for the loop that ended.
    begun, resumed = sessions(stage, "shards")
    assert begun >= 2
    assert resumed == 0


@pytest.mark.slow
async def test_the_fleets_own_channel_is_not_the_programs_business() -> None:
    async with Stage(transport="channel") as stage:
        await stage.start_master()
        async with stage.listen() as tap:
            stage.create_bot("oldbot")
            folder = place(stage, "oldbot", attached(stage, "oldbot"))
            await register(stage, "oldbot")
            assert (await tap.wait_for("verified", "oldbot")).detail == "by channel"
            await tap.wait_for("ready", "oldbot")
            await stage.operator.sends(stage.office, "hello")
            await noted(folder, "heard operators")
            assert "heard verify" not in notes_of(folder)


@pytest.mark.slow
async def test_a_node_whose_licence_is_not_its_own_ends_with_its_own_code(stage: Stage, tap: EventTap) -> None:
    stage.create_bot("oldbot")
    folder = place(stage, "oldbot", attached(stage, "oldbot"))
    await register(stage, "oldbot")
    await tap.wait_for("ready", "oldbot")
    await stage.act("stop", ["oldbot"])
    manifest = folder / "node.json"
    text = manifest.read_text()
    licence = text.split('"licence": "')[1].split('"')[0]
    manifest.write_text(text.replace(licence, licence[:-1] + ("A" if licence[-1] != "A" else "B")))
    since = len(tap.events)
    await stage.act("start", ["oldbot"])
    exited = await tap.wait_for("exited", "oldbot", since=since)
    assert "exited with code 67" in exited.detail


async def test_outside_of_a_fleet_the_line_does_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    bot = sandbox.create_bot("oldbot")
    sandbox.create_guild("Home", owner=sandbox.create_human("ada")).add_bot(bot)
    script = client(
        before=(
            "import nodekit\nfrom nodekit.endpoints import apply_endpoints\n"
            f"apply_endpoints({sandbox.api_base!r}, {sandbox.gateway_url!r})\n"
        ),
        after="nodekit.attach(bot)\nassert 'login' not in vars(bot)\n",
    )
    (tmp_path / "main.py").write_text(script)
    environment = {**os.environ, "DISCORD_TOKEN": bot.token}
    process = await asyncio.create_subprocess_exec(sys.executable, "main.py", cwd=tmp_path, env=environment)
    await noted(tmp_path, "ready in Home with 1 members")
    process.terminate()
    # Not even SIGTERM means anything else to it.
    assert await process.wait() == -signal.SIGTERM
