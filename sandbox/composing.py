"""Messages from validated bodies: mentions, files, embeds; shared by channels, webhooks and interactions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from sandbox import permissions
from sandbox.audit import Act
from sandbox.bodies import AllowedMentions, MessageBody, Upload, check_components, convert
from sandbox.errors import DiscordError, closed_direct_messages, invalid_form, missing_permissions, unknown
from sandbox.records import Attachment, Channel, Message, User
from sandbox.world import World

EPHEMERAL = 1 << 6
_LOADING = 1 << 7
MAX_EMBED_CHARACTERS = 6_000
NONCE_WINDOW_S = 300.0
"""Discord says "the past few minutes"."""
NOT_FOR_MESSAGES = (4, 15)
MAX_FILE_BYTES = 10 * 1024 * 1024

_USER_MENTION = re.compile(r"<@!?(\d{1,20})>")
_EVERYONE = re.compile(r"@(?:everyone|here)\b")
_ROLE_MENTION = re.compile(r"<@&(\d{1,20})>")


def check_message(raw: Any, uploads: list[Upload]) -> MessageBody:
    """Check a message's body.

    Raises
    ------
    DiscordError
        50035, or 40005 for a file that is too large.
    """
    body = convert(raw, MessageBody)
    embeds = body.embeds or []
    if sum(embed.length() for embed in embeds) > MAX_EMBED_CHARACTERS:
        raise invalid_form("embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")
    if body.components:
        check_components(body.components)
    if any(len(upload.content) > MAX_FILE_BYTES for upload in uploads):
        raise DiscordError(413, 40005, "Request entity too large")
    return body


def check_takes_messages(world: World, channel: Channel, author: User) -> None:
    """Check that a channel takes messages of somebody who may write there.

    Raises
    ------
    DiscordError
        50007 for a person who takes no direct messages, 50008 for a category or a forum, 160005 for a locked thread.
    """
    others = [user for user in channel.recipients if user is not author]
    if channel.guild_id is None and not all(user.takes_direct_messages for user in others):
        raise closed_direct_messages()
    if channel.type in NOT_FOR_MESSAGES:
        raise DiscordError(400, 50008, "Cannot send messages in a non-text channel")
    if channel.locked and not world.permissions_in(author, channel) & permissions.MANAGE_THREADS:
        raise DiscordError(400, 160005, "This thread is locked")


def compose(
    world: World,
    channel: Channel,
    author: User,
    raw: Any,
    uploads: list[Upload],
    *,
    have: int = permissions.ALL,
    **extra: Any,
) -> Message:
    """Make a new message; the caller posts it.

    Parameters
    ----------
    have
        The author's permissions in the channel: embeds and files need theirs.

    Raises
    ------
    DiscordError
        50006 for an empty message, 50013, 50035.
    """
    body = check_message(raw, uploads)
    content = body.content or ""
    if not (content.strip() or body.embeds or uploads or body.components or body.sticker_ids):
        raise DiscordError(400, 50006, "Cannot send an empty message")
    if uploads and not have & permissions.ATTACH_FILES:
        raise missing_permissions()
    message = Message(
        world.new_id(),
        channel.id,
        author,
        content,
        world.now(),
        embeds=_embeds(raw) if have & permissions.EMBED_LINKS else [],
        components=_components(raw.get("components") or []),
        attachments=_attachments(world, body, uploads),
        flags=body.flags or 0,
        tts=bool(body.tts),
        nonce=body.nonce,
        **extra,
    )
    if body.message_reference is not None:
        message.reference_id = int(body.message_reference.message_id)
        message.type = 19
        if message.reference_id not in channel.messages:
            if body.message_reference.fail_if_not_exists is not False:
                raise invalid_form("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
            message.reference_id, message.type = None, 0
    _mention(world, channel, message, body, may_mention_all=bool(have & permissions.MENTION_EVERYONE))
    return message


def start_post(
    world: World,
    forum: Channel,
    message: Message,
    name: str,
    *,
    minutes: int | None = None,
    tag_ids: Sequence[int] = (),
    slowmode_s: int | None = None,
    act: Act | None = None,
) -> Channel:
    """Start a forum's post with its first message, and post that: both have one id, and come in this order."""

    def prepare(thread: Channel) -> None:
        thread.applied_tag_ids = list(tag_ids)
        if slowmode_s is not None:
            thread.slowmode_s = slowmode_s

    thread = world.create_thread(
        forum,
        message.author,
        name,
        kind=11,
        minutes=minutes or forum.default_archive_minutes or 4320,
        thread_id=message.id,
        prepare=prepare,
        act=act,
    )
    message.channel_id = thread.id
    world.post(message)
    return thread


