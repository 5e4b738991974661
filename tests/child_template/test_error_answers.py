"""What the people on a server are told when a command of a node fails, and what reaches LOG_CHANNEL."""

from __future__ import annotations

import re

import pytest

from master.demonstration.stage import EventTap, Stage
from sandbox import BotHandle, ChannelHandle, Message, Person
from sandbox.permissions import EMBED_LINKS
from sandbox.records import Overwrite
from tests.child_template.template_nodes import ask, copy_template, start_node, told

pytestmark = pytest.mark.timeout(120)

COG = '''\
"""Commands that fail, each in its way."""

from typing import Literal

import discord
from discord import app_commands
from discord.ext import commands


class Positive(commands.Converter):
    async def convert(self, ctx, argument):
        raise LookupError("a bug of the converter")


class Failing(commands.Cog):
    @commands.hybrid_command(description="seldom")
    @commands.cooldown(1, 3600, commands.BucketType.user)
    async def seldom(self, ctx):
        await ctx.send("done")

    @app_commands.command(description="rarely")
    @app_commands.checks.cooldown(1, 86_400)
    async def rarely(self, interaction):
        await interaction.response.send_message("done")

    @commands.hybrid_command(description="for moderators")
    @commands.has_permissions(manage_messages=True, kick_members=True)
    async def moderate(self, ctx):
        await ctx.send("done")

    @app_commands.command(description="the bot cannot")
    @app_commands.checks.bot_has_permissions(manage_guild=True)
    async def unable(self, interaction):
        await interaction.response.send_message("done")

    @app_commands.command(description="Discord refuses")
    async def kick(self, interaction):
        await interaction.response.defer(ephemeral=True)
        await interaction.channel.edit(name="renamed")

    @app_commands.command(description="a check says no")
    @app_commands.check(lambda interaction: False)
    async def never(self, interaction):
        await interaction.response.send_message("done")

    @commands.command()
    async def add(self, ctx, one: int, two: int):
        await ctx.reply(str(one + two))

    @commands.command()
    async def convert(self, ctx, value: Positive):
        await ctx.send("done")

    @commands.command()
    @commands.is_owner()
    async def secret(self, ctx):
        await ctx.send("done")

    @commands.hybrid_command(description="breaks")
    async def breaks(self, ctx):
        raise ZeroDivisionError("a bug of the command")

    @app_commands.command(description="breaks late")
    async def late(self, interaction):
        await interaction.response.send_message("so far so good")
        raise KeyError("a bug after the answer")

    @app_commands.command(description="has a handler of its own")
    async def own(self, interaction):
        raise app_commands.CheckFailure("not for the bot to answer")

    @own.error
    async def own_error(self, interaction, error):
        await interaction.response.send_message("handled by the cog")


async def setup(bot):
    await bot.add_cog(Failing())
'''


@pytest.fixture
async def ann(stage: Stage) -> Person:
    """Return a member of the server who is nobody special."""
    ann = stage.sandbox.create_human("ann")
    stage.guild.add_member(ann)
    return ann


@pytest.fixture
async def atlas(stage: Stage, tap: EventTap) -> BotHandle:
    """Return a node with the cog above, which may not embed in the channel "quiet"."""
    quiet = stage.guild.create_channel("quiet")
    quiet.channel.overwrites[stage.guild.id] = Overwrite(stage.guild.id, 0, 0, EMBED_LINKS)
    folder = stage.home / "bots" / "atlas"
    copy_template(folder, {"failing.py": COG})
    return await start_node(stage, tap, folder)


def alerts_of(stage: Stage) -> str:
    return repr([message.embeds for message in stage.log.messages])


@pytest.mark.slow
async def test_what_a_user_did_wrong_is_answered_and_is_no_alert(stage: Stage, ann: Person, atlas: BotHandle) -> None:
    for command in ("seldom", "rarely"):
        assert (await ann.runs_command(stage.office, atlas, command)).content == "done"
    expected = {
        "seldom": "Not so fast: try again in 60 minutes.",
        "rarely": "Not so fast: try again in 24 hours.",
        "moderate": "You need the permissions **Manage Messages** and **Kick Members** for that.",
        "unable": "I need the permission **Manage Server** for that. An administrator can give it to my role.",
        "never": "You may not use this command here.",
    }
    for command, text in expected.items():
        answer = await ann.runs_command(stage.office, atlas, command)
        assert (told(answer), answer.ephemeral) == (text, True)
    kick = await ann.runs_command(stage.office, atlas, "kick")
    await kick.wait_until(lambda i: bool(i.embeds))
    assert told(kick).startswith("I may not do that here")
    assert (await ann.runs_command(stage.office, atlas, "own")).content == "handled by the cog"

    # The same as text, where an answer cannot be ephemeral: it is a reply.
    assert told(await ask(stage, ann, atlas, "seldom")) == "Not so fast: try again in 60 minutes."
    assert told(await ask(stage, ann, atlas, "secret")) == "Only the owner of this bot may do that."
    missing = told(await ask(stage, ann, atlas, "add 1"))
    assert missing.startswith("two is a required argument that is missing.")
    assert "Usage: `@atlas add <one> <two>`" in missing
    assert told(await ask(stage, ann, atlas, "add 1 x")).startswith('Converting to "int" failed for parameter "two".')
    assert (await ask(stage, ann, atlas, "add 1 2")).content == "3"

    quiet = next(c for c in stage.guild.guild.channels.values() if c.name == "quiet")
    plain = await ask(stage, ann, atlas, "secret", ChannelHandle(stage.sandbox.people, quiet))
    assert (plain.content, plain.embeds) == ("Only the owner of this bot may do that.", [])

    # Alerts come in order: when that of a bug is there, none of the above comes any more.
    await ann.runs_command(stage.office, atlas, "breaks")
    await stage.log.wait_for_message(lambda m: "ZeroDivisionError" in repr(m.embeds))
    assert not re.search("ooldown|ermission|heckFailure|rgument|Forbidden", alerts_of(stage))


async def wait_for_alert(stage: Stage, text: str) -> Message:
    return await stage.log.wait_for_message(lambda m: text in repr(m.embeds))


@pytest.mark.slow
async def test_a_bug_is_answered_with_an_id_that_its_alert_begins_with(
    stage: Stage, ann: Person, atlas: BotHandle
) -> None:
    def id_in(answer: Message | None) -> str:
        assert answer is not None
        found = re.fullmatch(
            r"Something went wrong\. The owner of this bot finds it as error `([0-9a-f]{8})`\.", told(answer)
        )
        assert found, told(answer)
        return found[1]

    first = await ann.runs_command(stage.office, atlas, "breaks")
    assert first.ephemeral
    again = await ask(stage, ann, atlas, "breaks")
    late = await ann.runs_command(stage.office, atlas, "late")
    await late.wait_until(lambda i: bool(i.followups))
    converter = await ask(stage, ann, atlas, "convert 1")
    for answer, name in (
        (first.message, "ZeroDivisionError"),
        (late.followups[0], "KeyError"),
        (converter, "LookupError"),
    ):
        alert = await wait_for_alert(stage, name)
        assert id_in(answer) in repr(alert.embeds)
        assert repr([m.embeds for m in stage.log.messages]).count(f"atlas: {name}") == 1
    assert id_in(again)
    log = next((stage.home / "state" / "logs").rglob("atlas*err*")).read_text("utf-8")
    assert f"error {id_in(first.message)} in breaks" in log
    assert f"error {id_in(late.followups[0])} in /late" in log
