"""Conversion between the port's Structs and Discord's JSON; unknown fields are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from master.services.core.discord_port import (
    Button,
    Channel,
    ChannelChanges,
    ChannelKind,
    ChannelPlan,
    Embed,
    Notice,
    Overwrite,
    PostedAttachment,
    PostedMessage,
    PostedReaction,
    Role,
)
from master.services.core.errors import DiscordUnavailable

_KINDS = {
    0: ChannelKind.TEXT,
    1: ChannelKind.DIRECT,
    2: ChannelKind.VOICE,
    4: ChannelKind.CATEGORY,
    5: ChannelKind.ANNOUNCEMENT,
    10: ChannelKind.THREAD,
    11: ChannelKind.THREAD,
    12: ChannelKind.THREAD,
    13: ChannelKind.STAGE,
    15: ChannelKind.FORUM,
}
_NUMBERS = {
    ChannelKind.TEXT: 0,
    ChannelKind.VOICE: 2,
    ChannelKind.CATEGORY: 4,
    ChannelKind.ANNOUNCEMENT: 5,
    ChannelKind.FORUM: 15,
}

T = TypeVar("T")


class WireId(Struct):
    """Any object of which only the id is needed."""

    id: int


class WireUser(WireId):
    """A user."""

    bot: bool = False
    username: str = ""


class WireAttachment(WireId):
    """An attachment of a message."""

    filename: str
    size: int
    url: str


class WireEmoji(Struct):
    """An emoji; a custom one has an id."""

    id: int | None = None
    name: str | None = None


class WireReaction(Struct):
    """The reactions with one emoji."""

    emoji: WireEmoji
    count: int
    me: bool = False


class WireFooter(Struct):
    """What stands below an embed."""

    text: str = ""


class WireEmbed(Struct):
    """An embed, as far as it is read."""

    footer: WireFooter | None = None


class WireMessage(WireId):
    """A message."""

    channel_id: int
    author: WireUser
    content: str
    timestamp: datetime
    edited_timestamp: datetime | None = None
    attachments: list[WireAttachment] = []
    reactions: list[WireReaction] = []
    embeds: list[WireEmbed] = []
    pinned: bool = False

    def posted(self) -> PostedMessage:
        """Convert to the port's Struct."""
        return PostedMessage(
            id=self.id,
            channel_id=self.channel_id,
            author_id=self.author.id,
            author_is_bot=self.author.bot,
            content=self.content,
            at=self.timestamp,
            edited_at=self.edited_timestamp,
            attachments=tuple(
                PostedAttachment(id=a.id, name=a.filename, size=a.size, url=a.url) for a in self.attachments
            ),
            reactions=tuple(
                PostedReaction(emoji=_emoji_key(r.emoji), count=r.count, is_own=r.me) for r in self.reactions
            ),
            footers=tuple(embed.footer.text for embed in self.embeds if embed.footer is not None),
            is_pinned=self.pinned,
        )


class WireEdited(Struct):
    """A message that was edited: when, by Discord's clock."""

    edited_timestamp: datetime | None = None


class WireOverwrite(WireId):
    """A permission overwrite."""

    type: int
    allow: int
    deny: int


class WireChannel(WireId):
    """A channel, or a category."""

    type: int
    name: str | None = None
    guild_id: int | None = None
    parent_id: int | None = None
    position: int = 0
    topic: str | None = None
    permission_overwrites: list[WireOverwrite] = []
    last_message_id: int | None = None
    owner_id: int | None = None

    def channel(self) -> Channel:
        """Convert to the port's Struct."""
        return Channel(
            id=self.id,
            name=self.name or "",
            kind=_KINDS.get(self.type, ChannelKind.OTHER),
            guild_id=self.guild_id,
            parent_id=self.parent_id,
            position=self.position,
            topic=self.topic or "",
            overwrites=tuple(
                Overwrite(o.id, "role" if o.type == 0 else "member", o.allow, o.deny)
                for o in self.permission_overwrites
            ),
            last_message_id=self.last_message_id,
            owner_id=self.owner_id or 0,
        )


class WireThreads(Struct):
    """The active threads of a guild."""

    threads: list[WireChannel] = []


class WireThreadMember(Struct):
    """A member of a thread."""

    user_id: int


