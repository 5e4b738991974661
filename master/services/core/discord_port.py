"""The port to Discord, as services see it; ``master.bot.port`` implements it. Imports no Discord library.

Methods raise only :class:`~master.services.core.errors.DiscordPortError`, within 20 s for each request.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType

MAX_FILE_BYTES = 8 * 1024 * 1024
"""Default limit of a download; Discord's own upload limit without Nitro is slightly above."""
MAX_MESSAGES = 500
"""Default limit of one read of a channel: five requests."""


class EmbedField(Struct, frozen=True):
    """One named value of an embed."""

    name: Annotated[str, Meta(max_length=256)]
    value: Annotated[str, Meta(max_length=1024)]
    inline: bool = True


class Embed(Struct, frozen=True, kw_only=True):
    """An embed."""

    title: str = ""
    description: str = ""
    colour: int | None = None
    fields: tuple[EmbedField, ...] = ()
    footer: str = ""
    url: str = ""
    at: datetime | None = None


class OutgoingFile(Struct, frozen=True):
    """A file to send."""

    name: str
    content: bytes

    def __repr__(self) -> str:
        return f"OutgoingFile({self.name!r}, {len(self.content)} bytes)"


class Button(Struct, frozen=True, kw_only=True):
    """A button below a message; who presses it is answered by ``MasterBot.press_handlers``."""

    label: Annotated[str, Meta(max_length=80)]
    custom_id: Annotated[str, Meta(max_length=100)]
    style: Literal["primary", "secondary", "danger"] = "secondary"
    disabled: bool = False


class Notice(Struct, frozen=True, kw_only=True):
    """A message to post; only ``mention_users`` are mentioned."""

    text: str = ""
    embeds: tuple[Embed, ...] = ()
    files: tuple[OutgoingFile, ...] = ()
    buttons: tuple[Button, ...] = ()
    """At most five."""
    mention_users: tuple[int, ...] = ()
    """Users that ``<@id>`` in the text notifies."""
    reply_to: int | None = None
    """A message of the same channel; without a reply reference if that message is gone."""
    nonce: Annotated[str, Meta(max_length=25)] = ""
    """Of two posts with the same one in the same channel within minutes, Discord posts one; empty: a new one."""


class MessageRef(Struct, frozen=True):
    """The address of a message."""

    channel_id: int
    id: int


class PostedAttachment(Struct, frozen=True, kw_only=True):
    """An attachment of a message; its URL expires after a day, and each fetch of the message returns a new one."""

    id: int
    name: str
    size: int
    url: str


class PostedReaction(Struct, frozen=True, kw_only=True):
    """The reactions with one emoji."""

    emoji: str
    """Unicode, or ``name:id``."""
    count: int
    is_own: bool = False


class PostedMessage(Struct, frozen=True, kw_only=True):
    """A message on Discord."""

    id: int
    channel_id: int
    author_id: int
    author_is_bot: bool
    content: str
    at: datetime
    edited_at: datetime | None = None
    attachments: tuple[PostedAttachment, ...] = ()
    reactions: tuple[PostedReaction, ...] = ()
    footers: tuple[str, ...] = ()
    """Of its embeds."""
    is_pinned: bool = False

    @property
    def ref(self) -> MessageRef:
        """Return the message's address."""
        return MessageRef(self.channel_id, self.id)


class ChannelKind(StrEnum):
    """Channel types in use here; any other type is ``other``."""

    TEXT = "text"
    DIRECT = "direct"
    VOICE = "voice"
    CATEGORY = "category"
    ANNOUNCEMENT = "announcement"
    THREAD = "thread"
    STAGE = "stage"
    FORUM = "forum"
    OTHER = "other"


class Overwrite(Struct, frozen=True):
    """A permission overwrite of a role or member in one channel; permissions are Discord's bits."""

    target_id: int
    kind: Literal["role", "member"]
    allow: int = 0
    deny: int = 0


class Channel(Struct, frozen=True, kw_only=True):
    """A channel, or a category."""

    id: int
    name: str
    kind: ChannelKind
    guild_id: int | None = None
    parent_id: int | None = None
    position: int = 0
    topic: str = ""
    overwrites: tuple[Overwrite, ...] = ()
    last_message_id: int | None = None
    """Its snowflake says when something was last written; that message may be gone."""
    owner_id: int = 0
    """Of a thread: who made it."""


