"""Webhooks of the sandbox, as the unmodified discord.py uses them."""

from __future__ import annotations

import asyncio
from typing import Any

import discord
import pytest

from sandbox import audit, permissions
from sandbox.records import Webhook
from tests.sandbox.conftest import World, connected


def give(world: World, bits: int) -> None:
    """Add permissions to the bot's role."""
    world.guild.role_of(world.bot).permissions |= bits


def path_of(hook: Webhook, rest: str = "") -> str:
    return f"/webhooks/{hook.id}/{hook.token}{rest}"


async def test_a_webhook_writes_under_any_name_and_edits_and_deletes(world: World) -> None:
    give(world, permissions.MANAGE_WEBHOOKS)
    async with connected(world) as client:
        channel = client.get_channel(world.channel.id)
        assert isinstance(channel, discord.TextChannel)
        hook = await channel.create_webhook(name="Herald", reason="news")
        sent = await hook.send(
            "hello @everyone",
            username="Town crier",
            embed=discord.Embed(title="t"),
            allowed_mentions=discord.AllowedMentions.none(),
            wait=True,
        )
        assert (sent.author.name, sent.webhook_id, sent.embeds[0].title) == ("Town crier", hook.id, "t")
        assert not world.channel.messages[-1].mention_everyone
        await sent.edit(content="changed")
        assert (await hook.fetch_message(sent.id)).content == "changed"
        await sent.delete()
        assert world.channel.messages == []
        await hook.send("nobody waits")
        assert world.channel.messages[-1].content == "nobody waits"
        assert [one.id for one in await channel.webhooks()] == [hook.id]
        guild = client.get_guild(world.guild.id)
        assert guild is not None
        assert [one.token for one in await guild.webhooks()] == [hook.token]
        await hook.edit(name="Crier")
        await hook.delete()
        assert world.sandbox.world.webhooks == {}
    entries = world.guild.audit_log
    assert [one.action for one in entries] == [audit.WEBHOOK_CREATE, audit.WEBHOOK_UPDATE, audit.WEBHOOK_DELETE]
    assert entries[0].reason == "news"


async def test_a_bot_hears_of_webhooks_and_sees_no_token_of_another_application(world: World) -> None:
    give(world, permissions.MANAGE_WEBHOOKS)
    other = world.sandbox.create_bot("Other")
    world.guild.add_bot(other, bits=permissions.ALL)
    async with connected(world, discord.Intents(guilds=True, webhooks=True)) as client:
        told = asyncio.create_task(asyncio.wait_for(client.wait_for("webhooks_update"), 5))
        await asyncio.sleep(0)
        mine = await world.ada.creates_webhook(world.channel, "By hand")
        assert (await told).id == world.channel.id
    path = f"/channels/{world.channel.id}/webhooks"
    await world.rest("POST", path, {"name": "Foreign"}, token=other.token)
    _, listed = await world.rest("GET", path)
    assert [(one["name"], "token" in one) for one in listed] == [("By hand", True), ("Foreign", False)]
    await world.ada.deletes_webhook(mine)
    await world.ada.deletes_channel(world.channel)
    assert world.sandbox.world.webhooks == {}, "they go with their channel"


async def test_a_webhook_writes_in_threads_of_its_channel_alone(world: World) -> None:
    give(world, permissions.MANAGE_WEBHOOKS)
    other = world.guild.create_channel("other")
    async with connected(world) as client:
        channel, elsewhere = client.get_channel(world.channel.id), client.get_channel(other.id)
        assert isinstance(channel, discord.TextChannel)
        assert isinstance(elsewhere, discord.TextChannel)
        thread = await (await channel.send("start")).create_thread(name="talk")
        hook = await channel.create_webhook(name="Herald")
        sent = await hook.send("inside", thread=thread, wait=True)
        assert [m.content for m in world.sandbox.world.channels[thread.id].messages.values()] == ["inside"]
        await hook.edit_message(sent.id, content="edited", thread=thread)
        with pytest.raises(discord.NotFound):
            await hook.fetch_message(sent.id)
        foreign = await (await elsewhere.send("start")).create_thread(name="talk")
        with pytest.raises(discord.NotFound):
            await hook.send("inside", thread=foreign)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"content": ""}, 400, 50006),
        ({"content": "x" * 2001}, 400, 50035),
        ({"content": "x", "username": "The Discord team"}, 400, 50035),
        ({"content": "x", "username": "x" * 81}, 400, 50035),
        ({"content": "x", "thread_name": "no forum"}, 400, 220003),
    ],
)
async def test_what_discord_refuses_of_a_webhook(world: World, body: Any, status: int, code: int) -> None:
    world.sandbox.conformance = None  # Discord's document has some of these limits too; here our own are tested.
    hook = await world.ada.creates_webhook(world.channel, "Herald")
    got, answer = await world.rest("POST", path_of(hook), body)
    assert (got, answer["code"]) == (status, code)


async def test_webhooks_are_limited_and_need_their_permission_name_and_token(world: World) -> None:
    path = f"/channels/{world.channel.id}/webhooks"
    assert (await world.rest("POST", path, {"name": "Herald"}))[1]["code"] == 50013
    give(world, permissions.MANAGE_WEBHOOKS)
    assert (await world.rest("POST", path, {"name": "Clyde's"}))[1]["code"] == 50035
    assert (await world.rest("POST", path, {}))[0] == 400
    category = world.guild.create_category("rooms")
    assert (await world.rest("POST", f"/channels/{category.id}/webhooks", {"name": "x"}))[1]["code"] == 50024
    hooks = [await world.ada.creates_webhook(world.channel, f"hook {number}") for number in range(15)]
    assert (await world.rest("POST", path, {"name": "one more"}))[1]["code"] == 30007
    wrong = f"/webhooks/{hooks[0].id}/wrong"
    assert [(await world.rest(method, wrong, {"content": "x"}))[0] for method in ("GET", "POST", "DELETE")] == [401] * 3
    assert (await world.rest("POST", "/webhooks/1/wrong", {"content": "x"}))[1]["code"] == 10015
    status, shown = await world.rest("GET", path_of(hooks[0]))
    assert (status, "user" in shown) == (200, False)
    status, renamed = await world.rest("PATCH", path_of(hooks[0]), {"name": "Crier"})
    assert (status, renamed["name"]) == (200, "Crier")
    assert (await world.rest("DELETE", path_of(hooks[0])))[0] == 204


async def test_the_sixth_message_of_a_webhook_in_two_seconds_is_429(world: World) -> None:
    hook = await world.ada.creates_webhook(world.channel, "Herald")
    answers = [(await world.rest("POST", path_of(hook), {"content": "x"}))[0] for _ in range(6)]
    assert answers[:5] == [204] * 5
    assert answers[5] in (204, 429), "a slow machine needs longer than two seconds for six"
    assert len(world.channel.messages) == answers.count(204)
