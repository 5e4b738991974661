"""Channels as validated bodies have them: what is checked before anything changes, and the change."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import UNSET

from sandbox import permissions
from sandbox.bodies import ChannelBody, OverwriteBody, TagBody
from sandbox.errors import DiscordError, invalid_form, missing_permissions, unknown
from sandbox.records import Channel, ForumTag, Guild, Overwrite
from sandbox.world import World

MAX_CHANNELS, MAX_CHANNELS_IN_CATEGORY = 500, 50
"""Of a server, categories included, threads not: support.discord.com's account, role and channel caps."""
MAX_TAGS, MAX_TAGS_OF_POST = 20, 5
TEXT, CATEGORY, FORUM = 0, 4, 15
PINNED_POST, REQUIRE_TAG = 1 << 1, 1 << 4
"""Flags: of a forum's post that stays on top, and of a forum whose posts need a tag."""
_SPACES = re.compile(r"\s+")


def check_room(guild: Guild) -> None:
    """Check that a guild takes one more channel.

    Raises
    ------
    DiscordError
        30013.
    """
    if len(guild.channels) >= MAX_CHANNELS:
        raise DiscordError(400, 30013, f"Maximum number of guild channels reached ({MAX_CHANNELS})")


def check_body(guild: Guild, body: ChannelBody, have: int, *, own: Channel | None = None) -> None:
    """Check what a channel's body says of others, before anything is changed.

    Parameters
    ----------
    have
        The caller's permissions where the channel is, or will be.
    own
        The channel, of an edit.

    Raises
    ------
    DiscordError
        50035 for a parent that is no category of the guild or is full, 50013 or 10009 for an overwrite, 30048 for tags.
    """
    if body.parent_id is not UNSET and body.parent_id is not None:
        check_parent(guild, int(body.parent_id), is_category=body.type == CATEGORY, own=own)
    if body.permission_overwrites is not UNSET:
        for overwrite in body.permission_overwrites or []:
            check_overwrite(guild, int(overwrite.id), overwrite, have)
    if body.available_tags is not UNSET and body.available_tags is not None:
        _check_tags(body.available_tags)
    if own is not None and own.is_thread and body.applied_tags is not UNSET:
        parent = guild.channels.get(own.parent_id or 0)
        if parent is not None:
            check_applied_tags(parent, [int(tag_id) for tag_id in body.applied_tags or []], have, own=own)


def check_parent(guild: Guild, parent_id: int, *, is_category: bool, own: Channel | None) -> None:
    """Check that a channel may be inside a category.

    Raises
    ------
    DiscordError
        50035.
    """
    parent = guild.channels.get(parent_id)
    if parent is None or parent.type != CATEGORY:
        raise invalid_form("parent_id", "CHANNEL_PARENT_INVALID", "Category does not exist")
    if is_category:
        raise invalid_form("parent_id", "CHANNEL_PARENT_INVALID_TYPE", "A category has no parent")
    inside = [one for one in guild.channels.values() if one.parent_id == parent.id and one is not own]
    if len(inside) >= MAX_CHANNELS_IN_CATEGORY:
        raise invalid_form(
            "parent_id",
            "CHANNEL_PARENT_MAX_CHANNELS",
            f"Maximum number of channels in category reached ({MAX_CHANNELS_IN_CATEGORY})",
        )


def check_overwrite(guild: Guild, target_id: int, body: OverwriteBody, have: int) -> None:
    """Check an overwrite: nobody can allow or deny what they may not do themselves.

    MANAGE_ROLES can be set by administrators only:
    https://discord.com/developers/docs/resources/guild#create-guild-channel.
    """
    known = target_id in (guild.roles if body.type == 0 else guild.members)
    if not known:
        raise unknown("permission overwrite")
    bits = int(body.allow or 0) | int(body.deny or 0)
    if bits & ~have or (bits & permissions.MANAGE_ROLES and have != permissions.ALL):
        raise missing_permissions()


def _check_tags(tags: Iterable[TagBody]) -> None:
    names = [tag.name for tag in tags]
    if len(names) > MAX_TAGS:
        raise DiscordError(400, 30048, f"Maximum number of tags in a forum channel has been reached ({MAX_TAGS})")
    if len(set(names)) < len(names):
        raise DiscordError(400, 40061, "Tag names must be unique")