def posted_before(world: World, channel: Channel, author: User, raw: Any) -> Message | None:
    """Return the message that ``author`` posted with the same nonce lately, when the body asks for one only.

    https://discord.com/developers/docs/resources/message#create-message: ``enforce_nonce``.
    """
    body = convert(raw, MessageBody)
    if not body.enforce_nonce or body.nonce is None:
        return None
    oldest = world.clock() - NONCE_WINDOW_S
    for message in reversed(channel.messages.values()):
        if datetime.fromisoformat(message.timestamp).timestamp() < oldest:
            return None
        if message.author is author and str(message.nonce) == str(body.nonce):
            return message
    return None


def edit(world: World, message: Message, raw: Any, uploads: list[Upload]) -> None:
    """Edit a message with a validated body, and send the event.

    Raises
    ------
    DiscordError
        50006, 50035.
    """
    body = check_message(raw, uploads)
    if body.content is not UNSET:
        message.content = body.content or ""
    if body.embeds is not UNSET:
        message.embeds = _embeds(raw)
    if body.components is not UNSET:
        message.components = _components(raw.get("components") or [])
    if body.attachments is not UNSET or uploads:
        kept = {int(stub.id) for stub in (body.attachments or [])} if body.attachments is not UNSET else None
        stay = [a for a in message.attachments if kept is None or a.id in kept]
        message.attachments = stay + _attachments(world, body, uploads)
    if not (message.content.strip() or message.embeds or message.attachments or message.components):
        raise DiscordError(400, 50006, "Cannot send an empty message")
    if body.flags is not None:
        message.flags = body.flags | (message.flags & EPHEMERAL)
    message.flags &= ~_LOADING
    message.edited_timestamp = world.now()
    channel = world.channels.get(message.channel_id)
    if channel is None:
        raise unknown("channel")
    _mention(world, channel, message, body, may_mention_all=False)
    world.changed(message)


def _attachments(world: World, body: MessageBody, uploads: list[Upload]) -> list[Attachment]:
    descriptions = {}
    if body.attachments is not UNSET:
        descriptions = {int(stub.id): stub.description for stub in body.attachments or []}
    return [
        Attachment(world.new_id(), upload.filename, upload.content, upload.content_type, descriptions.get(upload.index))
        for upload in uploads
    ]


def _embeds(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """Return embeds in Discord's response format: with a type, without empty parts."""
    found = []
    for embed in raw.get("embeds") or []:
        kept = {name: value for name, value in embed.items() if value is not None}
        for part in ("image", "thumbnail"):
            if part in kept and str(kept[part].get("url", "")).startswith("attachment://"):
                del kept[part]
        found.append({**kept, "type": "rich"})
    return found


def _components(raw: list[dict[str, Any]], counter: list[int] | None = None) -> list[dict[str, Any]]:
    """Return components in Discord's response format: numbered by id from 1."""
    counter = counter if counter is not None else [0]
    found = []
    for component in raw:
        counter[0] += 1
        kept = {name: value for name, value in component.items() if value is not None}
        kept["id"] = component.get("id") or counter[0]
        if "components" in kept:
            kept["components"] = _components(kept["components"], counter)
        found.append(kept)
    return found


def _mention(world: World, channel: Channel, message: Message, body: MessageBody, *, may_mention_all: bool) -> None:
    allowed = body.allowed_mentions or AllowedMentions(parse=["users", "roles", "everyone"], replied_user=True)
    parse = set(allowed.parse or ())
    named = {int(user_id) for user_id in allowed.users or ()}
    named_roles = {int(role_id) for role_id in allowed.roles or ()}
    ids = dict.fromkeys(int(match) for match in _USER_MENTION.findall(message.content))
    message.mentions = [world.users[i] for i in ids if i in world.users and ("users" in parse or i in named)]
    if message.reference_id is not None and allowed.replied_user:
        replied = channel.messages.get(message.reference_id)
        if replied is not None and replied.author not in message.mentions:
            message.mentions.append(replied.author)
    if channel.guild_id is not None:
        roles = world.guilds[channel.guild_id].roles
        found = dict.fromkeys(int(match) for match in _ROLE_MENTION.findall(message.content))
        message.mention_role_ids = [i for i in found if i in roles and ("roles" in parse or i in named_roles)]
        message.mention_everyone = may_mention_all and "everyone" in parse and bool(_EVERYONE.search(message.content))


def as_json(value: Any) -> bytes:
    """Serialise a response."""
    return msgspec.json.encode(value)
