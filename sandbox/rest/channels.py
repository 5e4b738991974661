"""Channels and their overwrites."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from sandbox import payloads, permissions, shaping
from sandbox.bodies import ChannelBody, OverwriteBody, convert
from sandbox.errors import (
    DiscordError,
    RateLimitedEdit,
    missing_permissions,
    thread_archived,
    unknown,
)
from sandbox.events import Event
from sandbox.records import Channel
from sandbox.rest.call import NO_CONTENT, Call, Routes


async def get_channel(call: Call) -> Any:
    """GET /channels/{channel_id}."""
    return payloads.channel(call.world.channel_for(call.account, call.id("channel_id")))


async def edit_channel(call: Call) -> Any:
    """PATCH /channels/{channel_id}."""
    channel = call.world.channel_for(call.account, call.id("channel_id"))
    raw, _ = await call.body()
    body = convert(raw, ChannelBody)
    _check_may_edit(call, channel, body)
    if channel.guild_id is not None:
        have = call.world.permissions_in(call.account, channel)
        if body.permission_overwrites is not UNSET and not have & permissions.MANAGE_ROLES:
            raise missing_permissions()
        shaping.check_body(call.world.guilds[channel.guild_id], body, have, own=channel)
    if body.name is not UNSET or body.topic is not UNSET:
        wait_s = call.rate_limits.admit_name_edit(channel.id)
        if wait_s is not None:
            raise RateLimitedEdit(wait_s)
    call.world.edit_channel(channel, lambda one: shaping.fill(call.world, one, body), call.act)
    return payloads.channel(channel)


def _check_may_edit(call: Call, channel: Channel, body: ChannelBody) -> None:
    """Check who edits: a thread's owner may too, but only a moderator locks one or opens a locked one.

    https://discord.com/developers/docs/topics/threads#editing--deleting-threads
    """
    have = call.world.permissions_in(call.account, channel)
    if not channel.is_thread:
        may = bool(have & permissions.MANAGE_CHANNELS)
    elif have & permissions.MANAGE_THREADS:
        may = True
    else:
        may = channel.owner_id == call.account.id and not channel.locked and body.locked in (UNSET, False)
    if not may:
        raise missing_permissions()
    if channel.archived and body.archived is UNSET:
        raise thread_archived()


async def delete_channel(call: Call) -> Any:
    """DELETE /channels/{channel_id}."""
    channel = call.world.channel_for(call.account, call.id("channel_id"))
    if channel.guild_id is not None:
        needed = permissions.MANAGE_THREADS if channel.is_thread else permissions.MANAGE_CHANNELS
        call.world.channel_for(call.account, channel.id, needed)
    data = payloads.channel(channel)
    call.world.delete_channel(channel, call.act)
    return data


async def put_overwrite(call: Call) -> Any:
    """PUT /channels/{channel_id}/permissions/{overwrite_id}."""
    channel = call.world.channel_for(call.account, call.id("channel_id"), permissions.MANAGE_ROLES)
    raw, _ = await call.body()
    body = convert(raw, OverwriteBody)
    if channel.guild_id is None:
        raise DiscordError(403, 50003, "Cannot execute action on a DM channel")
    if channel.is_thread:
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    have = call.world.permissions_in(call.account, channel)
    target_id = call.id("overwrite_id")
    shaping.check_overwrite(call.world.guilds[channel.guild_id], target_id, body, have)
    call.world.edit_channel(channel, lambda one: shaping.put_overwrite(one, target_id, body), call.act)
    return NO_CONTENT


async def delete_overwrite(call: Call) -> Any:
    """DELETE /channels/{channel_id}/permissions/{overwrite_id}."""
    channel = call.world.channel_for(call.account, call.id("channel_id"), permissions.MANAGE_ROLES)
    target_id = call.id("overwrite_id")
    if target_id not in channel.overwrites:
        raise unknown("permission overwrite")
    call.world.edit_channel(channel, lambda one: one.overwrites.pop(target_id), call.act)
    return NO_CONTENT


async def typing(call: Call) -> Any:
    """POST /channels/{channel_id}/typing."""
    channel = call.world.channel_for(call.account, call.id("channel_id"), permissions.SEND_MESSAGES)
    data: dict[str, Any] = {
        "channel_id": str(channel.id),
        "user_id": str(call.account.id),
        "timestamp": int(call.world.clock()),
    }
    if channel.guild_id is not None:
        data["guild_id"] = str(channel.guild_id)
        data["member"] = payloads.member(call.world.guilds[channel.guild_id].members[call.account.id])
    call.world.emit(Event("TYPING_START", data, channel.guild_id, channel.id))
    return NO_CONTENT


ROUTES: Routes = [
    ("GET", "/channels/{channel_id}", get_channel),
    ("PATCH", "/channels/{channel_id}", edit_channel),
    ("DELETE", "/channels/{channel_id}", delete_channel),
    ("PUT", "/channels/{channel_id}/permissions/{overwrite_id}", put_overwrite),
    ("DELETE", "/channels/{channel_id}/permissions/{overwrite_id}", delete_overwrite),
    ("POST", "/channels/{channel_id}/typing", typing),
]
