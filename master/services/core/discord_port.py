"""What services may do on Discord; ``master.bot.port`` does it. No Discord library in here.

Every method raises :class:`~master.services.core.errors.DiscordPortError` and nothing else, within 20 s a request.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType

MAX_FILE_BYTES = 8 * 1024 * 1024
"""Default bound of a download: what Discord lets anybody upload is little more."""
MAX_MESSAGES = 500
"""Default bound of one reading of a channel: five requests."""


class EmbedField(Struct, frozen=True):
    """One named value of an embed."""

    name: Annotated[str, Meta(max_length=256)]
    value: Annotated[str, Meta(max_length=1024)]
    inline: bool = True


class Embed(Struct, frozen=True, kw_only=True):
    """A box with a coloured edge."""

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


class Notice(Struct, frozen=True, kw_only=True):
    """What to post; nobody is mentioned but ``mention_users``."""

    text: str = ""
    embeds: tuple[Embed, ...] = ()
    files: tuple[OutgoingFile, ...] = ()
    mention_users: tuple[int, ...] = ()
    """Users that a ``<@id>`` in the text notifies."""
    reply_to: int | None = None
    """A message of the same channel; a plain post when it is gone."""


class MessageRef(Struct, frozen=True):
    """Where a message is."""

    channel_id: int
    id: int


class PostedAttachment(Struct, frozen=True, kw_only=True):
    """A file of a message; its link ends to be valid after a day, and is new in each reading of the message."""

    id: int
    name: str
    size: int
    url: str


class PostedReaction(Struct, frozen=True, kw_only=True):
    """One emoji below a message."""

    emoji: str
    """Unicode, or ``name:id``."""
    count: int
    is_own: bool = False


class PostedMessage(Struct, frozen=True, kw_only=True):
    """A message as Discord has it."""

    id: int
    channel_id: int
    author_id: int
    author_is_bot: bool
    content: str
    at: datetime
    edited_at: datetime | None = None
    attachments: tuple[PostedAttachment, ...] = ()
    reactions: tuple[PostedReaction, ...] = ()

    @property
    def ref(self) -> MessageRef:
        """Return where it is."""
        return MessageRef(self.channel_id, self.id)


class ChannelKind(StrEnum):
    """Kinds of channels that matter here; what is new on Discord is ``other``."""

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
    """What a role or a member may do in one channel, differently from the server; permissions are Discord's bits."""

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


class ChannelPlan(Struct, frozen=True, kw_only=True):
    """A channel to create."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    kind: Literal[ChannelKind.TEXT, ChannelKind.VOICE, ChannelKind.CATEGORY] = ChannelKind.TEXT
    parent_id: int | None = None
    topic: str = ""
    position: int | None = None
    overwrites: tuple[Overwrite, ...] = ()


class ChannelChanges(Struct, frozen=True, kw_only=True):
    """What to change about a channel; what is unset stays."""

    name: str | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    parent_id: int | UnsetType | None = UNSET
    """None: out of its category."""
    position: int | UnsetType = UNSET
    overwrites: tuple[Overwrite, ...] | UnsetType = UNSET
    """All of them: those that are not named are removed."""


class Role(Struct, frozen=True, kw_only=True):
    """A role of a server."""

    id: int
    name: str
    position: int
    permissions: int
    is_managed: bool = False
    """It belongs to a bot or an integration, and cannot be given to anybody."""


class DiscordPort(Protocol):
    """The master's hands on Discord.

    Reading, and what can be repeated without harm, is tried again within the call's time; posting is repeated with the
    same nonce, so that Discord posts once. ``reason`` is what the server's own audit log shows.

    Raises
    ------
    DiscordUnavailable
        At once while the master is not connected; otherwise after the time-out, or an error of Discord's own.
    DiscordNotFound
        404.
    DiscordForbidden
        403, with the permission that is missing where it can be told.
    DiscordRefused
        Any other refusal.
    """

    # Messages

    async def post(self, channel_id: int, notice: Notice) -> MessageRef:
        """Post a message."""
        ...

    async def direct_message(self, user_id: int, notice: Notice) -> MessageRef:
        """Post a message to one user; 403 when he takes none from the bot."""
        ...

    async def edit(self, message: MessageRef, notice: Notice) -> None:
        """Replace the text and the embeds of an own message; its files stay, and new ones are added."""
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
        """Return a posted file; one that is larger than ``max_bytes`` is refused, and not read to its end."""
        ...

    # Reactions

    async def react(self, message: MessageRef, emoji: str) -> None:
        """Add the bot's own reaction: unicode, or ``name:id``."""
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

    async def create_channel(self, guild_id: int, plan: ChannelPlan, *, reason: str = "") -> Channel:
        """Create a channel or category; never repeated by itself."""
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

    # Members

    async def roles(self, guild_id: int) -> tuple[Role, ...]:
        """Return the roles of a server, lowest first."""
        ...

    async def roles_of(self, guild_id: int, user_id: int) -> frozenset[int]:
        """Return the ids of a member's roles, without @everyone; 404 when he is no member."""
        ...

    async def add_role(self, guild_id: int, user_id: int, role_id: int, *, reason: str = "") -> None:
        """Give a member a role."""
        ...

    async def remove_role(self, guild_id: int, user_id: int, role_id: int, *, reason: str = "") -> None:
        """Take a role from a member."""
        ...