class ChannelPlan(Struct, frozen=True, kw_only=True):
    """A channel to create."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    kind: Literal[
        ChannelKind.TEXT, ChannelKind.VOICE, ChannelKind.CATEGORY, ChannelKind.FORUM, ChannelKind.ANNOUNCEMENT
    ] = ChannelKind.TEXT
    parent_id: int | None = None
    topic: str = ""
    position: int | None = None
    overwrites: tuple[Overwrite, ...] = ()


class ChannelChanges(Struct, frozen=True, kw_only=True):
    """Changes to a channel; unset fields keep their value."""

    name: str | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    parent_id: int | UnsetType | None = UNSET
    """None moves it out of its category."""
    position: int | UnsetType = UNSET
    overwrites: tuple[Overwrite, ...] | UnsetType = UNSET
    """The complete list: overwrites that are not in it are removed."""


class Role(Struct, frozen=True, kw_only=True):
    """A role of a server."""

    id: int
    name: str
    position: int
    permissions: int
    is_managed: bool = False
    """Owned by a bot or an integration; it cannot be assigned."""


class DiscordPort(Protocol):
    """Read from and act on Discord as the master's bot.

    Idempotent calls are retried within the call's time-out. Posts are retried with the same nonce, so Discord posts
    once. ``reason`` appears in the server's own audit log.

    Raises
    ------
    DiscordUnavailable
        Not connected (raised at once), timed out, or a server error of Discord.
    DiscordNotFound
        404.
    DiscordForbidden
        403, with the missing permission if it is known.
    DiscordRefused
        Any other refusal.
    """

    # Messages

    async def post(self, channel_id: int, notice: Notice) -> MessageRef:
        """Post a message."""
        ...

    async def direct_message(self, user_id: int, notice: Notice) -> MessageRef:
        """Post a message to one user; 403 if the user does not accept messages from the bot."""
        ...

    async def edit(self, message: MessageRef, notice: Notice) -> datetime | None:
        """Replace the text and the embeds of one of the bot's messages; its files stay.

        Returns when that was, by Discord's clock.
        """
        ...

    async def delete(self, message: MessageRef, *, reason: str = "") -> None:
        """Delete a message."""
        ...

    async def fetch_message(self, message: MessageRef) -> PostedMessage:
        """Return one message."""
        ...

    async def messages_since(
        self, channel_id: int, after_id: int = 0, *, limit: int = MAX_MESSAGES
    ) -> tuple[PostedMessage, ...]:
        """Return the messages after ``after_id``, oldest first, at most ``limit`` of them."""
        ...

    async def download(self, attachment: PostedAttachment, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return an attachment's content; stops and raises when it is larger than ``max_bytes``."""
        ...

    async def pin(self, message: MessageRef) -> None:
        """Pin a message."""
        ...

    # Reactions

    async def react(self, message: MessageRef, emoji: str) -> None:
        """Add the bot's reaction; ``emoji`` is unicode or ``name:id``."""
        ...

    async def unreact(self, message: MessageRef, emoji: str, *, user_id: int | None = None) -> None:
        """Remove a reaction: the bot's own, or a user's."""
        ...

    async def reactors(self, message: MessageRef, emoji: str, *, limit: int = 1_000) -> tuple[int, ...]:
        """Return the ids of the users who reacted with ``emoji``, lowest first, at most ``limit``."""
        ...

    # Channels

    async def channel(self, channel_id: int) -> Channel:
        """Return one channel or category."""
        ...

    async def channels(self, guild_id: int) -> tuple[Channel, ...]:
        """Return the channels and categories of a server, in their order."""
        ...

    async def create_channel(
        self, guild_id: int, plan: ChannelPlan, *, reason: str = "", patient: bool = False
    ) -> Channel:
        """Create a channel or category; never retried. A patient call waits for as long as discord.py does."""
        ...

    async def edit_channel(self, channel_id: int, changes: ChannelChanges, *, reason: str = "") -> Channel:
        """Rename, move or otherwise change a channel or category."""
        ...

    async def delete_channel(self, channel_id: int, *, reason: str = "") -> None:
        """Delete a channel; the channels of a category stay."""
        ...

    async def set_overwrite(self, channel_id: int, overwrite: Overwrite, *, reason: str = "") -> None:
        """Add or replace the overwrite of one role or member."""
        ...

    async def remove_overwrite(self, channel_id: int, target_id: int, *, reason: str = "") -> None:
        """Remove the overwrite of one role or member."""
        ...

    # Threads

    async def create_thread(self, channel_id: int, name: str) -> Channel:
        """Create a private thread that only staff adds people to; never retried."""
        ...

    async def create_post(self, forum_id: int, name: str, notice: Notice) -> Channel:
        """Start a post of a forum: a thread with its first message, which has the same id; never retried."""
        ...

    async def active_threads(self, guild_id: int) -> tuple[Channel, ...]:
        """Return the threads of a server that are not archived, and that the bot may see."""
        ...

    async def edit_thread(self, thread_id: int, *, archived: bool, locked: bool) -> None:
        """Archive a thread, or take it out of the archive; in a locked one only staff writes."""
        ...

    async def thread_members(self, thread_id: int) -> frozenset[int]:
        """Return the ids of the users in a thread."""
        ...

    async def add_thread_member(self, thread_id: int, user_id: int) -> None:
        """Add a user to a thread."""
        ...

    async def remove_thread_member(self, thread_id: int, user_id: int) -> None:
        """Remove a user from a thread."""
        ...

    # Members

    async def roles(self, guild_id: int) -> tuple[Role, ...]:
        """Return the roles of a server, lowest first."""
        ...

    async def user_name(self, user_id: int) -> str:
        """Return the name of a user or bot, whether a member or not."""
        ...

    async def roles_of(self, guild_id: int, user_id: int) -> frozenset[int]:
        """Return the ids of a member's roles, without @everyone; 404 if the user is not a member."""
        ...

    async def add_role(self, guild_id: int, user_id: int, role_id: int, *, reason: str = "") -> None:
        """Add a role to a member."""
        ...

    async def remove_role(self, guild_id: int, user_id: int, role_id: int, *, reason: str = "") -> None:
        """Remove a role from a member."""
        ...
