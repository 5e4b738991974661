"""Channels, their overwrites, and threads."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from sandbox import payloads, permissions
from sandbox.bodies import ChannelBody, OverwriteBody, ThreadBody, convert
from sandbox.errors import (
    DiscordError,
    RateLimitedEdit,
    invalid_form,
    missing_permissions,
    thread_archived,
    unknown,
)
from sandbox.events import Event
from sandbox.records import Channel, Guild, Overwrite
from sandbox.rest.call import NO_CONTENT, Call, Created, Routes

MAX_CHANNELS, MAX_CHANNELS_IN_CATEGORY = 500, 50
"""Of a server, categories included, threads not: support.discord.com's account, role and channel caps."""


def check_channel_body(call: Call, guild: Guild, body: ChannelBody, have: int) -> None:
    """Check what a channel's body says of others, before anything is changed.

    Parameters
    ----------
    have
        The bot's permissions where the channel is, or will be.

    Raises
    ------
    DiscordError
        50035 for a parent that is no category of the guild or is full, 50013 or 10009 for an overwrite.
    """
    if body.parent_id is not UNSET and body.parent_id is not None:
        parent = guild.channels.get(int(body.parent_id))
        if parent is None or parent.type != 4:
            raise invalid_form("parent_id", "CHANNEL_PARENT_INVALID", "Category does not exist")
        if body.type == 4:
            raise invalid_form("parent_id", "CHANNEL_PARENT_INVALID_TYPE", "A category has no parent")
        own = call.request.match_info.get("channel_id", "")
        inside = [one for one in guild.channels.values() if one.parent_id == parent.id and str(one.id) != own]
        if len(inside) >= MAX_CHANNELS_IN_CATEGORY:
            raise invalid_form(
                "parent_id",
                "CHANNEL_PARENT_MAX_CHANNELS",
                f"Maximum number of channels in category reached ({MAX_CHANNELS_IN_CATEGORY})",
            )
    if body.permission_overwrites is not UNSET:
        for overwrite in body.permission_overwrites or []:
            _check_overwrite(guild, int(overwrite.id), overwrite, have)


def _check_overwrite(guild: Guild, target_id: int, body: OverwriteBody, have: int) -> None:
    """Check an overwrite: a bot can neither allow nor deny what it may not do itself.

    MANAGE_ROLES can be set by administrators only:
    https://discord.com/developers/docs/resources/guild#create-guild-channel.
    """
    known = target_id in (guild.roles if body.type == 0 else guild.members)
    if not known:
        raise unknown("permission overwrite")
    bits = int(body.allow or 0) | int(body.deny or 0)
    if bits & ~have or (bits & permissions.MANAGE_ROLES and have != permissions.ALL):
        raise missing_permissions()


def apply_channel_body(call: Call, channel: Channel, body: ChannelBody) -> None:
    """Edit a channel with a validated body, and send the event."""
    fill_channel(channel, body)
    call.world.update_channel(channel)


def fill_channel(channel: Channel, body: ChannelBody) -> None:
    """Change a channel as a validated body has it."""
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
        channel.invitable = body.invitable if body.invitable is not UNSET else channel.invitable


def _put_overwrite(channel: Channel, target_id: int, body: OverwriteBody) -> None:
    channel.overwrites[target_id] = Overwrite(target_id, body.type, int(body.allow or 0), int(body.deny or 0))


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
        check_channel_body(call, call.world.guilds[channel.guild_id], body, have)
    if body.name is not UNSET or body.topic is not UNSET:
        wait_s = call.rate_limits.admit_name_edit(channel.id)
        if wait_s is not None:
            raise RateLimitedEdit(wait_s)
    apply_channel_body(call, channel, body)
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
    call.world.delete_channel(channel)
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
    thread.invitable = body.invitable is not False
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
    thread = _thread(call)
    _check_open(thread)
    call.world.set_thread_member(thread, call.account, member=True)
    return NO_CONTENT


def _thread(call: Call) -> Channel:
    channel = call.world.channel_for(call.account, call.id("channel_id"))
    if not channel.is_thread:
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    return channel


def _check_open(thread: Channel) -> None:
    if thread.archived:
        raise thread_archived()


async def add_thread_member(call: Call) -> Any:
    """PUT /channels/{channel_id}/thread-members/{user_id}: needs to write in the thread, which is not archived."""
    thread = _thread(call)
    have = call.world.permissions_in(call.account, thread)
    closed = thread.type == 12 and not thread.invitable and thread.owner_id != call.account.id
    if not have & permissions.SEND_MESSAGES or (closed and not have & permissions.MANAGE_THREADS):
        raise missing_permissions()
    _check_open(thread)
    guild = call.world.guild(thread.guild_id)
    member = guild.members.get(call.id("user_id"))
    if member is None:
        raise unknown("member")
    call.world.set_thread_member(thread, member.user, member=True)
    return NO_CONTENT


async def remove_thread_member(call: Call) -> Any:
    """DELETE /channels/{channel_id}/thread-members/{user_id}: for moderators, and the owner of a private one."""
    thread = _thread(call)
    own = thread.type == 12 and thread.owner_id == call.account.id
    if not own and not call.world.permissions_in(call.account, thread) & permissions.MANAGE_THREADS:
        raise missing_permissions()
    _check_open(thread)
    user = call.world.users.get(call.id("user_id"))
    if user is None or user.id not in thread.thread_members:
        raise unknown("member")
    call.world.set_thread_member(thread, user, member=False)
    return NO_CONTENT


async def list_thread_members(call: Call) -> Any:
    """GET /channels/{channel_id}/thread-members."""
    thread = _thread(call)
    return [payloads.thread_member(thread, user_id, thread.created_at) for user_id in sorted(thread.thread_members)]


async def leave_thread(call: Call) -> Any:
    """DELETE /channels/{channel_id}/thread-members/@me."""
    thread = _thread(call)
    _check_open(thread)
    call.world.set_thread_member(thread, call.account, member=False)
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
    ("GET", "/channels/{channel_id}/thread-members", list_thread_members),
    ("PUT", "/channels/{channel_id}/thread-members/{user_id}", add_thread_member),
    ("DELETE", "/channels/{channel_id}/thread-members/{user_id}", remove_thread_member),
]
