"""Reactions and uploaded files: what Discord refuses of them is refused, and each change is an event."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import discord
import pytest
from discord import app_commands
from discord.ext import commands

from sandbox import SandboxError, permissions
from sandbox.records import Overwrite
from tests.sandbox.conftest import World, connected

TWENTY_ONE = [chr(0x1F600 + number) for number in range(21)]


def reaction(world: World, message_id: int, emoji: str, who: str | int = "@me") -> str:
    return f"/channels/{world.channel.id}/messages/{message_id}/reactions/{quote(emoji)}/{who}"


def deny(world: World, bits: int) -> None:
    """Take permissions in the channel from everybody."""
    channel = world.channel.channel
    channel.overwrites[world.guild.id] = Overwrite(world.guild.id, 0, 0, bits)


@pytest.mark.parametrize("word", ["x", "good", "7", "é", "名", "name:12", "🎉" * 17])
async def test_what_is_no_emoji_is_refused(world: World, word: str) -> None:
    message = await world.ada.sends(world.channel, "vote")
    status, body = await world.rest("PUT", reaction(world, message.id, word))
    assert (status, body["code"]) == (400, 10014)


@pytest.mark.parametrize("emoji", ["✅", "⏸", "⏸️", "7️⃣", "⏪", "↔️", "‼️", "👍🏽"])
async def test_emojis_of_unicode_are_taken(world: World, emoji: str) -> None:
    message = await world.ada.sends(world.channel, "vote")
    assert (await world.rest("PUT", reaction(world, message.id, emoji)))[0] == 204
    assert message.reactions == {emoji: [world.bot.id]}


@pytest.mark.parametrize(
    ("denied", "method", "who"),
    [
        (permissions.ADD_REACTIONS, "PUT", "@me"),
        (permissions.READ_MESSAGE_HISTORY, "PUT", "@me"),
        (0, "DELETE", "{ada}"),
    ],
)
async def test_without_the_permission_nothing_is_changed(world: World, denied: int, method: str, who: str) -> None:
    message = await world.ada.sends(world.channel, "vote")
    await world.ada.reacts(message, "👎")
    deny(world, denied)
    emoji = "👎" if method == "DELETE" else "👍"
    status, body = await world.rest(method, reaction(world, message.id, emoji, who.format(ada=world.ada.id)))
    assert (status, body["code"]) == (403, 50013)
    assert message.reactions == {"👎": [world.ada.id]}


async def test_one_that_is_there_already_needs_no_permission_to_react(world: World) -> None:
    message = await world.ada.sends(world.channel, "vote")
    await world.ada.reacts(message, "👎")
    deny(world, permissions.ADD_REACTIONS)
    assert (await world.rest("PUT", reaction(world, message.id, "👎")))[0] == 204


async def test_the_21st_kind_is_refused_of_bots_and_of_people(world: World) -> None:
    world.sandbox.rate_limits.enabled = False
    message = await world.ada.sends(world.channel, "vote")
    for emoji in TWENTY_ONE[:20]:
        await world.ada.reacts(message, emoji)
    status, body = await world.rest("PUT", reaction(world, message.id, TWENTY_ONE[20]))
    assert (status, body["code"]) == (400, 30010)
    with pytest.raises(SandboxError, match="30010"):
        await world.ada.reacts(message, TWENTY_ONE[20])
    assert (await world.rest("PUT", reaction(world, message.id, TWENTY_ONE[0])))[0] == 204


async def test_people_who_may_not_react_cannot(world: World) -> None:
    message = await world.ada.sends(world.channel, "vote")
    ben = world.sandbox.create_human("ben")
    world.guild.add_member(ben)
    deny(world, permissions.ADD_REACTIONS)
    with pytest.raises(SandboxError, match="50013"):
        await ben.reacts(message, "👎")
    with pytest.raises(SandboxError, match="delete messages of others"):
        await ben.deletes(message)
    await world.ada.deletes(message)
    with pytest.raises(SandboxError, match="10008"):
        await world.ada.reacts(message, "👎")


async def test_a_bot_reacts_once_in_a_quarter_of_a_second_in_a_channel(world: World) -> None:
    first, second = await world.ada.sends(world.channel, "1"), await world.ada.sends(world.channel, "2")
    at = reaction(world, first.id, "👍"), reaction(world, second.id, "👍")
    answers = [await world.rest("PUT", path) for path in at]
    assert [status for status, _ in answers] == [204, 429]
    assert 0 < answers[1][1]["retry_after"] <= 0.25
    assert second.reactions == {}


async def test_taking_off_what_is_not_there_changes_nothing(world: World) -> None:
    message = await world.ada.sends(world.channel, "vote")
    assert (await world.rest("DELETE", reaction(world, message.id, "👍")))[0] == 204
    assert message.reactions == {}


async def test_reactions_that_go_are_events_however_they_go(world: World) -> None:
    role_id = world.guild.guild.members[world.bot.id].role_ids[0]
    world.guild.guild.roles[role_id].permissions |= permissions.MANAGE_MESSAGES
    async with connected(world) as client:
        message = await world.ada.sends(world.channel, "vote")
        for emoji in ("👍", "👎", "🎉"):
            await world.ada.reacts(message, emoji)
        handle = client.get_partial_messageable(world.channel.id).get_partial_message(message.id)

        waiting = asyncio.create_task(client.wait_for("raw_reaction_remove", timeout=10))
        await asyncio.sleep(0)
        await handle.remove_reaction("👍", discord.Object(world.ada.id))
        gone = await waiting
        assert (gone.user_id, str(gone.emoji), gone.message_id) == (world.ada.id, "👍", message.id)

        of_one = asyncio.create_task(client.wait_for("raw_reaction_clear_emoji", timeout=10))
        await asyncio.sleep(0)
        await handle.clear_reaction("👎")
        assert str((await of_one).emoji) == "👎"

        of_all = asyncio.create_task(client.wait_for("raw_reaction_clear", timeout=10))
        await asyncio.sleep(0)
        await handle.clear_reactions()
        assert (await of_all).message_id == message.id
        assert message.reactions == {}


async def test_a_file_that_a_person_gives_to_a_command_can_be_downloaded(world: World) -> None:
    found: list[tuple[str, int, bytes, bool]] = []

    async def setup(client: commands.Bot) -> None:
        @client.tree.command(description="take a file")
        async def take(interaction: discord.Interaction[commands.Bot], file: discord.Attachment) -> None:
            found.append((file.filename, file.size, await file.read(), file.ephemeral))
            await interaction.response.send_message("taken")

        assert isinstance(take, app_commands.Command)

    async with connected(world, setup=setup):
        done = await world.ada.runs_command(world.channel, world.bot, "take", {"file": ("a.txt", b"content")})
        assert done.content == "taken"
        with pytest.raises(SandboxError, match="too large"):
            await world.ada.runs_command(world.channel, world.bot, "take", {"file": ("a", b"x" * (10 << 20) + b"x")})
    assert found == [("a.txt", 7, b"content", True)]
