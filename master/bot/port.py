"""Implementation of the services' port to Discord with discord.py's HTTP client; nothing is cached."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

import aiohttp
import discord
import msgspec
from discord.http import HTTPClient, Route

from master.bot.calls import TIMEOUT_S, Calls
from master.bot.wire import (
    WireChannel,
    WireEdited,
    WireId,
    WireMember,
    WireMessage,
    WireRole,
    WireThreadMember,
    WireThreads,
    WireUser,
    changes_payload,
    decode,
    emoji_path,
    message_payload,
    overwrite_payload,
    plan_payload,
)
from master.services.core.discord_port import (
    MAX_FILE_BYTES,
    MAX_MESSAGES,
    Channel,
    ChannelChanges,
    ChannelPlan,
    DiscordPort,
    MessageRef,
    Notice,
    OutgoingFile,
    Overwrite,
    PostedAttachment,
    PostedMessage,
    Role,
)
from master.services.core.errors import DiscordRefused

_PAGE = 100
"""Largest page of messages or users that Discord returns."""
_CHANNEL, _MESSAGE = "/channels/{channel_id}", "/channels/{channel_id}/messages/{message_id}"
_REACTION = _MESSAGE + "/reactions/{emoji}"
_THREAD_MEMBERS = "/channels/{channel_id}/thread-members"
_PRIVATE_THREAD, _ARCHIVED_AFTER_MINUTES = 12, 10_080
_MEMBER_ROLE = "/guilds/{guild_id}/members/{user_id}/roles/{role_id}"

T = TypeVar("T")


class DiscordPyPort(DiscordPort):
    """The services' port, through the client that is currently connected.

    Parameters
    ----------
    client
        Returns the current client, or None. The port lives as long as the master; the client changes with each
        connection.
    timeout_s
        For one call with its retries.
    """

    def __init__(self, client: Callable[[], discord.Client | None], timeout_s: float = TIMEOUT_S) -> None:
        self._calls = Calls(client, timeout_s)

    async def _do(
        self,
        doing: str,
        route: Route,
        *,
        needs: str = "",
        repeatable: bool = True,
        patient: bool = False,
        **request: Any,
    ) -> Any:
        """Make one request; returns the decoded JSON response."""
        # Encoded here first: within the call, what cannot be read is an answer of Discord and no mistake of ours.
        msgspec.json.encode(request.get("json"))

        def call(http: HTTPClient) -> Coroutine[Any, Any, Any]:
            return http.request(route, **request)

        return await self._calls.make(doing, call, needs=needs, repeatable=repeatable, patient=patient)

    # Messages

    async def post(self, channel_id: int, notice: Notice) -> MessageRef:
        """Post a message; retried with the same nonce, so Discord posts it once."""
        doing = f"post in channel {channel_id}"
        payload = {**message_payload(notice), "nonce": notice.nonce or secrets.token_hex(12), "enforce_nonce": True}
        route = Route("POST", _CHANNEL + "/messages", channel_id=channel_id)
        needs = "Attach Files" if notice.files else "Send Messages"
        answer = await self._do(doing, route, needs=needs, **_body(payload, notice.files))
        return MessageRef(channel_id, decode(answer, WireId, doing).id)

    async def direct_message(self, user_id: int, notice: Notice) -> MessageRef:
        """Open the direct message channel, and post in it."""
        doing = f"write to user {user_id}"
        route = Route("POST", "/users/@me/channels")
        answer = await self._do(doing, route, json={"recipient_id": str(user_id)})
        return await self.post(decode(answer, WireId, doing).id, notice)

    async def edit(self, message: MessageRef, notice: Notice) -> datetime | None:
        """Replace the text and the embeds of one of the bot's messages."""
        doing = f"edit message {message.id}"
        if notice.files:
            raise DiscordRefused(f"could not {doing}: files can only be sent with a new message")
        payload = message_payload(notice)
        payload.pop("message_reference", None)
        return decode(await self._do(doing, _at(message, "PATCH"), json=payload), WireEdited, doing).edited_timestamp

    async def delete(self, message: MessageRef, *, reason: str = "") -> None:
        """Delete a message."""
        await self._calls.make(
            f"delete message {message.id}",
            # discord.py uses separate rate limits for recent and old messages.
            lambda http: http.delete_message(message.channel_id, message.id, reason=reason or None),
            needs="Manage Messages",
        )

    async def fetch_message(self, message: MessageRef) -> PostedMessage:
        """Return one message."""
        doing = f"read message {message.id}"
        answer = await self._do(doing, _at(message, "GET"), needs="Read Message History")
        return decode(answer, WireMessage, doing).posted()

    async def messages_since(
        self, channel_id: int, after_id: int = 0, *, limit: int = MAX_MESSAGES
    ) -> tuple[PostedMessage, ...]:
        """Return the messages after ``after_id``, oldest first."""
        doing = f"read channel {channel_id}"
        route = Route("GET", _CHANNEL + "/messages", channel_id=channel_id)
        found: list[PostedMessage] = []
        while len(found) < limit:
            size = min(_PAGE, limit - len(found))
            params = {"limit": size, "after": found[-1].id if found else after_id}
            answer = await self._do(doing, route, needs="Read Message History", params=params)
            page = [message.posted() for message in decode(answer, list[WireMessage], doing)]
            found += sorted(page, key=lambda message: message.id)
            if len(page) < size:
                break
        return tuple(found)

    async def download(self, attachment: PostedAttachment, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return an attachment's content, up to ``max_bytes``."""
        doing = f"download {attachment.name}"
        if attachment.size > max_bytes:
            raise _too_large(doing, max_bytes)
        return await self._calls.make(doing, lambda _: _download(attachment.url, doing, max_bytes))

    async def pin(self, message: MessageRef) -> None:
        """Pin a message."""
        route = Route(
            "PUT", _CHANNEL + "/messages/pins/{message_id}", channel_id=message.channel_id, message_id=message.id
        )
        await self._do(f"pin message {message.id}", route, needs="Pin Messages")

    # Reactions

    async def react(self, message: MessageRef, emoji: str) -> None:
        """Add the bot's own reaction."""
        route = _at(message, "PUT", _REACTION + "/@me", emoji=emoji_path(emoji))
        await self._do(f"react to message {message.id}", route, needs="Add Reactions")

    async def unreact(self, message: MessageRef, emoji: str, *, user_id: int | None = None) -> None:
        """Remove the bot's own reaction, or a user's."""
        doing, key = f"remove a reaction from message {message.id}", emoji_path(emoji)
        if user_id is None:
            await self._do(doing, _at(message, "DELETE", _REACTION + "/@me", emoji=key))
            return
        route = _at(message, "DELETE", _REACTION + "/{user_id}", emoji=key, user_id=user_id)
        await self._do(doing, route, needs="Manage Messages")

    async def reactors(self, message: MessageRef, emoji: str, *, limit: int = 1_000) -> tuple[int, ...]:
        """Return the ids of the users who reacted with ``emoji``."""
        doing = f"read the reactions to message {message.id}"
        route = _at(message, "GET", _REACTION, emoji=emoji_path(emoji))
        found: list[int] = []
        while len(found) < limit:
            size = min(_PAGE, limit - len(found))
            params = {"limit": size, "after": found[-1] if found else 0}
            answer = await self._do(doing, route, needs="Read Message History", params=params)
            page = sorted(user.id for user in decode(answer, list[WireUser], doing))
            found += page
            if len(page) < size:
                break
        return tuple(found)

    # Channels

    async def channel(self, channel_id: int) -> Channel:
        """Return one channel or category."""
        doing = f"look at channel {channel_id}"
        answer = await self._do(doing, Route("GET", _CHANNEL, channel_id=channel_id))
        return decode(answer, WireChannel, doing).channel()

    async def channels(self, guild_id: int) -> tuple[Channel, ...]:
        """Return the channels and categories of a server."""
        doing = f"list the channels of server {guild_id}"
        answer = await self._do(doing, Route("GET", "/guilds/{guild_id}/channels", guild_id=guild_id))
        found = [wire.channel() for wire in decode(answer, list[WireChannel], doing)]
        return tuple(sorted(found, key=lambda channel: (channel.position, channel.id)))

    async def create_channel(
        self, guild_id: int, plan: ChannelPlan, *, reason: str = "", patient: bool = False
    ) -> Channel:
        """Create a channel or category."""
        doing = f"create channel {plan.name}"
        route = Route("POST", "/guilds/{guild_id}/channels", guild_id=guild_id)
        # Discord names none: what it wants for an overwrite is each permission that stands in it.
        needs = "Manage Channels, and each that it sets for others," if plan.overwrites else "Manage Channels"
        answer = await self._do(
            doing, route, needs=needs, repeatable=False, patient=patient, json=plan_payload(plan), reason=reason
        )
        return decode(answer, WireChannel, doing).channel()

    async def edit_channel(self, channel_id: int, changes: ChannelChanges, *, reason: str = "") -> Channel:
        """Rename, move or otherwise change a channel or category."""
        doing = f"change channel {channel_id}"
        route = Route("PATCH", _CHANNEL, channel_id=channel_id)
        answer = await self._do(doing, route, needs="Manage Channels", json=changes_payload(changes), reason=reason)
        return decode(answer, WireChannel, doing).channel()

    async def delete_channel(self, channel_id: int, *, reason: str = "") -> None:
        """Delete a channel or category."""
        route = Route("DELETE", _CHANNEL, channel_id=channel_id)
        await self._do(f"delete channel {channel_id}", route, needs="Manage Channels", reason=reason)

    async def set_overwrite(self, channel_id: int, overwrite: Overwrite, *, reason: str = "") -> None:
        """Add or replace the overwrite of one role or member."""
        target_id = overwrite.target_id
        route = Route("PUT", _CHANNEL + "/permissions/{target_id}", channel_id=channel_id, target_id=target_id)
        doing = f"set permissions of {target_id} in channel {channel_id}"
        await self._do(doing, route, needs="Manage Roles", json=overwrite_payload(overwrite), reason=reason)

    async def remove_overwrite(self, channel_id: int, target_id: int, *, reason: str = "") -> None:
        """Remove the overwrite of one role or member."""
        route = Route("DELETE", _CHANNEL + "/permissions/{target_id}", channel_id=channel_id, target_id=target_id)
        doing = f"remove permissions of {target_id} in channel {channel_id}"
        await self._do(doing, route, needs="Manage Roles", reason=reason)

    # Threads

    async def create_thread(self, channel_id: int, name: str) -> Channel:
        """Create a private thread; who is in it cannot add others."""
        doing = f"create thread {name}"
        body = {
            "name": name,
            "type": _PRIVATE_THREAD,
            "invitable": False,
            "auto_archive_duration": _ARCHIVED_AFTER_MINUTES,
        }
        route = Route("POST", _CHANNEL + "/threads", channel_id=channel_id)
        answer = await self._do(doing, route, needs="Create Private Threads", repeatable=False, json=body)
        return decode(answer, WireChannel, doing).channel()

    async def create_post(self, forum_id: int, name: str, notice: Notice) -> Channel:
        """Start a post of a forum."""
        doing = f"post in forum {forum_id}"
        body = {"name": name, "message": message_payload(notice)}
        route = Route("POST", _CHANNEL + "/threads", channel_id=forum_id)
        answer = await self._do(doing, route, needs="Create Posts", repeatable=False, json=body)
        return decode(answer, WireChannel, doing).channel()

    async def active_threads(self, guild_id: int) -> tuple[Channel, ...]:
        """Return the threads of a server that are not archived."""
        doing = f"list the threads of server {guild_id}"
        answer = await self._do(doing, Route("GET", "/guilds/{guild_id}/threads/active", guild_id=guild_id))
        return tuple(wire.channel() for wire in decode(answer, WireThreads, doing).threads)

    async def edit_thread(self, thread_id: int, *, archived: bool, locked: bool) -> None:
        """Archive or lock a thread, or undo it."""
        route = Route("PATCH", _CHANNEL, channel_id=thread_id)
        changes = {"archived": archived, "locked": locked}
        await self._do(f"change thread {thread_id}", route, needs="Manage Threads", json=changes)

    async def thread_members(self, thread_id: int) -> frozenset[int]:
        """Return the ids of the users in a thread."""
        doing = f"list the members of thread {thread_id}"
        answer = await self._do(doing, Route("GET", _THREAD_MEMBERS, channel_id=thread_id))
        return frozenset(member.user_id for member in decode(answer, list[WireThreadMember], doing))

    async def add_thread_member(self, thread_id: int, user_id: int) -> None:
        """Add a user to a thread."""
        route = Route("PUT", _THREAD_MEMBERS + "/{user_id}", channel_id=thread_id, user_id=user_id)
        await self._do(f"add member {user_id} to thread {thread_id}", route, needs="Send Messages in Threads")

    async def remove_thread_member(self, thread_id: int, user_id: int) -> None:
        """Remove a user from a thread."""
        route = Route("DELETE", _THREAD_MEMBERS + "/{user_id}", channel_id=thread_id, user_id=user_id)
        await self._do(f"remove member {user_id} from thread {thread_id}", route, needs="Manage Threads")

    # Members

    async def roles(self, guild_id: int) -> tuple[Role, ...]:
        """Return the roles of a server."""
        doing = f"list the roles of server {guild_id}"
        answer = await self._do(doing, Route("GET", "/guilds/{guild_id}/roles", guild_id=guild_id))
        found = [wire.role() for wire in decode(answer, list[WireRole], doing)]
        return tuple(sorted(found, key=lambda role: (role.position, role.id)))

    async def user_name(self, user_id: int) -> str:
        """Return the name of a user or bot, whether a member or not."""
        doing = f"look at user {user_id}"
        return decode(
            await self._do(doing, Route("GET", "/users/{user_id}", user_id=user_id)), WireUser, doing
        ).username

    async def roles_of(self, guild_id: int, user_id: int) -> frozenset[int]:
        """Return the ids of a member's roles."""
        doing = f"look at member {user_id}"
        route = Route("GET", "/guilds/{guild_id}/members/{user_id}", guild_id=guild_id, user_id=user_id)
        return frozenset(decode(await self._do(doing, route), WireMember, doing).roles)

    async def add_role(self, guild_id: int, user_id: int, role_id: int, *, reason: str = "") -> None:
        """Add a role to a member."""
        route = Route("PUT", _MEMBER_ROLE, guild_id=guild_id, user_id=user_id, role_id=role_id)
        await self._do(f"give member {user_id} role {role_id}", route, needs="Manage Roles", reason=reason)

    async def remove_role(self, guild_id: int, user_id: int, role_id: int, *, reason: str = "") -> None:
        """Remove a role from a member."""
        route = Route("DELETE", _MEMBER_ROLE, guild_id=guild_id, user_id=user_id, role_id=role_id)
        await self._do(f"take role {role_id} from member {user_id}", route, needs="Manage Roles", reason=reason)


def _at(message: MessageRef, method: str, path: str = _MESSAGE, **parameters: Any) -> Route:
    return Route(method, path, channel_id=message.channel_id, message_id=message.id, **parameters)


def _body(payload: dict[str, Any], files: tuple[OutgoingFile, ...]) -> dict[str, Any]:
    """Return a request's body for discord.py: JSON, or a multipart form with files."""
    if not files:
        return {"json": payload}
    payload["attachments"] = [{"id": index, "filename": file.name} for index, file in enumerate(files)]
    form: list[dict[str, Any]] = [{"name": "payload_json", "value": msgspec.json.encode(payload).decode()}]
    form += [
        {
            "name": f"files[{index}]",
            "value": file.content,
            "filename": file.name,
            "content_type": "application/octet-stream",
        }
        for index, file in enumerate(files)
    ]
    return {"form": form}


async def _download(url: str, doing: str, max_bytes: int) -> bytes:
    """Download a file from Discord's CDN; its URLs are signed, so no token is sent."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if response.status != 200:
            kind = {403: discord.Forbidden, 404: discord.NotFound}.get(response.status, discord.HTTPException)
            raise kind(response, "the file is gone, or its link has expired")
        content = bytearray()
        async for chunk in response.content.iter_chunked(65_536):
            content += chunk
            if len(content) > max_bytes:
                raise _too_large(doing, max_bytes)
        return bytes(content)


def _too_large(doing: str, max_bytes: int) -> DiscordRefused:
    return DiscordRefused(f"could not {doing}: it is larger than {max_bytes} bytes")
