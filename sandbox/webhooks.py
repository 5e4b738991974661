"""Incoming webhooks: https://docs.discord.com/developers/resources/webhook."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from sandbox import composing, shaping
from sandbox.audit import Act, webhook_facts
from sandbox.bodies import Upload, WebhookMessageBody, convert
from sandbox.errors import DiscordError, invalid_form, unknown
from sandbox.events import Event
from sandbox.records import BotAccount, Channel, Message, User, Webhook
from sandbox.world import World

MAX_WEBHOOKS = 15
"""Of a channel."""
_FORBIDDEN_IN_NAMES = ("clyde", "discord")


def create(world: World, channel: Channel, name: str, act: Act) -> Webhook:
    """Add a webhook to a channel.

    Raises
    ------
    DiscordError
        30007 for one too many, 50024 for a category or a thread, 50035 for a name that Discord keeps for itself.
    """
    check_name(name, "name")
    check_takes_webhooks(world, channel)
    assert channel.guild_id is not None  # noqa: S101 - neither a direct message nor a thread takes webhooks
    application_id = act.user.id if isinstance(act.user, BotAccount) else None
    token = secrets.token_urlsafe(51)
    webhook = Webhook(world.new_id(), name, channel.guild_id, channel.id, act.user, token, application_id)
    world.webhooks[webhook.id] = webhook
    _announce(world, webhook)
    world.audit.webhook_created(webhook, act)
    return webhook


def check_name(name: str, where: str) -> None:
    """Check the name of a webhook, or of whom it speaks as.

    Raises
    ------
    DiscordError
        50035.
    """
    found = next((word for word in _FORBIDDEN_IN_NAMES if word in name.lower()), None)
    if found is not None:
        raise invalid_form(where, "USERNAME_INVALID_CONTAINS", f'Username cannot contain "{found}"')
    if not name.strip():
        raise invalid_form(where, "BASE_TYPE_REQUIRED", "This field is required")


def check_takes_webhooks(world: World, channel: Channel) -> None:
    """Check that a channel takes one more webhook.

    Raises
    ------
    DiscordError
        30007, 50024.
    """
    if channel.type not in (shaping.TEXT, shaping.FORUM):
        raise DiscordError(400, 50024, "Cannot execute action on this channel type")
    if len(of_channel(world, channel)) >= MAX_WEBHOOKS:
        raise DiscordError(400, 30007, f"Maximum number of webhooks reached ({MAX_WEBHOOKS})")


def of_channel(world: World, channel: Channel) -> list[Webhook]:
    """Return a channel's webhooks."""
    return [webhook for webhook in world.webhooks.values() if webhook.channel_id == channel.id]


def edit(world: World, webhook: Webhook, change: Callable[[Webhook], None], act: Act | None) -> None:
    """Change a webhook; one that moves is announced in both channels."""
    before, was_in = webhook_facts(webhook), webhook.channel_id
    change(webhook)
    if webhook.channel_id != was_in:
        _announce_in(world, webhook.guild_id, was_in)
    _announce(world, webhook)
    world.audit.webhook_edited(webhook, before, act)


def delete(world: World, webhook: Webhook, act: Act | None) -> None:
    """Remove a webhook."""
    del world.webhooks[webhook.id]
    _announce(world, webhook)
    world.audit.webhook_deleted(webhook, act)


def _announce(world: World, webhook: Webhook) -> None:
    _announce_in(world, webhook.guild_id, webhook.channel_id)


def _announce_in(world: World, guild_id: int, channel_id: int) -> None:
    """Send the event, which says only in which channel something of webhooks changed."""
    data = {"guild_id": str(guild_id), "channel_id": str(channel_id)}
    world.emit(Event("WEBHOOKS_UPDATE", data, guild_id, channel_id))


def by_token(world: World, webhook_id: int, token: str) -> Webhook | None:
    """Return the webhook of an id and its token; None when there is no such id.

    Raises
    ------
    DiscordError
        50027 for another token.
    """
    webhook = world.webhooks.get(webhook_id)
    if webhook is not None and not secrets.compare_digest(webhook.token.encode(), token.encode()):
        raise DiscordError(401, 50027, "Invalid Webhook Token")
    return webhook


def place_of(world: World, webhook: Webhook, thread_id: int | None) -> Channel:
    """Return where a webhook writes: its channel, or a thread of it.

    Raises
    ------
    DiscordError
        10003 for a thread of another channel.
    """
    if thread_id is None:
        return world.channels[webhook.channel_id]
    thread = world.channels.get(thread_id)
    if thread is None or not thread.is_thread or thread.parent_id != webhook.channel_id:
        raise unknown("channel")
    return thread


def execute(world: World, webhook: Webhook, raw: Any, uploads: list[Upload], *, thread_id: int | None) -> Message:
    """Post a message as a webhook; in a forum it starts a post, or is given the thread of one.

    Raises
    ------
    DiscordError
        220001, 220002 or 220003 for a thread where there is none, or none where there must be, 50006, 50035.
    """
    about = convert(raw, WebhookMessageBody)
    place = place_of(world, webhook, thread_id)
    if thread_id is not None and about.thread_name:
        raise DiscordError(400, 220002, "Webhooks can only specify one of thread_name or thread_id")
    if place.is_forum and not about.thread_name:
        raise DiscordError(400, 220001, "Webhooks posted to forum channels must have a thread_name or thread_id")
    if not place.is_forum and about.thread_name:
        raise DiscordError(400, 220003, "Webhooks can only create threads in forum channels")
    if about.username is not None:
        check_name(about.username, "username")
    speaker = User(webhook.id, about.username or webhook.name, is_bot=True)
    message = composing.compose(
        world, place, speaker, raw, uploads, webhook_id=webhook.id, application_id=webhook.application_id
    )
    if about.thread_name:
        tag_ids = [int(tag_id) for tag_id in about.applied_tags or []]
        shaping.check_applied_tags(place, tag_ids, 0)
        composing.start_post(world, place, message, about.thread_name, tag_ids=tag_ids)
        return message
    return world.post(message)


def message_of(world: World, webhook: Webhook, message_id: int, *, thread_id: int | None) -> Message:
    """Return a message that a webhook posted.

    Raises
    ------
    DiscordError
        10008.
    """
    message = world.message_in(place_of(world, webhook, thread_id), message_id)
    if message.webhook_id != webhook.id:
        raise unknown("message")
    return message