def check_applied_tags(forum: Channel, tag_ids: list[int], have: int, *, own: Channel | None = None) -> None:
    """Check the tags of a post: of its forum, at most five, moderated ones by moderators, one where one is required.

    Raises
    ------
    DiscordError
        10087, 40067, 50013, 50035.
    """
    if len(tag_ids) > MAX_TAGS_OF_POST:
        message = f"Must be {MAX_TAGS_OF_POST} or fewer in length."
        raise invalid_form("applied_tags", "BASE_TYPE_MAX_LENGTH", message)
    tags = {tag.id: tag for tag in forum.tags}
    if any(tag_id not in tags for tag_id in tag_ids):
        raise unknown("tag")
    changed = set(tag_ids) ^ set(own.applied_tag_ids if own is not None else ())
    moderated = any(tag_id in tags and tags[tag_id].moderated for tag_id in changed)
    if moderated and not have & permissions.MANAGE_THREADS:
        raise missing_permissions()
    if forum.flags & REQUIRE_TAG and not tag_ids and not have & permissions.MANAGE_THREADS:
        raise DiscordError(400, 40067, "A tag is required to create a forum post in this channel")


def fill(world: World, channel: Channel, body: ChannelBody) -> None:
    """Change a channel or a thread as a validated body has it; the caller announces it."""
    if body.name is not UNSET:
        channel.name = body.name if channel.is_thread or channel.type == CATEGORY else _as_text_name(body.name)
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
            put_overwrite(channel, int(overwrite.id), overwrite)
    if body.flags is not UNSET:
        channel.flags = body.flags or 0
    if channel.is_thread:
        _fill_thread(world, channel, body)
    else:
        _fill_defaults(world, channel, body)


def _as_text_name(name: str) -> str:
    """Return a text channel's name as Discord writes it: in small letters, with hyphens for spaces."""
    return _SPACES.sub("-", name.strip()).lower()


def _fill_thread(world: World, thread: Channel, body: ChannelBody) -> None:
    if body.archived is not UNSET and body.archived is not thread.archived:
        thread.archived, thread.archived_at = body.archived, world.now()
    thread.locked = body.locked if body.locked is not UNSET else thread.locked
    if body.auto_archive_duration is not UNSET:
        thread.auto_archive_minutes = body.auto_archive_duration
    thread.invitable = body.invitable if body.invitable is not UNSET else thread.invitable
    if body.applied_tags is not UNSET:
        thread.applied_tag_ids = [int(tag_id) for tag_id in body.applied_tags or []]


def _fill_defaults(world: World, channel: Channel, body: ChannelBody) -> None:
    if body.default_auto_archive_duration is not UNSET:
        channel.default_archive_minutes = body.default_auto_archive_duration
    if body.default_thread_rate_limit_per_user is not UNSET:
        channel.default_thread_slowmode_s = body.default_thread_rate_limit_per_user or 0
    if not channel.is_forum:
        return
    if body.available_tags is not UNSET:
        channel.tags = [_tag(world, channel, tag) for tag in body.available_tags or []]
    if body.default_reaction_emoji is not UNSET:
        emoji = body.default_reaction_emoji
        channel.default_reaction = None
        if emoji is not None:
            emoji_id = None if emoji.emoji_id is None else str(emoji.emoji_id)
            channel.default_reaction = {"emoji_id": emoji_id, "emoji_name": emoji.emoji_name}
    if body.default_sort_order is not UNSET:
        channel.default_sort_order = body.default_sort_order
    if body.default_forum_layout is not UNSET:
        channel.default_layout = body.default_forum_layout or 0


def _tag(world: World, channel: Channel, body: TagBody) -> ForumTag:
    """Return a tag; one that the forum has already keeps its id."""
    known = {tag.id for tag in channel.tags}
    tag_id = int(body.id) if body.id is not None and int(body.id) in known else world.new_id()
    emoji_id = int(body.emoji_id) if body.emoji_id is not None else None
    return ForumTag(tag_id, body.name, bool(body.moderated), emoji_id, body.emoji_name)


def put_overwrite(channel: Channel, target_id: int, body: OverwriteBody) -> None:
    """Set an overwrite."""
    channel.overwrites[target_id] = Overwrite(target_id, body.type, int(body.allow or 0), int(body.deny or 0))
