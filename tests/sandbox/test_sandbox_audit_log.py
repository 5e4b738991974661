"""The audit log of the sandbox: who did what to a server, as the unmodified discord.py reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import discord
import pytest

from sandbox import SandboxError, audit, permissions
from tests.sandbox.conftest import World, connected

INTENTS = discord.Intents(guilds=True, moderation=True, webhooks=True)


def give(world: World, bits: int) -> None:
    """Add permissions to the bot's role."""
    world.guild.role_of(world.bot).permissions |= bits


async def heard(client: discord.Client, name: str, fits: Callable[..., bool]) -> asyncio.Task[Any]:
    """Begin to wait for an event."""
    waiting = asyncio.create_task(asyncio.wait_for(client.wait_for(name, check=fits), 5))
    await asyncio.sleep(0)
    return waiting


async def test_a_bot_is_told_who_deleted_a_channel(world: World) -> None:
    give(world, permissions.VIEW_AUDIT_LOG)
    doomed = world.guild.create_channel("doomed")
    async with connected(world, INTENTS) as client:
        told = await heard(client, "audit_log_entry_create", lambda entry: True)
        await world.ada.deletes_channel(doomed)
        entry = await told
        assert (entry.action, entry.user_id) == (discord.AuditLogAction.channel_delete, world.ada.id)
        assert (entry.target.id, entry.before.name) == (doomed.id, "doomed")
        guild = client.get_guild(world.guild.id)
        assert guild is not None
        read = [one async for one in guild.audit_logs(action=discord.AuditLogAction.channel_delete)]
        assert [(one.id, one.user_id) for one in read] == [(entry.id, world.ada.id)]


async def test_what_a_bot_does_has_its_reason_and_what_changed(world: World) -> None:
    give(world, permissions.VIEW_AUDIT_LOG | permissions.MANAGE_CHANNELS | permissions.MANAGE_ROLES)
    async with connected(world, INTENTS) as client:
        guild = client.get_guild(world.guild.id)
        assert guild is not None
        made = await guild.create_text_channel("News Of All", reason="to test: ü")
        assert made.name == "news-of-all", "Discord writes a text channel's name so"
        await made.edit(topic="all of it")
        await made.set_permissions(guild.default_role, send_messages=False)
        await made.set_permissions(guild.default_role, overwrite=None)
        await made.delete()
        read = [one async for one in guild.audit_logs(oldest_first=True)]
        action = discord.AuditLogAction
        assert [one.action for one in read] == [
            action.channel_create,
            action.channel_update,
            action.overwrite_create,
            action.overwrite_delete,
            action.channel_delete,
        ]
        assert (read[0].reason, read[0].after.name) == ("to test: ü", "news-of-all")
        assert (read[1].before.topic, read[1].after.topic) == (None, "all of it")
        assert read[2].extra == guild.default_role
        assert read[2].after.deny == discord.Permissions(send_messages=True)


async def test_roles_pins_and_messages_of_others_are_recorded(world: World) -> None:
    give(world, permissions.VIEW_AUDIT_LOG)
    bob = world.sandbox.create_human("bob")
    world.guild.add_member(bob)
    role = await world.ada.creates_role(world.guild, "helper")
    await world.ada.gives_role(world.guild, bob, role)
    await world.ada.edits_role(world.guild, role, name="Helper")
    words = await bob.sends(world.channel, "words")
    await world.ada.pins(words)
    await world.ada.unpins(words)
    await bob.deletes(await bob.sends(world.channel, "mine"))
    await world.ada.deletes(words)
    await world.ada.deletes(await bob.sends(world.channel, "more"))
    await world.ada.deletes_role(world.guild, role)
    _, page = await world.rest("GET", f"/guilds/{world.guild.id}/audit-logs?after=0")
    entries = page["audit_log_entries"]
    assert [one["action_type"] for one in entries] == [
        audit.ROLE_CREATE,
        audit.MEMBER_ROLE_UPDATE,
        audit.ROLE_UPDATE,
        audit.MESSAGE_PIN,
        audit.MESSAGE_UNPIN,
        audit.MESSAGE_DELETE,
        audit.ROLE_DELETE,
    ], "of one's own message there is none, and two of another's are one entry"
    assert entries[1]["changes"] == [{"key": "$add", "new_value": [{"id": str(role.id), "name": "helper"}]}]
    assert entries[3]["options"] == {"channel_id": str(world.channel.id), "message_id": str(words.id)}
    assert entries[5]["options"]["count"] == "2"
    assert {one["username"] for one in page["users"]} == {"ada", "bob"}


