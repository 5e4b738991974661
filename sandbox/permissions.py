"""Permission bits and their computation: https://discord.com/developers/docs/topics/permissions."""

from __future__ import annotations

from sandbox.records import Channel, Guild

KICK_MEMBERS = 1 << 1
ADMINISTRATOR = 1 << 3
MANAGE_CHANNELS = 1 << 4
MANAGE_GUILD = 1 << 5
ADD_REACTIONS = 1 << 6
VIEW_AUDIT_LOG = 1 << 7
VIEW_CHANNEL = 1 << 10
SEND_MESSAGES = 1 << 11
MANAGE_MESSAGES = 1 << 13
EMBED_LINKS = 1 << 14
ATTACH_FILES = 1 << 15
READ_MESSAGE_HISTORY = 1 << 16
MENTION_EVERYONE = 1 << 17
USE_EXTERNAL_EMOJIS = 1 << 18
CHANGE_NICKNAME = 1 << 26
MANAGE_NICKNAMES = 1 << 27
MANAGE_ROLES = 1 << 28
MANAGE_WEBHOOKS = 1 << 29
USE_APPLICATION_COMMANDS = 1 << 31
MANAGE_THREADS = 1 << 34
CREATE_PUBLIC_THREADS = 1 << 35
CREATE_PRIVATE_THREADS = 1 << 36
SEND_MESSAGES_IN_THREADS = 1 << 38
PIN_MESSAGES = 1 << 51

ALL = (1 << 53) - 1

EVERYONE_DEFAULT = (
    ADD_REACTIONS
    | VIEW_CHANNEL
    | SEND_MESSAGES
    | EMBED_LINKS
    | ATTACH_FILES
    | READ_MESSAGE_HISTORY
    | USE_EXTERNAL_EMOJIS
    | USE_APPLICATION_COMMANDS
    | CHANGE_NICKNAME
    | CREATE_PUBLIC_THREADS
    | SEND_MESSAGES_IN_THREADS
)

_NEEDS_SENDING = MENTION_EVERYONE | ATTACH_FILES | EMBED_LINKS


def in_guild(guild: Guild, user_id: int) -> int:
    """Compute a member's permissions in the guild: owner, roles, administrator."""
    member = guild.members.get(user_id)
    if member is None:
        return 0
    if guild.owner_id == user_id:
        return ALL
    bits = guild.roles[guild.id].permissions
    for role_id in member.role_ids:
        bits |= guild.roles[role_id].permissions
    return ALL if bits & ADMINISTRATOR else bits


def highest_role(guild: Guild, user_id: int) -> int:
    """Return the position of a member's highest role; the owner's is above all."""
    if guild.owner_id == user_id:
        return len(guild.roles)
    member = guild.members.get(user_id)
    return max((guild.roles[role_id].position for role_id in member.role_ids), default=0) if member else 0


def in_channel(guild: Guild, channel: Channel, user_id: int) -> int:
    """Compute a member's permissions in a channel: overwrites in Discord's order, then implied permissions."""
    bits = in_guild(guild, user_id)
    if bits == ALL or user_id not in guild.members:
        return bits
    where = guild.channels[channel.parent_id] if channel.is_thread and channel.parent_id else channel
    bits = _overwritten(bits, where, guild, user_id)
    if not bits & VIEW_CHANNEL:
        return 0
    if channel.is_thread:
        if channel.type == 12 and user_id not in channel.thread_members and not bits & MANAGE_THREADS:
            return 0
        bits = bits | SEND_MESSAGES if bits & SEND_MESSAGES_IN_THREADS else bits & ~SEND_MESSAGES
    if not bits & SEND_MESSAGES:
        bits &= ~_NEEDS_SENDING
    return bits


def _overwritten(bits: int, channel: Channel, guild: Guild, user_id: int) -> int:
    everyone = channel.overwrites.get(guild.id)
    if everyone is not None:
        bits = bits & ~everyone.deny | everyone.allow
    allow = deny = 0
    for role_id in guild.members[user_id].role_ids:
        overwrite = channel.overwrites.get(role_id)
        if overwrite is not None:
            allow |= overwrite.allow
            deny |= overwrite.deny
    bits = bits & ~deny | allow
    own = channel.overwrites.get(user_id)
    return bits if own is None else bits & ~own.deny | own.allow
