"""Channels, their overwrites, and threads."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from sandbox import payloads, permissions
from sandbox.bodies import ChannelBody, OverwriteBody, ThreadBody, convert
from sandbox.errors import DiscordError, invalid_form, missing_permissions, unknown
from sandbox.events import Event
from sandbox.records import Channel, Guild, Overwrite
from sandbox.rest.call import NO_CONTENT, Call, Created, Routes


def check_channel_body(call: Call, guild: Guild, body: ChannelBody, have: int) -> None:
    """Check what a channel's body says of others, before anything is changed.

    Parameters
    ----------
    have
        The bot's permissions where the channel is, or will be.

    Raises
    ------
    DiscordError
        50035 for a parent that is no category of the guild, 50013 or 10009 for an overwrite.
    """
    if body.parent_id is not UNSET and body.parent_id is not None:
        parent = guild.channels.get(int(body.parent_id))
        if parent is None or parent.type != 4:
            raise invalid_form("parent_id", "CHANNEL_PARENT_INVALID", "Category does not exist")
        if body.type == 4:
            raise invalid_form("parent_id", "CHANNEL_PARENT_INVALID_TYPE", "A category has no parent")
    if body.permission_overwrites is not UNSET:
        for overwrite in body.permission_overwrites or []:
            _check_overwrite(guild, int(overwrite.id), overwrite, have)


def _check_overwrite(guild: Guild, target_id: int, body: OverwriteBody, have: int) -> None:
    """Check an overwrite: a bot can neither allow nor deny what it may not do itself."""
    known = target_id in (guild.roles if body.type == 0 else guild.members)
    if not known:
        raise unknown("permission overwrite")
    if (int(body.allow or 0) | int(body.deny or 0)) & ~have:
        raise missing_permissions()


def apply_channel_body(call: Call, channel: Channel, body: ChannelBody) -> None:
    """Edit a channel with a validated body, and send the event."""
    if body.name is not UNSET:
        channel.name = body.name
    if body.topic is not UNSET:
        channel.topic = body.topic
    if body.nsfw is not UNSET:
        channel.nsfw = bool(body.nsfw)
    if body.rate_limit_per_user is not UNSET:
        channel.slowmode_s = body.rate_limit_per_user or 0
    if body.position is not UNSET:
        channel.position = body.position or 0
    if body.parent_id is not UNSET:
        channel.parent_id = int(body.parent_id) if body.parent_id is not None else None
    if body.permission_overwrites is not UNSET:
        channel.overwrites = {}
        for overwrite in body.permission_overwrites or []:
            _put_overwrite(channel, int(overwrite.id), overwrite)
    if channel.is_thread:
        channel.archived = body.archived if body.archived is not UNSET else channel.archived
        channel.locked = body.locked if body.locked is not UNSET else channel.locked
        if body.auto_archive_duration is not UNSET:
            channel.auto_archive_minutes = body.auto_archive_duration
    call.world.update_channel(channel)


def _put_overwrite(channel: Channel, target_id: int, body: OverwriteBody) -> None:
    channel.overwrites[target_id] = Overwrite(target_id, body.type, int(body.allow or 0), int(body.deny or 0))


async def get_channel(call: Call) -> Any:
    """GET /channels/{channel_id}."""
    return payloads.channel(call.world.channel_for(call.account, call.id("channel_id")))


async def edit_channel(call: Call) -> Any:
    """PATCH /channels/{channel_id}."""
    channel = call.world.channel_for(call.account, call.id("channel_id"))
    needed = permissions.MANAGE_THREADS if channel.is_thread else permissions.MANAGE_CHANNELS
    may = call.world.permissions_in(call.account, channel) & needed
    if not may and not (channel.is_thread and channel.owner_id == call.account.id):
        raise missing_permissions()
    raw, _ = await call.body()
    body = convert(raw, ChannelBody)
    if channel.guild_id is not None:
        have = call.world.permissions_in(call.account, channel)
        if body.permission_overwrites is not UNSET and not have & permissions.MANAGE_ROLES:
            raise missing_permissions()
        check_channel_body(call, call.world.guilds[channel.guild_id], body, have)
    apply_channel_body(call, channel, body)
    return payloads.channel(channel)


async def delete_channel(call: Call) -> Any:
    """DELETE /channels/{channel_id}."""
    channel = call.world.channel_for(call.account, call.id("channel_id"))
    if channel.guild_id is not None:
        needed = permissions.MANAGE_THREADS if channel.is_thread else permissions.MANAGE_CHANNELS
        call.world.channel_for(call.account, channel.id, needed)
    data = payloads.channel(channel)
    call.world.delete_channel(channel)
    return data


async def put_overwrite(call: Call) -> Any:
    """PUT /channels/{channel_id}/permissions/{overwrite_id}."""
    channel = call.world.channel_for(call.account, call.id("channel_id"), permissions.MANAGE_ROLES)
    raw, _ = await call.body()
    body = convert(raw, OverwriteBody)
    if channel.guild_id is None:
        raise DiscordError(403, 50003, "Cannot execute action on a DM channel")
    have = call.world.permissions_in(call.account, channel)
    _check_overwrite(call.world.guilds[channel.guild_id], call.id("overwrite_id"), body, have)
    _put_overwrite(channel, call.id("overwrite_id"), body)
    call.world.update_channel(channel)
    return NO_CONTENT


async def delete_overwrite(call: Call) -> Any:
    """DELETE /channels/{channel_id}/permissions/{overwrite_id}."""
    channel = call.world.channel_for(call.account, call.id("channel_id"), permissions.MANAGE_ROLES)
    if channel.overwrites.pop(call.id("overwrite_id"), None) is None:
        raise unknown("permission overwrite")
    call.world.update_channel(channel)
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


async def create_thread(call: Call) -> Any:
    """POST /channels/{channel_id}/threads."""
    raw, _ = await call.body()
    body = convert(raw, ThreadBody)
    private = (body.type or 12) == 12
    needed = permissions.CREATE_PRIVATE_THREADS if private else permissions.CREATE_PUBLIC_THREADS
    parent = call.world.channel_for(call.account, call.id("channel_id"), needed)
    if parent.type != 0:
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    thread = call.world.create_thread(
        parent, call.account, body.name, kind=body.type or 12, minutes=body.auto_archive_duration or 4320
    )
    return Created(payloads.channel(thread))


async def create_thread_from_message(call: Call) -> Any:
    """POST /channels/{channel_id}/messages/{message_id}/threads."""
    raw, _ = await call.body()
    body = convert(raw, ThreadBody)
    parent = call.world.channel_for(call.account, call.id("channel_id"), permissions.CREATE_PUBLIC_THREADS)
    message = call.world.message_in(parent, call.id("message_id"))
    if message.thread_id is not None:
        raise DiscordError(400, 160004, "A thread has already been created for this message")
    # The thread has the id of its message.
    thread = call.world.create_thread(
        parent,
        call.account,
        body.name,
        kind=11,
        minutes=body.auto_archive_duration or 4320,
        thread_id=message.id,
    )
    message.thread_id = thread.id
    return Created(payloads.channel(thread))


async def join_thread(call: Call) -> Any:
    """PUT /channels/{channel_id}/thread-members/@me."""
    call.world.channel_for(call.account, call.id("channel_id")).thread_members.add(call.account.id)
    return NO_CONTENT


async def leave_thread(call: Call) -> Any:
    """DELETE /channels/{channel_id}/thread-members/@me."""
    call.world.channel_for(call.account, call.id("channel_id")).thread_members.discard(call.account.id)
    return NO_CONTENT


ROUTES: Routes = [
    ("GET", "/channels/{channel_id}", get_channel),
    ("PATCH", "/channels/{channel_id}", edit_channel),
    ("DELETE", "/channels/{channel_id}", delete_channel),
    ("PUT", "/channels/{channel_id}/permissions/{overwrite_id}", put_overwrite),
    ("DELETE", "/channels/{channel_id}/permissions/{overwrite_id}", delete_overwrite),
    ("POST", "/channels/{channel_id}/typing", typing),
    ("POST", "/channels/{channel_id}/threads", create_thread),
    ("POST", "/channels/{channel_id}/messages/{message_id}/threads", create_thread_from_message),
    ("PUT", "/channels/{channel_id}/thread-members/@me", join_thread),
    ("DELETE", "/channels/{channel_id}/thread-members/@me", leave_thread),
]
