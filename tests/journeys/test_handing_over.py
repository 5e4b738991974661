"""A node that is restarted hands over to its successor: what people do meanwhile is handled once, by one of the two."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from master.demonstration.stage import EventTap, Stage
from sandbox.gateway import Frame

pytestmark = pytest.mark.timeout(120)

WORK = """
import asyncio
import os
from pathlib import Path

from discord.ext import commands

HERE = Path(__file__).resolve().parent.parent

class Work(commands.Cog):
    @commands.Cog.listener()
    async def on_message(self, message):
        if message.author.bot:
            return
        self.note("began", message.channel.name)
        if message.channel.name == "long":
            await asyncio.sleep(0.5)
        elif message.channel.name == "endless":
            await asyncio.Event().wait()
        self.note("handled", message.channel.name)

    @commands.Cog.listener()
    async def on_ready(self):
        await asyncio.Event().wait()

    async def cog_unload(self):
        self.note("unloading", str(os.getpid()))
        for _ in range(150):
            if (HERE / "unloaded").exists():
                break
            await asyncio.sleep(0.01)

    def note(self, what, which):
        with (HERE / "notes").open("a") as notes:
            notes.write(f"{what} {which}\\n")

async def setup(bot):
    await bot.add_cog(Work())
"""


def notes_of(folder: Path) -> list[str]:
    path = folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


async def until_noted(folder: Path, text: str) -> None:
    async with asyncio.timeout(20):
        while not any(note.startswith(text) for note in notes_of(folder)):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def folder(stage: Stage, tap: EventTap) -> Path:
    """A node called atlas that notes what it handles, and that ends when it is allowed to."""
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    folder = stage.home / "bots" / "atlas"
    await stage.act("stop", ["atlas"])
    (folder / "cogs" / "work.py").write_text(WORK)
    since = len(tap.events)
    await stage.act("start", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    return folder


async def says(stage: Stage, channel: str) -> None:
    """Write in a channel of that name: what it says is for bots with the intent to read it."""
    await stage.operator.sends(stage.guild.create_channel(channel), "hello")


def sessions(stage: Stage) -> tuple[int, int]:
    """Return the IDENTIFYs and RESUMEs of atlas."""
    bot = stage.bots["atlas"].id
    return stage.sandbox.gateway.identifies.get(bot, 0), stage.sandbox.gateway.resumes.get(bot, 0)


async def test_what_is_said_while_a_node_ends_is_handled_once(stage: Stage, tap: EventTap, folder: Path) -> None:
    identified, resumed = sessions(stage)
    await says(stage, "long")
    await until_noted(folder, "began long")
    since = len(tap.events)
    restart = asyncio.create_task(stage.act("restart", ["atlas"]))
    await until_noted(folder, "unloading")
    # The process is still connected, and its listeners are gone.
    await says(stage, "late")
    (folder / "unloaded").touch()
    await restart
    await tap.wait_for("ready", "atlas", since=since)
    await says(stage, "last")
    await until_noted(folder, "handled last")
    handled = Counter(note for note in notes_of(folder) if note.startswith("handled"))
    assert handled == {"handled long": 1, "handled late": 1, "handled last": 1}
    assert notes_of(folder).index("handled long") < notes_of(folder).index("began late")
    assert sessions(stage) == (identified, resumed + 1)


async def test_a_listener_that_never_ends_holds_no_restart_up(stage: Stage, tap: EventTap, folder: Path) -> None:
    identified, resumed = sessions(stage)
    (folder / "unloaded").touch()
    await says(stage, "endless")
    await until_noted(folder, "began endless")
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    log = (stage.home / "state" / "logs" / "atlas.err.log").read_text()
    assert "still at work after 1.5 s, and ended: on_message\n" in log
    assert sessions(stage) == (identified, resumed + 1)


async def test_a_line_that_breaks_before_the_resume_costs_no_session(stage: Stage, tap: EventTap, folder: Path) -> None:
    identified, resumed = sessions(stage)
    (folder / "unloaded").touch()
    broken = 0

    def change(payload: bytes) -> Frame:
        nonlocal broken
        if msgspec.json.decode(payload)["op"] != 10 or broken == 2:
            return payload
        broken += 1
        return 1006

    stage.sandbox.gateway.change = change
    pid = (await stage.node("atlas")).pid
    assert pid is not None
    since = len(tap.events)
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    await says(stage, "meanwhile")
    await tap.wait_for("ready", "atlas", since=since)
    await until_noted(folder, "handled meanwhile")
    assert broken == 2
    assert sessions(stage) == (identified, resumed + 1)
