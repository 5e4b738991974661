"""Threads, their members, and the posts of forums."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sandbox import composing, payloads, permissions, shaping
from sandbox.bodies import PostBody, ThreadBody, convert
from sandbox.errors import DiscordError, missing_permissions, thread_archived, unknown
from sandbox.records import Channel
from sandbox.rest.call import NO_CONTENT, Call, Created, Routes, moment_in_query

DEFAULT_MINUTES = 4320


async def create_thread(call: Call) -> Any:
    """POST /channels/{channel_id}/threads: a thread without a message, or a forum's post."""
    parent = call.world.channel_for(call.account, call.id("channel_id"))
    if parent.is_forum:
        return await _create_post(call, parent)
    raw, _ = await call.body()
    body = convert(raw, ThreadBody)
    private = (body.type or 12) == 12
    needed = permissions.CREATE_PRIVATE_THREADS if private else permissions.CREATE_PUBLIC_THREADS
    call.world.channel_for(call.account, parent.id, needed)
    if parent.type != shaping.TEXT:
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    thread = call.world.create_thread(
        parent,
        call.account,
        body.name,
        kind=body.type or 12,
        minutes=body.auto_archive_duration or parent.default_archive_minutes or DEFAULT_MINUTES,
        prepare=lambda made: setattr(made, "invitable", body.invitable is not False),
        act=call.act,
    )
    return Created(payloads.channel(thread))


async def _create_post(call: Call, forum: Channel) -> Created:
    """Start a post: a thread with its first message, which has the same id."""
    raw, uploads = await call.body()
    body = convert(raw, PostBody)
    have = call.world.permissions_in(call.account, forum)
    if not have & permissions.SEND_MESSAGES:
        raise missing_permissions()
    tag_ids = [int(tag_id) for tag_id in body.applied_tags or []]
    shaping.check_applied_tags(forum, tag_ids, have)
    message = composing.compose(call.world, forum, call.account, body.message, uploads, have=have)
    thread = composing.start_post(
        call.world,
        forum,
        message,
        body.name,
        minutes=body.auto_archive_duration,
        tag_ids=tag_ids,
        slowmode_s=body.rate_limit_per_user,
        act=call.act,
    )
    return Created({**payloads.channel(thread), "message": call.world.render(message, call.account)})


async def create_thread_from_message(call: Call) -> Any:
    """POST /channels/{channel_id}/messages/{message_id}/threads."""
    raw, _ = await call.body()
    body = convert(raw, ThreadBody)
    parent = call.world.channel_for(call.account, call.id("channel_id"), permissions.CREATE_PUBLIC_THREADS)
    message = call.world.message_in(parent, call.id("message_id"))
    if parent.type != shaping.TEXT:
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    if message.thread_id is not None:
        raise DiscordError(400, 160004, "A thread has already been created for this message")
    # The thread has the id of its message.
    thread = call.world.create_thread(
        parent,
        call.account,
        body.name,
        kind=11,
        minutes=body.auto_archive_duration or parent.default_archive_minutes or DEFAULT_MINUTES,
        thread_id=message.id,
        act=call.act,
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


async def list_archived_public(call: Call) -> Any:
    """GET /channels/{channel_id}/threads/archived/public."""
    return _archived(call, permissions.READ_MESSAGE_HISTORY, lambda thread: thread.type != 12)


async def list_archived_private(call: Call) -> Any:
    """GET /channels/{channel_id}/threads/archived/private: for moderators."""
    needed = permissions.READ_MESSAGE_HISTORY | permissions.MANAGE_THREADS
    return _archived(call, needed, lambda thread: thread.type == 12)


async def list_archived_joined(call: Call) -> Any:
    """GET /channels/{channel_id}/users/@me/threads/archived/private: those that the bot is in."""
    own = call.account.id
    return _archived(
        call,
        permissions.READ_MESSAGE_HISTORY,
        lambda thread: thread.type == 12 and own in thread.thread_members,
    )


def _archived(call: Call, needed: int, fits: Callable[[Channel], bool]) -> Any:
    """Return a channel's archived threads, those archived last first."""
    parent = call.world.channel_for(call.account, call.id("channel_id"), needed)
    limit = call.query("limit", default=50, least=2, most=100)
    before = moment_in_query(call, "before") if "before" in call.request.query else None
    found = [
        one
        for one in call.world.channels.values()
        if one.is_thread and one.archived and one.parent_id == parent.id and fits(one)
        if before is None or datetime.fromisoformat(one.archived_at or one.created_at) < before
    ]
    found.sort(key=lambda thread: thread.archived_at or thread.created_at, reverse=True)
    shown = found[:limit]
    own = [thread for thread in shown if call.account.id in thread.thread_members]
    return {
        "threads": [payloads.channel(thread) for thread in shown],
        "members": [payloads.thread_member(thread, call.account.id, thread.created_at) for thread in own],
        "has_more": len(found) > len(shown),
    }


ROUTES: Routes = [
    ("GET", "/channels/{channel_id}/threads/archived/public", list_archived_public),
    ("GET", "/channels/{channel_id}/threads/archived/private", list_archived_private),
    ("GET", "/channels/{channel_id}/users/@me/threads/archived/private", list_archived_joined),
    ("POST", "/channels/{channel_id}/threads", create_thread),
    ("POST", "/channels/{channel_id}/messages/{message_id}/threads", create_thread_from_message),
    ("PUT", "/channels/{channel_id}/thread-members/@me", join_thread),
    ("DELETE", "/channels/{channel_id}/thread-members/@me", leave_thread),
    ("GET", "/channels/{channel_id}/thread-members", list_thread_members),
    ("PUT", "/channels/{channel_id}/thread-members/{user_id}", add_thread_member),
    ("DELETE", "/channels/{channel_id}/thread-members/{user_id}", remove_thread_member),
]
