"""Incoming webhooks; an interaction's token is a webhook's too, and uses the same paths."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from sandbox import composing, payloads, permissions, webhooks
from sandbox.bodies import WebhookBody, convert
from sandbox.errors import invalid_form, missing_permissions, unknown
from sandbox.records import Webhook
from sandbox.rest import applications
from sandbox.rest.call import NO_CONTENT, Call, Routes


async def create_webhook(call: Call) -> Any:
    """POST /channels/{channel_id}/webhooks."""
    channel = call.world.channel_for(call.account, call.id("channel_id"), permissions.MANAGE_WEBHOOKS)
    raw, _ = await call.body()
    body = convert(raw, WebhookBody)
    if body.name is UNSET:
        raise invalid_form("name", "BASE_TYPE_REQUIRED", "This field is required")
    return payloads.webhook(webhooks.create(call.world, channel, body.name, call.act))


def _shown(call: Call, webhook: Webhook) -> dict[str, Any]:
    """Return a webhook; its token only when no other application made it."""
    own = webhook.application_id in (None, call.account.application_id)
    return payloads.webhook(webhook, with_token=own)


async def list_of_channel(call: Call) -> Any:
    """GET /channels/{channel_id}/webhooks."""
    channel = call.world.channel_for(call.account, call.id("channel_id"), permissions.MANAGE_WEBHOOKS)
    return [_shown(call, webhook) for webhook in webhooks.of_channel(call.world, channel)]


async def list_of_guild(call: Call) -> Any:
    """GET /guilds/{guild_id}/webhooks."""
    guild = call.world.guild_for(call.account, call.id("guild_id"))
    if not permissions.in_guild(guild, call.account.id) & permissions.MANAGE_WEBHOOKS:
        raise missing_permissions()
    return [_shown(call, webhook) for webhook in call.world.webhooks.values() if webhook.guild_id == guild.id]


def _webhook(call: Call) -> Webhook:
    """Return a webhook that the bot may manage."""
    webhook = call.world.webhooks.get(call.id("webhook_id"))
    if webhook is None:
        raise unknown("webhook")
    call.world.channel_for(call.account, webhook.channel_id, permissions.MANAGE_WEBHOOKS)
    return webhook


async def get_webhook(call: Call) -> Any:
    """GET /webhooks/{webhook_id}."""
    return _shown(call, _webhook(call))


async def edit_webhook(call: Call) -> Any:
    """PATCH /webhooks/{webhook_id}: its name, or the channel that it writes in."""
    webhook = _webhook(call)
    raw, _ = await call.body()
    body = convert(raw, WebhookBody)
    if body.channel_id is not UNSET and body.channel_id is not None and int(body.channel_id) != webhook.channel_id:
        channel = call.world.channel_for(call.account, int(body.channel_id), permissions.MANAGE_WEBHOOKS)
        if channel.guild_id != webhook.guild_id:
            raise unknown("channel")
        webhooks.check_takes_webhooks(call.world, channel)
    _edit(call, webhook, body)
    return _shown(call, webhook)


def _edit(call: Call, webhook: Webhook, body: WebhookBody) -> None:
    if body.name is not UNSET:
        webhooks.check_name(body.name, "name")

    def change(one: Webhook) -> None:
        one.name = body.name if body.name is not UNSET else one.name
        if body.channel_id is not UNSET and body.channel_id is not None:
            one.channel_id = int(body.channel_id)

    webhooks.edit(call.world, webhook, change, call.act if call.account.id else None)


async def delete_webhook(call: Call) -> Any:
    """DELETE /webhooks/{webhook_id}."""
    webhooks.delete(call.world, _webhook(call), call.act)
    return NO_CONTENT


# With the token in the path


def _by_token(call: Call) -> Webhook | None:
    """Return the webhook of the path; None for an interaction's, whose id is an application's."""
    return webhooks.by_token(call.world, call.id("webhook_id"), call.text("webhook_token"))


def _thread_id(call: Call) -> int | None:
    return call.query("thread_id", default=0, least=0, most=2**63) or None


async def get_with_token(call: Call) -> Any:
    """GET /webhooks/{webhook_id}/{webhook_token}: without its maker."""
    webhook = _by_token(call)
    if webhook is None:
        raise unknown("webhook")
    data = payloads.webhook(webhook)
    del data["user"]
    return data


async def edit_with_token(call: Call) -> Any:
    """PATCH /webhooks/{webhook_id}/{webhook_token}: its name."""
    webhook = _by_token(call)
    if webhook is None:
        raise unknown("webhook")
    raw, _ = await call.body()
    _edit(call, webhook, WebhookBody(name=convert(raw, WebhookBody).name))
    return await get_with_token(call)


async def delete_with_token(call: Call) -> Any:
    """DELETE /webhooks/{webhook_id}/{webhook_token}."""
    webhook = _by_token(call)
    if webhook is None:
        raise unknown("webhook")
    webhooks.delete(call.world, webhook, None)
    return NO_CONTENT


async def execute(call: Call) -> Any:
    """POST /webhooks/{webhook_id}/{webhook_token}: a message, or an interaction's followup."""
    webhook = _by_token(call)
    if webhook is None:
        return await applications.follow_up(call)
    raw, uploads = await call.body()
    message = webhooks.execute(call.world, webhook, raw, uploads, thread_id=_thread_id(call))
    if call.request.query.get("wait", "").lower() not in ("1", "true"):
        return NO_CONTENT
    return call.world.render(message)


async def get_message(call: Call) -> Any:
    """GET a message of a webhook, or of an interaction."""
    webhook = _by_token(call)
    if webhook is None:
        return await applications.get_message(call)
    message_id = call.id("message_id")
    return call.world.render(webhooks.message_of(call.world, webhook, message_id, thread_id=_thread_id(call)))


async def edit_message(call: Call) -> Any:
    """PATCH a message of a webhook, or of an interaction."""
    webhook = _by_token(call)
    if webhook is None:
        return await applications.edit_message(call)
    message = webhooks.message_of(call.world, webhook, call.id("message_id"), thread_id=_thread_id(call))
    raw, uploads = await call.body()
    composing.edit(call.world, message, raw, uploads)
    return call.world.render(message)


async def delete_message(call: Call) -> Any:
    """DELETE a message of a webhook, or of an interaction."""
    webhook = _by_token(call)
    if webhook is None:
        return await applications.delete_message(call)
    message = webhooks.message_of(call.world, webhook, call.id("message_id"), thread_id=_thread_id(call))
    call.world.delete_message(call.world.channels[message.channel_id], message)
    return NO_CONTENT


_HOOK = "/webhooks/{webhook_id}/{webhook_token}"
_MESSAGE = _HOOK + "/messages/{message_id}"

ROUTES: Routes = [
    ("POST", "/channels/{channel_id}/webhooks", create_webhook),
    ("GET", "/channels/{channel_id}/webhooks", list_of_channel),
    ("GET", "/guilds/{guild_id}/webhooks", list_of_guild),
    ("GET", "/webhooks/{webhook_id}", get_webhook),
    ("PATCH", "/webhooks/{webhook_id}", edit_webhook),
    ("DELETE", "/webhooks/{webhook_id}", delete_webhook),
]

WITHOUT_TOKEN: Routes = [
    ("GET", _HOOK, get_with_token),
    ("PATCH", _HOOK, edit_with_token),
    ("DELETE", _HOOK, delete_with_token),
    ("POST", _HOOK, execute),
    ("GET", _MESSAGE, get_message),
    ("PATCH", _MESSAGE, edit_message),
    ("DELETE", _MESSAGE, delete_message),
]
"""Routes that are authenticated by the token in their path."""
