"""What Discord refuses in private channels and threads, the sandbox refuses."""

from __future__ import annotations

from typing import Any

import discord
import pytest

from sandbox import permissions
from sandbox.errors import SandboxError
from sandbox.permissions import (
    CREATE_PRIVATE_THREADS,
    MANAGE_CHANNELS,
    MANAGE_NICKNAMES,
    MANAGE_ROLES,
    MANAGE_THREADS,
    SEND_MESSAGES,
    VIEW_CHANNEL,
)
from tests.conftest import TurnableClock
from tests.sandbox.conftest import World, connected

SEES = VIEW_CHANNEL | SEND_MESSAGES


def give(world: World, *bits: int) -> None:
    """Add permissions to the bot's role."""
    role = world.guild.role_of(world.bot)
    for bit in bits:
        role.permissions |= bit


def overwrite(who: int, *, member: bool = False, allow: int = 0, deny: int = 0) -> dict[str, Any]:
    return {"id": str(who), "type": int(member), "allow": str(allow), "deny": str(deny)}


async def private(world: World, *others: dict[str, Any]) -> tuple[int, Any]:
    """Create a channel that nobody sees but the bot and others."""
    give(world, MANAGE_CHANNELS, MANAGE_ROLES)
    hidden = overwrite(world.guild.id, deny=VIEW_CHANNEL)
    body = {"name": "t-1", "permission_overwrites": [hidden, overwrite(world.bot.id, member=True, allow=SEES), *others]}
    return await world.rest("POST", f"/guilds/{world.guild.id}/channels", body)


async def test_a_private_channel_is_told_only_to_who_may_see_it_and_only_they_press_in_it(world: World) -> None:
    bob = world.sandbox.create_human("bob")
    world.guild.add_member(bob)
    other = world.sandbox.create_bot("Other")
    world.guild.add_bot(other)
    told: list[tuple[str, int]] = []
    world.sandbox.world.listeners.append(
        lambda event: told.append((event.name, len(event.data.get("permission_overwrites", ()))))
    )
    status, made = await private(world)
    assert (status, told[0]) == (201, ("CHANNEL_CREATE", 2)), "it is never seen without its overwrites"
    path = f"/channels/{made['id']}/messages"
    assert (await world.rest("POST", path, {"content": "x"}, token=other.token))[1]["code"] == 50001
    channel = world.guild.channel(int(made["id"]))
    button = {"type": 2, "style": 1, "label": "Claim", "custom_id": "claim"}
    _, message = await world.rest("POST", path, {"content": "x", "components": [{"type": 1, "components": [button]}]})
    with pytest.raises(SandboxError, match="bob may not"):
        await bob.presses(channel.channel.messages[int(message["id"])], "claim")


async def test_a_bot_writes_no_bit_that_it_has_not_and_manage_roles_never(world: World) -> None:
    status, made = await private(world)
    assert status == 201
    path = f"/channels/{made['id']}/permissions/{world.ada.id}"
    for allow, code in ((SEES, 204), (permissions.MANAGE_MESSAGES, 50013), (MANAGE_ROLES, 50013)):
        status, answer = await world.rest("PUT", path, {"type": 1, "allow": str(allow), "deny": "0"})
        assert (answer or {"code": status})["code"] == code, allow
    give(world, permissions.ADMINISTRATOR)
    assert (await world.rest("PUT", path, {"type": 1, "allow": str(MANAGE_ROLES)}))[0] == 204


async def test_roles_and_names_of_who_is_above_are_out_of_reach(world: World) -> None:
    give(world, MANAGE_ROLES, MANAGE_NICKNAMES)
    high, low = world.guild.create_role("high"), world.guild.create_role("low")
    world.guild.move_role(low, 1)
    assert [role.name for role in sorted(world.guild.guild.roles.values(), key=lambda r: r.position)] == [
        "@everyone",
        "low",
        "Atlas",
        "high",
    ]
    bob = world.sandbox.create_human("bob")
    world.guild.add_member(bob, [high])
    path = f"/guilds/{world.guild.id}/members/{bob.id}"
    assert (await world.rest("PUT", f"{path}/roles/{low.id}"))[0] == 204
    assert (await world.rest("DELETE", f"{path}/roles/{high.id}"))[1]["code"] == 50013
    assert (await world.rest("PATCH", path, {"roles": [str(high.id)]}))[0] == 200, "what stays may be above"
    assert (await world.rest("PATCH", path, {"roles": []}))[1]["code"] == 50013
    assert (await world.rest("PATCH", path, {"nick": "bobby"}))[1]["code"] == 50013
    world.guild.move_role(world.guild.role_of(world.bot), 3)
    assert (await world.rest("PATCH", path, {"nick": "bobby"}))[0] == 200


async def test_a_category_takes_50_channels_and_a_server_500(world: World) -> None:
    give(world, MANAGE_CHANNELS)
    category = world.guild.create_category("tickets")
    inside = [world.guild.create_channel(f"t-{n}", inside=category) for n in range(50)]
    body = {"name": "t-50", "parent_id": str(category.id)}
    status, answer = await world.rest("POST", f"/guilds/{world.guild.id}/channels", body)
    errors = answer["errors"]["parent_id"]["_errors"]
    assert (status, answer["code"], errors[0]["code"]) == (400, 50035, "CHANNEL_PARENT_MAX_CHANNELS")
    moved = await world.rest("PATCH", f"/channels/{world.channel.id}", {"parent_id": str(category.id)})
    assert moved[1]["code"] == 50035
    assert (await world.rest("PATCH", f"/channels/{inside[0].id}", body))[0] == 200, "it is there already"
    assert (await world.rest("DELETE", f"/channels/{inside[1].id}"))[0] == 200
    assert (await world.rest("POST", f"/guilds/{world.guild.id}/channels", body))[0] == 201
    for number in range(500 - len(world.guild.guild.channels)):
        world.guild.create_channel(f"c-{number}")
    status, answer = await world.rest("POST", f"/guilds/{world.guild.id}/channels", {"name": "one-more"})
    assert (status, answer["code"]) == (400, 30013)


