"""What the world is made of: plain records, which import nothing of the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class User:
    """A person, or a bot's account."""

    id: int
    username: str
    is_bot: bool = False
    takes_direct_messages: bool = True
    """False: closed to whoever is no friend, which a bot never is."""


@dataclass(slots=True)
class BotAccount(User):
    """A bot: its application has the same id as its user."""

    token: str = field(default="", repr=False)
    privileged_intents: int = 0
    """Privileged intents that are switched on in the developer portal."""
    owner_id: int = 0

    @property
    def application_id(self) -> int:
        """Return the application's id."""
        return self.id


@dataclass(slots=True)
class Role:
    """A guild's role."""

    id: int
    name: str
    permissions: int
    position: int = 1
    managed_by: int | None = None
    hoist: bool = False
    mentionable: bool = False
    colour: int = 0


@dataclass(slots=True)
class Overwrite:
    """A channel's permission overwrite for a role (type 0) or a member (type 1)."""

    id: int
    type: int
    allow: int
    deny: int


@dataclass(slots=True)
class Member:
    """A user in a guild."""

    user: User
    joined_at: str
    role_ids: list[int] = field(default_factory=list)
    nick: str | None = None


@dataclass(slots=True)
class Attachment:
    """A file of a message."""

    id: int
    filename: str
    content: bytes = field(repr=False)
    content_type: str = "application/octet-stream"
    description: str | None = None


@dataclass(slots=True)
class Message:
    """A message; what Discord derives is derived when it is rendered."""

    id: int
    channel_id: int
    author: User
    content: str
    timestamp: str
    type: int = 0
    embeds: list[dict[str, Any]] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    reactions: dict[str, list[int]] = field(default_factory=dict)
    mentions: list[User] = field(default_factory=list)
    mention_role_ids: list[int] = field(default_factory=list)
    mention_everyone: bool = False
    reference_id: int | None = None
    edited_timestamp: str | None = None
    flags: int = 0
    pinned_at: str | None = None
    tts: bool = False
    nonce: str | int | None = None
    application_id: int | None = None
    webhook_id: int | None = None
    interaction: dict[str, Any] | None = None
    ephemeral_for: int | None = None
    thread_id: int | None = None
    on_change: Callable[[], None] | None = field(default=None, repr=False)

    @property
    def pinned(self) -> bool:
        """Tell whether the message is pinned."""
        return self.pinned_at is not None

    def mentions_user(self, user_id: int) -> bool:
        """Tell whether the message mentions a user."""
        return any(user.id == user_id for user in self.mentions)


@dataclass(slots=True)
class ForumTag:
    """What the posts of a forum can be marked with."""

    id: int
    name: str
    moderated: bool = False
    emoji_id: int | None = None
    emoji_name: str | None = None


@dataclass(slots=True)
class Channel:
    """A text channel (0), category (4), forum (15), direct message (1) or thread (10, 11, 12)."""

    id: int
    type: int
    name: str
    guild_id: int | None = None
    position: int = 0
    topic: str | None = None
    parent_id: int | None = None
    nsfw: bool = False
    slowmode_s: int = 0
    overwrites: dict[int, Overwrite] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    recipients: list[User] = field(default_factory=list)
    owner_id: int | None = None
    archived: bool = False
    locked: bool = False
    invitable: bool = True
    """Of a private thread: whether people without MANAGE_THREADS may add others."""
    auto_archive_minutes: int = 4320
    created_at: str = ""
    archived_at: str = ""
    """When a thread was archived, or opened again, last."""
    thread_members: set[int] = field(default_factory=set)
    flags: int = 0
    last_pin_at: str | None = None
    default_archive_minutes: int | None = None
    """What a channel gives to its new threads; None when it has no choice of its own."""
    default_thread_slowmode_s: int = 0
    tags: list[ForumTag] = field(default_factory=list)
    """Of a forum: what its posts can be marked with."""
    applied_tag_ids: list[int] = field(default_factory=list)
    """Of a forum's post."""
    default_reaction: dict[str, str | None] | None = None
    default_sort_order: int | None = None
    default_layout: int = 0

    @property
    def is_thread(self) -> bool:
        """Tell whether this is a thread."""
        return self.type in (10, 11, 12)

    @property
    def is_forum(self) -> bool:
        """Tell whether this is a forum, which takes posts and no messages."""
        return self.type == 15


@dataclass(slots=True)
class Webhook:
    """An incoming webhook of a channel: who knows its token writes there, under any name."""

    id: int
    name: str
    guild_id: int
    channel_id: int
    user: User
    token: str = field(repr=False)
    application_id: int | None = None
    """The application that made it, which alone is shown its token."""


@dataclass(slots=True)
class Guild:
    """A server."""

    id: int
    name: str
    owner_id: int
    roles: dict[int, Role] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
