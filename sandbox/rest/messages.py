"""Messages, pins and reactions."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from sandbox import composing, payloads, permissions
from sandbox.bodies import BulkDeleteBody, convert
from sandbox.errors import DiscordError, thread_archived, unknown
from sandbox.events import Event
from sandbox.records import Channel, Message
from sandbox.rest.call import NO_CONTENT, Call, Routes, moment_in_query

PINS_PER_PAGE = 50
TWO_WEEKS_MS = 14 * 24 * 3600 * 1000
_SYMBOLS = ("So", "Sm", "Sk", "Po", "Pd")
_KEYCAP = "\u20e3"
_CUSTOM_EMOJI = re.compile(r"\w{2,32}:\d{15,20}")


def _channel(call: Call, needed: int = 0) -> Channel:
    return call.world.channel_for(call.account, call.id("channel_id"), needed)


def _message(call: Call, channel: Channel) -> Message:
    return call.world.message_in(channel, call.id("message_id"))


async def create_message(call: Call) -> Any:
    """POST /channels/{channel_id}/messages."""
    channel = _channel(call, permissions.SEND_MESSAGES)
    composing.check_takes_messages(call.world, channel, call.account)
    raw, uploads = await call.body()
    known = composing.posted_before(call.world, channel, call.account, raw)
    if known is not None:
        return call.world.render(known, call.account)
    have = call.world.permissions_in(call.account, channel)
    message = composing.compose(call.world, channel, call.account, raw, uploads, have=have)
    call.world.post(message)
    return call.world.render(message, call.account)


async def list_messages(call: Call) -> Any:
    """GET /channels/{channel_id}/messages: newest first."""
    channel = _channel(call)
    if not call.world.permissions_in(call.account, channel) & permissions.READ_MESSAGE_HISTORY:
        return []
    limit = call.query("limit", default=50, least=1, most=100)
    before = call.query("before", default=2**63, least=0, most=2**63)
    after = call.query("after", default=0, least=0, most=2**63)
    around = call.query("around", default=0, least=0, most=2**63)
    found = [m for m in channel.messages.values() if m.ephemeral_for is None]
    if around:
        found.sort(key=lambda m: abs(m.id - around))
        found = sorted(found[:limit], key=lambda m: m.id)
    elif "after" in call.request.query:
        found = [m for m in found if m.id > after][:limit]
    else:
        found = [m for m in found if m.id < before][-limit:]
    return [call.world.render(message, call.account) for message in reversed(found)]


async def get_message(call: Call) -> Any:
    """GET /channels/{channel_id}/messages/{message_id}."""
    channel = _channel(call, permissions.READ_MESSAGE_HISTORY)
    return call.world.render(_message(call, channel), call.account)


async def edit_message(call: Call) -> Any:
    """PATCH /channels/{channel_id}/messages/{message_id}."""
    channel = _channel(call)
    message = _message(call, channel)
    if message.author.id != call.account.id:
        raise DiscordError(403, 50005, "Cannot edit a message authored by another user")
    if channel.archived:
        raise thread_archived()
    raw, uploads = await call.body()
    composing.edit(call.world, message, raw, uploads)
    return call.world.render(message, call.account)


async def delete_message(call: Call) -> Any:
    """DELETE /channels/{channel_id}/messages/{message_id}."""
    channel = _channel(call)
    message = _message(call, channel)
    if message.author.id != call.account.id:
        _channel(call, permissions.MANAGE_MESSAGES)
        if channel.guild_id is None:
            raise DiscordError(403, 50003, "Cannot execute action on a DM channel")
    call.world.delete_message(channel, message, call.act)
    return NO_CONTENT


async def bulk_delete(call: Call) -> Any:
    """POST /channels/{channel_id}/messages/bulk-delete."""
    channel = _channel(call, permissions.MANAGE_MESSAGES)
    raw, _ = await call.body()
    ids = [int(message_id) for message_id in convert(raw, BulkDeleteBody).messages]
    oldest = int(call.world.clock() * 1000) - 1_420_070_400_000 - TWO_WEEKS_MS << 22
    if min(ids) < oldest:
        raise DiscordError(400, 50034, "You can only bulk delete messages that are under 14 days old.")
    gone = [str(i) for i in ids if channel.messages.pop(i, None) is not None]
    data: dict[str, Any] = {"ids": gone, "channel_id": str(channel.id)}
    if channel.guild_id is not None:
        data["guild_id"] = str(channel.guild_id)
    call.world.emit(Event("MESSAGE_DELETE_BULK", data, channel.guild_id, channel.id))
    call.world.audit.messages_deleted(channel, len(gone), call.act)
    return NO_CONTENT


def _pinned(call: Call, channel: Channel) -> list[Message]:
    """Return what is pinned, last first; nothing without READ_MESSAGE_HISTORY, as on Discord."""
    if not call.world.permissions_in(call.account, channel) & permissions.READ_MESSAGE_HISTORY:
        return []
    found = [message for message in channel.messages.values() if message.pinned]
    return sorted(found, key=lambda message: message.pinned_at or "", reverse=True)


async def list_pins(call: Call) -> Any:
    """GET /channels/{channel_id}/pins: the last fifty."""
    return [call.world.render(m, call.account) for m in _pinned(call, _channel(call))[:PINS_PER_PAGE]]


async def list_pins_paged(call: Call) -> Any:
    """GET /channels/{channel_id}/messages/pins."""
    limit = call.query("limit", default=PINS_PER_PAGE, least=1, most=PINS_PER_PAGE)
    found = _pinned(call, _channel(call))
    if "before" in call.request.query:
        before = moment_in_query(call, "before")
        found = [m for m in found if m.pinned_at is not None and datetime.fromisoformat(m.pinned_at) < before]
    items = [{"pinned_at": m.pinned_at, "message": call.world.render(m, call.account)} for m in found[:limit]]
    return {"items": items, "has_more": len(found) > limit}


def _set_pin(call: Call, *, pinned: bool) -> Any:
    """Pin or unpin: MANAGE_MESSAGES has not been enough for it since February 2026 (discord/discord-api-docs#8002)."""
    channel = _channel(call, permissions.PIN_MESSAGES)
    message = _message(call, channel)
    if message.type == payloads.PINNED_NOTE:
        raise DiscordError(403, 50021, "Cannot execute action on a system message")
    call.world.pin(channel, message, call.act, pinned=pinned)
    return NO_CONTENT


async def pin(call: Call) -> Any:
    """PUT a pin."""
    return _set_pin(call, pinned=True)


async def unpin(call: Call) -> Any:
    """DELETE a pin."""
    return _set_pin(call, pinned=False)


def _emoji(call: Call) -> str:
    """Return the emoji of the path.

    Raises
    ------
    DiscordError
        10014 for what is no emoji: a word, or a custom one without its id.
    """
    key = unquote(call.text("emoji_name"))
    if _CUSTOM_EMOJI.fullmatch(key):
        return key
    if len(key) > 16 or not _is_emoji(key):
        raise DiscordError(400, 10014, "Unknown Emoji")
    return key


def _is_emoji(key: str) -> bool:
    """Tell whether a text may be an emoji of Unicode: it has a symbol, and no letter that a word is made of."""
    if _KEYCAP in key:
        return True
    return not key.isascii() and any(unicodedata.category(one) in _SYMBOLS for one in key)


async def add_reaction(call: Call) -> Any:
    """PUT /channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/@me."""
    channel = _channel(call, permissions.READ_MESSAGE_HISTORY)
    message, emoji = _message(call, channel), _emoji(call)
    call.world.check_reaction(channel, message, call.account, emoji)
    call.world.react(channel, message, call.account, emoji, add=True)
    return NO_CONTENT


async def remove_own_reaction(call: Call) -> Any:
    """DELETE .../reactions/{emoji_name}/@me."""
    channel = _channel(call)
    call.world.react(channel, _message(call, channel), call.account, _emoji(call), add=False)
    return NO_CONTENT


async def remove_reaction(call: Call) -> Any:
    """DELETE .../reactions/{emoji_name}/{user_id}."""
    channel = _channel(call, permissions.MANAGE_MESSAGES)
    user = call.world.users.get(call.id("user_id"))
    if user is None:
        raise unknown("user")
    call.world.react(channel, _message(call, channel), user, _emoji(call), add=False)
    return NO_CONTENT


async def list_reactions(call: Call) -> Any:
    """GET .../reactions/{emoji_name}."""
    channel = _channel(call, permissions.READ_MESSAGE_HISTORY)
    if call.query("type", default=0, least=0, most=1):
        # Super reactions, which nobody gives here.
        return []
    limit = call.query("limit", default=25, least=1, most=100)
    after = call.query("after", default=0, least=0, most=2**63)
    users = sorted(i for i in _message(call, channel).reactions.get(_emoji(call), []) if i > after)
    return [payloads.user(call.world.users[user_id]) for user_id in users[:limit]]


async def clear_reactions(call: Call) -> Any:
    """DELETE .../reactions."""
    channel = _channel(call, permissions.MANAGE_MESSAGES)
    message = _message(call, channel)
    message.reactions.clear()
    data: dict[str, Any] = {"channel_id": str(channel.id), "message_id": str(message.id)}
    if channel.guild_id is not None:
        data["guild_id"] = str(channel.guild_id)
    call.world.emit(Event("MESSAGE_REACTION_REMOVE_ALL", data, channel.guild_id, channel.id))
    return NO_CONTENT


async def clear_one_reaction(call: Call) -> Any:
    """DELETE .../reactions/{emoji_name}."""
    channel = _channel(call, permissions.MANAGE_MESSAGES)
    message, emoji = _message(call, channel), _emoji(call)
    if message.reactions.pop(emoji, None) is None:
        raise DiscordError(400, 10014, "Unknown Emoji")
    data: dict[str, Any] = {
        "channel_id": str(channel.id),
        "message_id": str(message.id),
        "emoji": payloads.emoji(emoji),
    }
    if channel.guild_id is not None:
        data["guild_id"] = str(channel.guild_id)
    call.world.emit(Event("MESSAGE_REACTION_REMOVE_EMOJI", data, channel.guild_id, channel.id))
    return NO_CONTENT


_MESSAGE = "/channels/{channel_id}/messages/{message_id}"
_REACTION = _MESSAGE + "/reactions/{emoji_name}"

ROUTES: Routes = [
    ("POST", "/channels/{channel_id}/messages", create_message),
    ("GET", "/channels/{channel_id}/messages", list_messages),
    ("POST", "/channels/{channel_id}/messages/bulk-delete", bulk_delete),
    ("GET", "/channels/{channel_id}/messages/pins", list_pins_paged),
    ("PUT", "/channels/{channel_id}/messages/pins/{message_id}", pin),
    ("DELETE", "/channels/{channel_id}/messages/pins/{message_id}", unpin),
    ("GET", "/channels/{channel_id}/pins", list_pins),
    ("PUT", "/channels/{channel_id}/pins/{message_id}", pin),
    ("DELETE", "/channels/{channel_id}/pins/{message_id}", unpin),
    ("GET", _MESSAGE, get_message),
    ("PATCH", _MESSAGE, edit_message),
    ("DELETE", _MESSAGE, delete_message),
    ("DELETE", _MESSAGE + "/reactions", clear_reactions),
    ("GET", _REACTION, list_reactions),
    ("DELETE", _REACTION, clear_one_reaction),
    ("PUT", _REACTION + "/@me", add_reaction),
    ("DELETE", _REACTION + "/@me", remove_own_reaction),
    ("DELETE", _REACTION + "/{user_id}", remove_reaction),
]