class WireRole(WireId):
    """A role."""

    name: str
    permissions: int
    position: int
    managed: bool = False

    def role(self) -> Role:
        """Convert to the port's Struct."""
        return Role(
            id=self.id,
            name=self.name,
            position=self.position,
            permissions=self.permissions,
            is_managed=self.managed,
        )


class WireMember(Struct):
    """A member of a guild."""

    roles: list[int] = field(default_factory=list)


def decode(answer: Any, kind: type[T], doing: str) -> T:
    """Decode a response.

    Raises
    ------
    DiscordUnavailable
        The response is not as Discord documents it.
    """
    try:
        # Not strict: ids and permissions are numbers in strings.
        return msgspec.convert(answer, kind, strict=False)
    except msgspec.ValidationError as error:
        raise DiscordUnavailable(
            f"could not {doing}: the response is not valid: {error}", hint="check DISCORD['API_BASE']"
        ) from error


def message_payload(notice: Notice) -> dict[str, Any]:
    """Return the body of a new message or an edit, without its files."""
    payload: dict[str, Any] = {
        "content": notice.text,
        "embeds": [embed_payload(embed) for embed in notice.embeds],
        "allowed_mentions": {"parse": [], "users": [str(user_id) for user_id in notice.mention_users]},
    }
    if notice.buttons:
        payload["components"] = [{"type": _ACTION_ROW, "components": [_button(one) for one in notice.buttons]}]
    if notice.reply_to is not None:
        payload["message_reference"] = {"message_id": str(notice.reply_to), "fail_if_not_exists": False}
    return payload


_ACTION_ROW, _BUTTON = 1, 2
_BUTTON_STYLES = {"primary": 1, "secondary": 2, "danger": 4}
"""https://discord.com/developers/docs/components/reference"""


def _button(button: Button) -> dict[str, Any]:
    return {
        "type": _BUTTON,
        "style": _BUTTON_STYLES[button.style],
        "label": button.label,
        "custom_id": button.custom_id,
        "disabled": button.disabled,
    }


def embed_payload(embed: Embed) -> dict[str, Any]:
    """Return an embed as Discord takes it."""
    data = {
        "title": embed.title,
        "description": embed.description,
        "url": embed.url,
        "color": embed.colour,
        "timestamp": None if embed.at is None else embed.at.isoformat(),
        "fields": [{"name": f.name, "value": f.value, "inline": f.inline} for f in embed.fields],
        "footer": {"text": embed.footer} if embed.footer else None,
    }
    return {name: value for name, value in data.items() if value not in ("", None, [])}


def overwrite_payload(overwrite: Overwrite) -> dict[str, Any]:
    """Return the body of an overwrite."""
    return {
        "id": str(overwrite.target_id),
        "type": 0 if overwrite.kind == "role" else 1,
        "allow": str(overwrite.allow),
        "deny": str(overwrite.deny),
    }


def plan_payload(plan: ChannelPlan) -> dict[str, Any]:
    """Return the body for creating a channel."""
    options = {
        "name": plan.name,
        "type": _NUMBERS[plan.kind],
        "parent_id": None if plan.parent_id is None else str(plan.parent_id),
        "topic": plan.topic or None,
        "position": plan.position,
        "permission_overwrites": [overwrite_payload(o) for o in plan.overwrites],
    }
    return {name: value for name, value in options.items() if value is not None}


def changes_payload(changes: ChannelChanges) -> dict[str, Any]:
    """Return the body for editing a channel."""
    # Unset fields are omitted.
    options: dict[str, Any] = msgspec.to_builtins(changes)
    if isinstance(changes.parent_id, int):
        options["parent_id"] = str(changes.parent_id)
    if isinstance(changes.overwrites, tuple):
        del options["overwrites"]
        options["permission_overwrites"] = [overwrite_payload(o) for o in changes.overwrites]
    return options


def emoji_path(emoji: str) -> str:
    """Return an emoji as URL paths contain it; accepts ``name:id`` and ``<:name:id>``."""
    return emoji.removeprefix("<a:").removeprefix("<:").removesuffix(">")


def _emoji_key(emoji: WireEmoji) -> str:
    return emoji.name or "" if emoji.id is None else f"{emoji.name}:{emoji.id}"
