"""Rendering the world as Discord's JSON; each function returns what its schema in the OpenAPI document requires."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from sandbox.intents import GUILD_MEMBERS, GUILD_PRESENCES, MESSAGE_CONTENT
from sandbox.records import (
    Attachment,
    BotAccount,
    Channel,
    ForumTag,
    Guild,
    Member,
    Message,
    Overwrite,
    Role,
    User,
    Webhook,
)

PINNED_NOTE = 6
"""The type of the message by which a channel says that one was pinned."""


def user(who: User) -> dict[str, Any]:
    """UserResponse."""
    data: dict[str, Any] = {
        "id": str(who.id),
        "username": who.username,
        "global_name": None if who.is_bot else who.username.title(),
        "discriminator": "0000" if who.is_bot else "0",
        "avatar": None,
        "public_flags": 0,
        "flags": 0,
        "primary_guild": None,
    }
    if who.is_bot:
        data["bot"] = True
    return data


def own_user(who: User) -> dict[str, Any]:
    """UserPIIResponse."""
    return {**user(who), "mfa_enabled": True, "locale": "en-US", "verified": True, "email": None}


def application(account: BotAccount, owner: User | None, guild_count: int) -> dict[str, Any]:
    """PrivateApplicationResponse."""
    return {
        "id": str(account.application_id),
        "name": account.username,
        "icon": None,
        "description": "",
        "type": None,
        "verify_key": "0" * 64,
        "flags": _application_flags(account.privileged_intents),
        "flags_new": str(_application_flags(account.privileged_intents)),
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "owner": user(owner or account),
        "approximate_guild_count": guild_count,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "explicit_content_filter": 0,
        "team": None,
        "eligible_oauth2_scopes": [],
        "bot_public": True,
        "bot_require_code_grant": False,
        "summary": "",
        "bot": user(account),
    }


def _application_flags(privileged_intents: int) -> int:
    """Return the flags that show which privileged intents are on, as for a bot on fewer than 100 servers.

    Source: https://discord.com/developers/docs/resources/application#application-object-application-flags
    """
    limited = {GUILD_PRESENCES: 1 << 13, GUILD_MEMBERS: 1 << 15, MESSAGE_CONTENT: 1 << 19}
    return sum(flag for intent, flag in limited.items() if privileged_intents & intent)


def role(what: Role) -> dict[str, Any]:
    """GuildRoleResponse."""
    data: dict[str, Any] = {
        "id": str(what.id),
        "name": what.name,
        "permissions": str(what.permissions),
        "position": what.position,
        "color": what.colour,
        "colors": {"primary_color": what.colour, "secondary_color": None, "tertiary_color": None},
        "hoist": what.hoist,
        "managed": what.managed_by is not None,
        "mentionable": what.mentionable,
        "icon": None,
        "unicode_emoji": None,
        "flags": 0,
    }
    if what.managed_by is not None:
        data["tags"] = {"bot_id": str(what.managed_by)}
    return data


def partial_member(who: Member) -> dict[str, Any]:
    """Return a member without its user, as contained in messages."""
    return {
        "avatar": None,
        "banner": None,
        "communication_disabled_until": None,
        "flags": 0,
        "joined_at": who.joined_at,
        "nick": who.nick,
        "pending": False,
        "premium_since": None,
        "roles": [str(role_id) for role_id in who.role_ids],
        "mute": False,
        "deaf": False,
    }


def member(who: Member) -> dict[str, Any]:
    """GuildMemberResponse."""
    return {**partial_member(who), "user": user(who.user)}


def overwrite(what: Overwrite) -> dict[str, Any]:
    """ChannelPermissionOverwriteResponse."""
    return {"id": str(what.id), "type": what.type, "allow": str(what.allow), "deny": str(what.deny)}


def channel(what: Channel) -> dict[str, Any]:
    """GuildChannelResponse, PrivateChannelResponse or ThreadResponse."""
    last = next(reversed(what.messages), None)
    data: dict[str, Any] = {
        "id": str(what.id),
        "type": what.type,
        "flags": what.flags,
        "last_message_id": None if last is None else str(last),
    }
    if what.guild_id is None:
        data["recipients"] = [user(recipient) for recipient in what.recipients]
        return data
    data.update(
        guild_id=str(what.guild_id),
        name=what.name,
        parent_id=None if what.parent_id is None else str(what.parent_id),
        rate_limit_per_user=what.slowmode_s,
    )
    if what.is_thread:
        data.update(
            owner_id=str(what.owner_id),
            thread_metadata={
                "archived": what.archived,
                "archive_timestamp": what.archived_at or what.created_at,
                "auto_archive_duration": what.auto_archive_minutes,
                "locked": what.locked,
                "create_timestamp": what.created_at,
                **({"invitable": what.invitable} if what.type == 12 else {}),
            },
            message_count=len(what.messages),
            member_count=len(what.thread_members),
            total_message_sent=len(what.messages),
        )
        if what.applied_tag_ids:
            data["applied_tags"] = [str(tag_id) for tag_id in what.applied_tag_ids]
        return data | _pins(what)
    data.update(
        position=what.position,
        nsfw=what.nsfw,
        topic=what.topic,
        permission_overwrites=[overwrite(o) for o in what.overwrites.values()],
    )
    if what.default_archive_minutes is not None:
        data["default_auto_archive_duration"] = what.default_archive_minutes
    if what.default_thread_slowmode_s:
        data["default_thread_rate_limit_per_user"] = what.default_thread_slowmode_s
    if what.is_forum:
        data.update(_forum(what))
    return data | _pins(what)


def _pins(what: Channel) -> dict[str, Any]:
    return {} if what.last_pin_at is None else {"last_pin_timestamp": what.last_pin_at}


def _forum(what: Channel) -> dict[str, Any]:
    return {
        "available_tags": [forum_tag(tag) for tag in what.tags],
        "default_reaction_emoji": what.default_reaction,
        "default_sort_order": what.default_sort_order,
        "default_forum_layout": what.default_layout,
    }


def forum_tag(what: ForumTag) -> dict[str, Any]:
    """ForumTagResponse."""
    return {
        "id": str(what.id),
        "name": what.name,
        "moderated": what.moderated,
        "emoji_id": None if what.emoji_id is None else str(what.emoji_id),
        "emoji_name": what.emoji_name,
    }


def webhook(what: Webhook, *, with_token: bool = True) -> dict[str, Any]:
    """GuildIncomingWebhookResponse."""
    data: dict[str, Any] = {
        "id": str(what.id),
        "type": 1,
        "guild_id": str(what.guild_id),
        "channel_id": str(what.channel_id),
        "name": what.name,
        "avatar": None,
        "application_id": None if what.application_id is None else str(what.application_id),
        "user": user(what.user),
    }
    if with_token:
        data["token"] = what.token
    return data


def thread_member(thread: Channel, user_id: int, joined_at: str) -> dict[str, Any]:
    """ThreadMemberResponse."""
    return {"id": str(thread.id), "user_id": str(user_id), "join_timestamp": joined_at, "flags": 0}


def guild(what: Guild) -> dict[str, Any]:
    """GuildWithCountsResponse."""
    return {
        "id": str(what.id),
        "name": what.name,
        "icon": None,
        "description": None,
        "home_header": None,
        "splash": None,
        "discovery_splash": None,
        "features": [],
        "banner": None,
        "owner_id": str(what.owner_id),
        "application_id": None,
        "region": "deprecated",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "widget_enabled": False,
        "widget_channel_id": None,
        "verification_level": 0,
        "roles": [role(r) for r in what.roles.values()],
        "default_message_notifications": 0,
        "mfa_level": 0,
        "explicit_content_filter": 0,
        "max_presences": None,
        "max_members": 500_000,
        "max_stage_video_channel_users": 50,
        "max_video_channel_users": 25,
        "vanity_url_code": None,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "preferred_locale": "en-US",
        "rules_channel_id": None,
        "safety_alerts_channel_id": None,
        "public_updates_channel_id": None,
        "premium_progress_bar_enabled": False,
        "nsfw": False,
        "nsfw_level": 0,
        "emojis": [],
        "stickers": [],
        "incidents_data": None,
        "approximate_member_count": len(what.members),
        "approximate_presence_count": len(what.members),
    }


def gateway_guild(what: Guild, viewer: User) -> dict[str, Any]:
    """Return a guild as in GUILD_CREATE; its only member is the bot itself, as for a large guild."""
    own = what.members.get(viewer.id)
    return {
        **guild(what),
        "joined_at": own.joined_at if own else None,
        "large": len(what.members) > 50,
        "unavailable": False,
        "member_count": len(what.members),
        "voice_states": [],
        "members": [member(m) for m in ([own] if len(what.members) > 50 and own else what.members.values())],
        "channels": [channel(c) for c in what.channels.values()],
        "threads": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def emoji(key: str) -> dict[str, Any]:
    """Return an emoji from its key: unicode, or ``name:id``."""
    name, colon, emoji_id = key.rpartition(":")
    return {"id": emoji_id, "name": name, "animated": False} if colon else {"id": None, "name": key}


def emoji_key(data: dict[str, Any]) -> str:
    """Return the key of an emoji's payload."""
    return f"{data['name']}:{data['id']}" if data.get("id") else str(data["name"])