async def test_a_third_edit_of_a_name_or_topic_in_ten_minutes_waits_for_long(
    world: World, clock: TurnableClock
) -> None:
    clock.seconds = world.sandbox.world.clock()
    world.sandbox.rate_limits._clock = clock
    give(world, MANAGE_CHANNELS)
    path = f"/channels/{world.channel.id}"
    for body in ({"name": "one"}, {"topic": "two"}):
        assert (await world.rest("PATCH", path, body))[0] == 200
    clock.turn(5)
    status, answer = await world.rest("PATCH", path, {"name": "three"})
    assert (status, answer["retry_after"], world.channel.channel.name) == (429, 595.0, "one")
    assert (await world.rest("PATCH", path, {"position": 3}))[0] == 200, "other edits are not limited by it"
    clock.turn(596)
    assert (await world.rest("PATCH", path, {"name": "three"}))[0] == 200


async def test_a_private_thread_is_its_members_and_takes_nobody_while_archived(world: World) -> None:
    give(world, CREATE_PRIVATE_THREADS, MANAGE_ROLES)
    bob, cid = world.sandbox.create_human("bob"), world.sandbox.create_human("cid")
    for one in (bob, cid):
        world.guild.add_member(one)
    mods = world.sandbox.create_bot("Mods")
    world.guild.add_bot(mods, bits=permissions.EVERYONE_DEFAULT | MANAGE_THREADS)
    other = world.sandbox.create_bot("Other")
    world.guild.add_bot(other)
    body = {"name": "t-1", "type": 12, "invitable": False}
    status, made = await world.rest("POST", f"/channels/{world.channel.id}/threads", body)
    assert (status, made["thread_metadata"]["invitable"]) == (201, False)
    path, thread = f"/channels/{made['id']}", world.guild.channel(int(made["id"]))
    assert (await world.rest("GET", path, token=other.token))[1]["code"] == 50001
    assert (await world.rest("GET", path, token=mods.token))[0] == 200
    assert (await world.rest("PUT", f"{path}/thread-members/{bob.id}"))[0] == 204
    active = f"/guilds/{world.guild.id}/threads/active"
    assert [one["id"] for one in (await world.rest("GET", active))[1]["threads"]] == [made["id"]]
    assert (await world.rest("GET", active, token=other.token))[1]["threads"] == []
    await bob.sends(thread, "hello")
    with pytest.raises(SandboxError):
        await cid.sends(thread, "let me in")
    members = (await world.rest("GET", f"{path}/thread-members"))[1]
    assert [int(one["user_id"]) for one in members] == sorted([world.bot.id, bob.id])
    overwritten = await world.rest("PUT", f"{path}/permissions/{cid.id}", {"type": 1, "allow": "1024"})
    assert overwritten[1]["code"] == 50024, "a thread has no overwrites"

    assert (await world.rest("PATCH", path, {"locked": True}))[1]["code"] == 50013, "only a moderator locks"
    assert (await world.rest("PATCH", path, {"archived": True}))[0] == 200
    for method, rest in (("PUT", f"/thread-members/{cid.id}"), ("DELETE", f"/thread-members/{bob.id}")):
        assert (await world.rest(method, path + rest))[1]["code"] == 50083
    assert (await world.rest("PATCH", path, {"name": "t-2"}, token=mods.token))[1]["code"] == 50083
    with pytest.raises(SandboxError, match="archived"):
        await bob.runs_command(thread, world.bot, "help")
    assert (await world.rest("POST", f"{path}/messages", {"content": "open again"}))[0] == 200
    assert not thread.channel.archived
    assert (await world.rest("PATCH", path, {"locked": True}, token=mods.token))[0] == 200
    with pytest.raises(SandboxError, match="160005"):
        await bob.sends(thread, "hello?")
    assert (await world.rest("DELETE", f"{path}/thread-members/{bob.id}"))[0] == 204


async def test_a_bot_gets_the_thread_that_it_is_added_to_and_finds_it_after_a_restart(world: World) -> None:
    give(world, CREATE_PRIVATE_THREADS)
    thread = world.sandbox.world.create_thread(world.channel.channel, world.ada.user, "t-1", kind=12, minutes=60)
    async with connected(world) as client:
        assert client.get_channel(thread.id) is None
        added = client.loop.create_task(client.wait_for("thread_join", timeout=5))
        message = client.loop.create_task(client.wait_for("message", timeout=5))
        world.sandbox.world.set_thread_member(thread, world.bot.account, member=True)
        assert (await added).id == thread.id
        await world.ada.sends(world.guild.channel(thread.id), "hello")
        assert isinstance((await message).channel, discord.Thread)
    async with connected(world) as client:
        assert client.get_channel(thread.id) is not None


async def test_closed_direct_messages_are_refused_and_opened_again_they_are_not(world: World) -> None:
    bob = world.sandbox.create_human("bob")
    world.guild.add_member(bob)
    bob.closes_direct_messages()
    status, made = await world.rest("POST", "/users/@me/channels", {"recipient_id": str(bob.id)})
    assert status == 200
    path = f"/channels/{made['id']}/messages"
    status, answer = await world.rest("POST", path, {"content": "x"})
    assert (status, answer["code"]) == (403, 50007)
    bob.closes_direct_messages(closed=False)
    assert (await world.rest("POST", path, {"content": "x"}))[0] == 200
