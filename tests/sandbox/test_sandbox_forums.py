"""Forums of the sandbox, as the unmodified discord.py uses them."""

from __future__ import annotations

import discord
import pytest

from sandbox import permissions
from sandbox.permissions import MANAGE_CHANNELS, MANAGE_THREADS, SEND_MESSAGES
from sandbox.records import Overwrite
from tests.sandbox.conftest import World, connected


def give(world: World, bits: int) -> None:
    """Add permissions to the bot's role."""
    world.guild.role_of(world.bot).permissions |= bits


async def test_a_forum_is_made_and_takes_posts_with_tags(world: World) -> None:
    give(world, MANAGE_CHANNELS)
    async with connected(world) as client:
        guild = client.get_guild(world.guild.id)
        assert guild is not None
        forum = await guild.create_forum(
            "Help Wanted",
            topic="Ask here",
            available_tags=[discord.ForumTag(name="open", emoji="🔓"), discord.ForumTag(name="done", moderated=True)],
            default_auto_archive_duration=1440,
            default_reaction_emoji="👍",
            default_layout=discord.ForumLayoutType.gallery_view,
        )
        assert (forum.name, forum.topic, [tag.name for tag in forum.available_tags]) == (
            "help-wanted",
            "Ask here",
            ["open", "done"],
        )
        thread, message = await forum.create_thread(
            name="How?", content="I do not know", applied_tags=[forum.available_tags[0]], file=discord.File(__file__)
        )
        assert (thread.id, thread.parent_id, thread.auto_archive_duration) == (message.id, forum.id, 1440)
        assert [tag.name for tag in thread.applied_tags] == ["open"]
        assert message.attachments[0].filename.endswith(".py")
        with pytest.raises(discord.Forbidden):
            await forum.create_thread(name="Mine", content="x", applied_tags=[forum.available_tags[1]])
        reply = await thread.send("nor do I")
        assert [m.content async for m in thread.history(oldest_first=True)] == ["I do not know", "nor do I"]
        assert reply.channel.id == thread.id
        assert [one.id for one in await guild.active_threads()] == [thread.id]
        with pytest.raises(AttributeError):
            await forum.send("x")  # type: ignore[attr-defined]
        await thread.edit(archived=True)
        assert [one.id async for one in forum.archived_threads()] == [thread.id]
        await forum.edit(available_tags=[*forum.available_tags, discord.ForumTag(name="new")])
        assert world.guild.channel(forum.id).channel.tags[0].id == forum.available_tags[0].id, "a tag keeps its id"


async def test_what_discord_refuses_of_forums(world: World) -> None:
    give(world, MANAGE_CHANNELS)
    forum = world.guild.create_forum("help", ["open"])
    path = f"/channels/{forum.id}/threads"
    message = {"content": "x"}
    assert (await world.rest("POST", f"/channels/{forum.id}/messages", message))[1]["code"] == 50008
    post = {"name": "How?", "message": message}
    assert (await world.rest("POST", path, {**post, "applied_tags": ["1"]}))[1]["code"] == 10087
    assert (await world.rest("POST", path, {**post, "message": {"content": ""}}))[1]["code"] == 50006
    assert [c for c in world.sandbox.world.channels.values() if c.is_thread] == [], "a refused post leaves no thread"
    assert (await world.rest("PATCH", f"/channels/{forum.id}", {"flags": 1 << 4}))[0] == 200
    assert (await world.rest("POST", path, post))[1]["code"] == 40067
    tag = str(forum.channel.tags[0].id)
    assert (await world.rest("POST", path, {**post, "applied_tags": [tag]}))[0] == 201
    give(world, MANAGE_THREADS)
    assert (await world.rest("POST", path, post))[0] == 201, "a moderator needs no tag"
    for tags, code in (([{"name": "a"}] * 2, 40061), ([{"name": str(number)} for number in range(21)], 30048)):
        status, answer = await world.rest("PATCH", f"/channels/{forum.id}", {"available_tags": tags})
        assert (status, answer["code"]) == (400, code)
    forum.channel.overwrites[world.bot.id] = Overwrite(world.bot.id, 1, 0, SEND_MESSAGES)
    assert (await world.rest("POST", path, post))[1]["code"] == 50013


async def test_a_webhook_starts_a_post_or_writes_in_one(world: World) -> None:
    give(world, permissions.MANAGE_WEBHOOKS)
    world.guild.create_forum("help", ["open"])
    async with connected(world) as client:
        guild = client.get_guild(world.guild.id)
        assert guild is not None
        forum = guild.forums[0]
        hook = await forum.create_webhook(name="Herald")
        with pytest.raises(discord.HTTPException) as refused:
            await hook.send("nowhere")
        assert refused.value.code == 220001
        started = await hook.send("news", thread_name="Today", applied_tags=[forum.available_tags[0]], wait=True)
        assert started.channel.id == started.id
        post = world.sandbox.world.channels[started.id]
        assert (post.name, post.applied_tag_ids) == ("Today", [forum.available_tags[0].id])
        await hook.send("more", thread=discord.Object(started.id))
        assert [message.content for message in post.messages.values()] == ["news", "more"]
        path = f"/webhooks/{hook.id}/{hook.token}?thread_id={started.id}"
        status, answer = await world.rest("POST", path, {"content": "x", "thread_name": "Other"})
        assert (status, answer["code"]) == (400, 220002)