def attachment(what: Attachment, base: str, channel_id: int) -> dict[str, Any]:
    """MessageAttachmentResponse."""
    return _attachment(what, f"{base}/attachments/{channel_id}/{what.id}/{quote(what.filename)}")


def upload(what: Attachment, base: str, application_id: int) -> dict[str, Any]:
    """AttachmentResponse of a file that a person gave to a command."""
    url = f"{base}/ephemeral-attachments/{application_id}/{what.id}/{quote(what.filename)}"
    return {**_attachment(what, url), "ephemeral": True}


def _attachment(what: Attachment, url: str) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": str(what.id),
        "filename": what.filename,
        "size": len(what.content),
        "url": url,
        "proxy_url": url,
        "content_type": what.content_type,
    }
    if what.description is not None:
        data["description"] = what.description
    return data


def message(
    what: Message, attachments_base: str, *, referenced: Message | None, guild_id: int | None
) -> dict[str, Any]:
    """MessageResponse."""
    data: dict[str, Any] = {
        "id": str(what.id),
        "type": what.type,
        "content": what.content,
        "mentions": [user(mentioned) for mentioned in what.mentions],
        "mention_roles": [str(role_id) for role_id in what.mention_role_ids],
        "mention_everyone": what.mention_everyone,
        "attachments": [attachment(a, attachments_base, what.channel_id) for a in what.attachments],
        "embeds": what.embeds,
        "timestamp": what.timestamp,
        "edited_timestamp": what.edited_timestamp,
        "flags": what.flags,
        "components": what.components,
        "channel_id": str(what.channel_id),
        "author": user(what.author),
        "pinned": what.pinned,
        "tts": what.tts,
    }
    if what.reactions:
        data["reactions"] = [
            {
                "emoji": emoji(key),
                "count": len(users),
                "count_details": {"burst": 0, "normal": len(users)},
                "burst_colors": [],
                "me_burst": False,
                "me": False,
            }
            for key, users in what.reactions.items()
        ]
    if what.nonce is not None:
        data["nonce"] = what.nonce
    if what.application_id is not None:
        data["application_id"] = str(what.application_id)
    if what.webhook_id is not None:
        data["webhook_id"] = str(what.webhook_id)
    if what.interaction is not None:
        data["interaction_metadata"] = what.interaction
    if what.reference_id is not None:
        data["message_reference"] = {
            "type": 0,
            "channel_id": str(what.channel_id),
            "message_id": str(what.reference_id),
            **({"guild_id": str(guild_id)} if guild_id is not None else {}),
        }
        if what.type == PINNED_NOTE:
            return data
        data["referenced_message"] = (
            None if referenced is None else message(referenced, attachments_base, referenced=None, guild_id=guild_id)
        )
        if referenced is not None:
            data["referenced_message"].pop("referenced_message", None)
    return data


def strip_content(data: dict[str, Any]) -> None:
    """Clear the fields that a bot without the MESSAGE_CONTENT intent does not get."""
    data["content"] = ""
    data["embeds"] = []
    data["attachments"] = []
    data["components"] = []
