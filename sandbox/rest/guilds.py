"""Guilds, their channels and members."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import UNSET

from sandbox import payloads, permissions, shaping
from sandbox.bodies import ChannelBody, MemberBody, PositionBody, convert
from sandbox.errors import invalid_form, missing_access, missing_permissions, unknown
from sandbox.intents import GUILD_MEMBERS
from sandbox.records import Channel, Guild, Member, Role
from sandbox.rest.call import NO_CONTENT, Call, Created, Routes


def _guild(call: Call, needed: int = 0) -> Guild:
    guild = call.world.guild_for(call.account, call.id("guild_id"))
    if permissions.in_guild(guild, call.account.id) & needed != needed:
        raise missing_permissions()
    return guild


def _member(guild: Guild, user_id: int) -> Member:
    member = guild.members.get(user_id)
    if member is None:
        raise unknown("member")
    return member


def _role_below(call: Call, guild: Guild, role_id: int) -> Role:
    """Return a role that the bot may assign: one below its own highest role."""
    role = guild.roles.get(role_id)
    if role is None:
        raise unknown("role")
    if role.position >= permissions.highest_role(guild, call.account.id) or role.managed_by is not None:
        raise missing_permissions()
    return role


def _check_nickname(call: Call, guild: Guild, member: Member) -> None:
    """Check that the bot may name a member: itself, or one whose highest role is below its own.

    https://discord.com/developers/docs/topics/permissions#permission-hierarchy
    """
    own = member.user.id == call.account.id
    needed = permissions.CHANGE_NICKNAME if own else permissions.MANAGE_NICKNAMES
    if not permissions.in_guild(guild, call.account.id) & needed:
        raise missing_permissions()
    highest = permissions.highest_role(guild, call.account.id)
    if not own and permissions.highest_role(guild, member.user.id) >= highest:
        raise missing_permissions()


async def get_guild(call: Call) -> Any:
    """GET /guilds/{guild_id}."""
    return payloads.guild(_guild(call))


async def list_channels(call: Call) -> Any:
    """GET /guilds/{guild_id}/channels."""
    return [payloads.channel(channel) for channel in _guild(call).channels.values()]


async def list_active_threads(call: Call) -> Any:
    """GET /guilds/{guild_id}/threads/active: those that the bot may see."""
    threads = call.world.active_threads(_guild(call), call.account)
    own = [thread for thread in threads if call.account.id in thread.thread_members]
    return {
        "threads": [payloads.channel(thread) for thread in threads],
        "members": [payloads.thread_member(thread, call.account.id, thread.created_at) for thread in own],
        "has_more": False,
    }


async def create_channel(call: Call) -> Any:
    """POST /guilds/{guild_id}/channels."""
    guild = _guild(call, permissions.MANAGE_CHANNELS)
    raw, _ = await call.body()
    body = convert(raw, ChannelBody)
    if body.name is UNSET:
        raise invalid_form("name", "BASE_TYPE_REQUIRED", "This field is required")
    shaping.check_body(guild, body, permissions.in_guild(guild, call.account.id))
    shaping.check_room(guild)
    channel = call.world.create_channel(
        guild,
        body.name,
        kind=body.type if isinstance(body.type, int) else shaping.TEXT,
        prepare=lambda made: shaping.fill(call.world, made, body),
        act=call.act,
    )
    return Created(payloads.channel(channel))


async def move_channels(call: Call) -> Any:
    """PATCH /guilds/{guild_id}/channels: positions and categories of several; the audit log says nothing of it."""
    guild = _guild(call, permissions.MANAGE_CHANNELS)
    raw, _ = await call.body()
    moves = [(_own_channel(guild, body), body) for body in convert(raw, list[PositionBody])]
    for channel, body in moves:
        if body.parent_id is not UNSET and body.parent_id is not None:
            shaping.check_parent(guild, int(body.parent_id), is_category=channel.type == shaping.CATEGORY, own=channel)
        if body.lock_permissions and not permissions.in_guild(guild, call.account.id) & permissions.MANAGE_ROLES:
            raise missing_permissions()
    for channel, body in moves:
        call.world.edit_channel(channel, lambda one, body=body: _move(guild, one, body), call.act)  # type: ignore[misc]
    return NO_CONTENT


def _own_channel(guild: Guild, body: PositionBody) -> Channel:
    channel = guild.channels.get(int(body.id))
    if channel is None:
        raise unknown("channel")
    return channel


def _move(guild: Guild, channel: Channel, body: PositionBody) -> None:
    if body.position is not None:
        channel.position = body.position
    if body.parent_id is not UNSET:
        channel.parent_id = int(body.parent_id) if body.parent_id is not None else None
    parent = guild.channels.get(channel.parent_id or 0)
    if body.lock_permissions and parent is not None:
        channel.overwrites = {one.id: replace(one) for one in parent.overwrites.values()}


async def list_members(call: Call) -> Any:
    """GET /guilds/{guild_id}/members: needs the privileged intent."""
    guild = _guild(call)
    if not call.account.privileged_intents & GUILD_MEMBERS:
        raise missing_access()
    limit = call.query("limit", default=1, least=1, most=1000)
    after = call.query("after", default=0, least=0, most=2**63)
    members = sorted((m for i, m in guild.members.items() if i > after), key=lambda m: m.user.id)
    return [payloads.member(member) for member in members[:limit]]


async def get_member(call: Call) -> Any:
    """GET /guilds/{guild_id}/members/{user_id}."""
    return payloads.member(_member(_guild(call), call.id("user_id")))


async def edit_member(call: Call) -> Any:
    """PATCH /guilds/{guild_id}/members/{user_id}."""
    guild = _guild(call)
    member = _member(guild, call.id("user_id"))
    raw, _ = await call.body()
    body = convert(raw, MemberBody)
    role_ids = member.role_ids
    if body.roles is not UNSET:
        _guild(call, permissions.MANAGE_ROLES)
        role_ids = list(dict.fromkeys(int(role_id) for role_id in body.roles or []))
        # Roles that stay may be above the bot's: only what changes is checked.
        for role_id in set(role_ids) ^ set(member.role_ids):
            _role_below(call, guild, role_id)
    if body.nick is not UNSET:
        _check_nickname(call, guild, member)
        before, member.nick = member.nick, body.nick
        call.world.audit.renamed(guild, member.user, before, member.nick, call.act)
    call.world.set_member_roles(guild, member, role_ids, call.act)
    return payloads.member(member)


async def add_role(call: Call) -> Any:
    """PUT /guilds/{guild_id}/members/{user_id}/roles/{role_id}."""
    guild = _guild(call, permissions.MANAGE_ROLES)
    member = _member(guild, call.id("user_id"))
    role = _role_below(call, guild, call.id("role_id"))
    if role.id not in member.role_ids:
        call.world.set_member_roles(guild, member, [*member.role_ids, role.id], call.act)
    return NO_CONTENT


async def remove_role(call: Call) -> Any:
    """DELETE /guilds/{guild_id}/members/{user_id}/roles/{role_id}."""
    guild = _guild(call, permissions.MANAGE_ROLES)
    member = _member(guild, call.id("user_id"))
    role = _role_below(call, guild, call.id("role_id"))
    left = [i for i in member.role_ids if i != role.id]
    call.world.set_member_roles(guild, member, left, call.act)
    return NO_CONTENT


ROUTES: Routes = [
    ("GET", "/guilds/{guild_id}", get_guild),
    ("GET", "/guilds/{guild_id}/channels", list_channels),
    ("POST", "/guilds/{guild_id}/channels", create_channel),
    ("PATCH", "/guilds/{guild_id}/channels", move_channels),
    ("GET", "/guilds/{guild_id}/threads/active", list_active_threads),
    ("GET", "/guilds/{guild_id}/members", list_members),
    ("GET", "/guilds/{guild_id}/members/{user_id}", get_member),
    ("PATCH", "/guilds/{guild_id}/members/{user_id}", edit_member),
    ("PUT", "/guilds/{guild_id}/members/{user_id}/roles/{role_id}", add_role),
    ("DELETE", "/guilds/{guild_id}/members/{user_id}/roles/{role_id}", remove_role),
]
