"""What a node knows of members and messages follows its intents."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from sandbox.intents import GUILD_MEMBERS, MESSAGE_CONTENT
from tests.child_template.template_nodes import ask, change_config, copy_template, start_node

pytestmark = pytest.mark.timeout(120)

MEMBERS = 35

COG = """\
from discord.ext import commands


class Knows(commands.Cog):
    def __init__(self):
        self.seen = []

    @commands.Cog.listener()
    async def on_message_delete(self, message):
        self.seen.append(f"deleted {message.content}")

    @commands.Cog.listener()
    async def on_message_edit(self, before, after):
        self.seen.append(f"edited {before.content} to {after.content}")

    @commands.Cog.listener()
    async def on_member_remove(self, member):
        self.seen.append(f"left {member.name}")

    @commands.command()
    async def known(self, context):
        await context.reply(f"{len(context.guild.members)} of {context.guild.member_count}, {self.seen}")


async def setup(bot):
    await bot.add_cog(Knows())
"""


def make_folder(stage: Stage, name: str, *, intents: bool) -> Path:
    folder = stage.home / "bots" / name
    copy_template(folder, {"knows.py": COG})
    if intents:
        change_config(folder, "MEMBERS_INTENT = False", "MEMBERS_INTENT = True")
        change_config(folder, "MESSAGE_CONTENT_INTENT = False", "MESSAGE_CONTENT_INTENT = True")
    return folder


@pytest.mark.slow
async def test_members_and_deleted_messages_are_known_with_the_intents_on_alone(stage: Stage, tap: EventTap) -> None:
    people = [stage.sandbox.create_human(f"person{number}") for number in range(MEMBERS)]
    for person in people:
        stage.guild.add_member(person)
    folder = make_folder(stage, "atlas", intents=True)
    atlas = await start_node(stage, tap, folder, privileged_intents=GUILD_MEMBERS | MESSAGE_CONTENT)
    borealis = await start_node(stage, tap, make_folder(stage, "borealis", intents=False))
    everybody = len(stage.guild.guild.members)

    async def change_things() -> None:
        message = await people[0].sends(stage.office, "first")
        await people[0].edits(message, "second")
        await people[0].deletes(message)

    await change_things()
    seen = "['edited first to second', 'deleted second'"
    known = (await ask(stage, stage.operator, atlas, "known")).content
    assert known == f"{everybody} of {everybody}, {seen}]"

    # Without the intents nobody else is kept, and no message.
    assert (await ask(stage, stage.operator, borealis, "known")).content == f"1 of {everybody}, []"

    # A successor that resumes the session knows them too, though no member is kept with the session.
    since, pid = len(tap.events), (await stage.node("atlas")).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await tap.wait_for("ready", "atlas", since=since)
    await change_things()
    stage.sandbox.world.remove_member(stage.guild.guild, people[1].user)
    known = (await ask(stage, stage.operator, atlas, "known")).content
    assert known == f"{everybody - 1} of {everybody - 1}, {seen}, 'left person1']"
    assert stage.sandbox.gateway.identifies[atlas.id] == 1