async def test_only_who_may_view_the_audit_log_reads_and_hears_of_it(world: World) -> None:
    path = f"/guilds/{world.guild.id}/audit-logs"
    assert (await world.rest("GET", path))[1]["code"] == 50013
    async with connected(world, INTENTS) as client:
        told: list[int] = []

        async def on_audit_log_entry_create(entry: discord.AuditLogEntry) -> None:
            told.append(entry.id)

        client.event(on_audit_log_entry_create)
        await world.ada.creates_channel(world.guild, "unseen")
        give(world, permissions.VIEW_AUDIT_LOG)
        seen = await heard(client, "audit_log_entry_create", lambda entry: True)
        await world.ada.creates_channel(world.guild, "seen")
        assert (await seen).after.name == "seen"
        assert len(told) == 1


async def test_the_audit_log_is_read_by_page_person_and_kind(world: World) -> None:
    give(world, permissions.VIEW_AUDIT_LOG)
    for name in ("one", "two", "three"):
        await world.ada.creates_channel(world.guild, name)
    path = f"/guilds/{world.guild.id}/audit-logs"

    async def names(query: str) -> list[str]:
        _, page = await world.rest("GET", path + query)
        return [one["changes"][0]["new_value"] for one in page["audit_log_entries"]]

    middle = world.guild.audit_log[1].id
    assert await names("") == ["three", "two", "one"]
    assert await names("?limit=1") == ["three"]
    assert await names(f"?before={middle}") == ["one"]
    assert await names("?after=0&limit=2") == ["one", "two"]
    assert await names(f"?user_id={world.bot.id}") == []
    assert await names(f"?action_type={audit.CHANNEL_DELETE}") == []
    assert (await world.rest("GET", path + "?limit=101"))[0] == 400


async def test_a_move_leaves_no_entry(world: World) -> None:
    category = world.guild.create_category("rooms")
    give(world, permissions.MANAGE_CHANNELS)
    await world.ada.moves_channel(world.channel, position=3, inside=category)
    move = {"id": str(world.channel.id), "position": 0, "parent_id": None}
    assert (await world.rest("PATCH", f"/guilds/{world.guild.id}/channels", [move]))[0] == 204
    assert (world.channel.channel.position, world.channel.channel.parent_id) == (0, None)
    assert list(world.guild.audit_log) == []


async def test_channels_are_reordered_and_take_their_categorys_overwrites(world: World) -> None:
    give(world, permissions.MANAGE_CHANNELS | permissions.MANAGE_ROLES)
    category = world.guild.create_category("rooms")
    await world.ada.sets_overwrite(category, world.guild.guild.roles[world.guild.id], deny=permissions.SEND_MESSAGES)
    async with connected(world) as client:
        channel = client.get_channel(world.channel.id)
        assert isinstance(channel, discord.TextChannel)
        parent = client.get_channel(category.id)
        assert isinstance(parent, discord.CategoryChannel)
        await channel.move(category=parent, beginning=True, sync_permissions=True)
        assert world.channel.channel.parent_id == category.id
        assert world.channel.channel.overwrites.keys() == {world.guild.id}
    path = f"/guilds/{world.guild.id}/channels"
    assert (await world.rest("PATCH", path, [{"id": "1"}]))[1]["code"] == 10003
    status, answer = await world.rest(
        "PATCH", path, [{"id": str(world.channel.id), "parent_id": str(world.channel.id)}]
    )
    assert (status, answer["code"]) == (400, 50035)


async def test_people_can_only_do_what_they_may(world: World) -> None:
    bob = world.sandbox.create_human("bob")
    world.guild.add_member(bob)
    role = world.guild.create_role("high")
    with pytest.raises(SandboxError, match="may not"):
        await bob.renames_channel(world.channel, "mine")
    with pytest.raises(SandboxError, match="may not"):
        await bob.creates_channel(world.guild, "mine")
    with pytest.raises(SandboxError, match="may not"):
        await bob.deletes_role(world.guild, role)
    with pytest.raises(SandboxError, match="cannot edit"):
        await world.ada.edits_channel(world.channel, parent_id="1")


async def test_a_pin_is_announced_said_in_the_channel_and_limited(world: World) -> None:
    give(world, permissions.PIN_MESSAGES)
    async with connected(world) as client:
        channel = client.get_channel(world.channel.id)
        assert isinstance(channel, discord.TextChannel)
        first = await channel.send("one")
        told = await heard(client, "guild_channel_pins_update", lambda *about: about[1] is not None)
        await first.pin()
        await told
        note = world.channel.messages[-1]
        assert (note.type, note.reference_id) == (6, first.id)
    extra = [await world.ada.sends(world.channel, str(number)) for number in range(250)]
    for message in extra[:249]:
        await world.ada.pins(message)
    path = f"/channels/{world.channel.id}/messages/pins/{extra[249].id}"
    assert (await world.rest("PUT", path))[1]["code"] == 30003
    _, page = await world.rest("GET", f"/channels/{world.channel.id}/messages/pins?limit=50")
    assert (len(page["items"]), page["has_more"]) == (50, True)
    assert page["items"][0]["message"]["id"] == str(extra[248].id), "the last one first"
    assert (await world.rest("PUT", f"/channels/{world.channel.id}/messages/pins/{note.id}"))[1]["code"] == 50021
