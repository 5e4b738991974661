"""A guild's audit log: https://docs.discord.com/developers/resources/audit-log.

What nobody does leaves no entry: the set-up of a test. Neither does a move: Discord records no position or category of
a channel, and no position of a role (discord/discord-api-docs#4345 and #7152).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox import payloads, permissions
from sandbox.events import Event
from sandbox.records import Channel, Guild, Message, Overwrite, Role, User, Webhook

CHANNEL_CREATE, CHANNEL_UPDATE, CHANNEL_DELETE = 10, 11, 12
OVERWRITE_CREATE, OVERWRITE_UPDATE, OVERWRITE_DELETE = 13, 14, 15
MEMBER_UPDATE, MEMBER_ROLE_UPDATE = 24, 25
ROLE_CREATE, ROLE_UPDATE, ROLE_DELETE = 30, 31, 32
WEBHOOK_CREATE, WEBHOOK_UPDATE, WEBHOOK_DELETE = 50, 51, 52
MESSAGE_DELETE, MESSAGE_BULK_DELETE, MESSAGE_PIN, MESSAGE_UNPIN = 72, 73, 74, 75
THREAD_CREATE, THREAD_UPDATE, THREAD_DELETE = 110, 111, 112

MAX_ENTRIES_KEPT = 1_000
"""Discord keeps entries for 45 days; here the last ones are, so that memory stays bounded."""
TOGETHER_S = 300.0
"""Deletions of one author's messages by one person in one channel within it are one entry; its count grows untold."""

_CHANNEL_KEYS = (
    "name",
    "type",
    "topic",
    "nsfw",
    "rate_limit_per_user",
    "flags",
    "available_tags",
    "applied_tags",
    "default_auto_archive_duration",
    "default_thread_rate_limit_per_user",
    "default_reaction_emoji",
)
_THREAD_KEYS = ("archived", "locked", "auto_archive_duration", "invitable")
_ROLE_KEYS = ("name", "permissions", "hoist", "mentionable", "color")
_WEBHOOK_KEYS = ("name", "type", "channel_id", "application_id")

Facts = dict[str, Any]
"""What an entry compares of a channel, a role or a webhook."""


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something, and the reason given with it."""

    user: User
    reason: str | None = None


@dataclass(slots=True)
class Entry:
    """One entry."""

    id: int
    action: int
    user_id: int
    target_id: int
    at: float
    changes: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, str] | None = None
    reason: str | None = None

    def payload(self) -> dict[str, Any]:
        """AuditLogEntryResponse."""
        data: dict[str, Any] = {
            "id": str(self.id),
            "action_type": self.action,
            "user_id": str(self.user_id),
            "target_id": str(self.target_id),
        }
        if self.changes:
            data["changes"] = self.changes
        if self.options is not None:
            data["options"] = self.options
        if self.reason is not None:
            data["reason"] = self.reason
        return data


def channel_facts(channel: Channel) -> Facts:
    """Return what entries say of a channel or a thread, without its overwrites."""
    data = payloads.channel(channel)
    kept = {key: data[key] for key in _CHANNEL_KEYS if key in data}
    about = data.get("thread_metadata", {})
    return kept | {key: about[key] for key in _THREAD_KEYS if key in about}


def role_facts(role: Role) -> Facts:
    """Return what entries say of a role."""
    data = payloads.role(role)
    return {key: data[key] for key in _ROLE_KEYS}


def webhook_facts(webhook: Webhook) -> Facts:
    """Return what entries say of a webhook."""
    data = payloads.webhook(webhook, with_token=False)
    return {key: data[key] for key in _WEBHOOK_KEYS}


def _born(facts: Facts) -> list[dict[str, Any]]:
    return [{"key": key, "new_value": value} for key, value in facts.items() if value is not None]


def _gone(facts: Facts) -> list[dict[str, Any]]:
    return [{"key": key, "old_value": value} for key, value in facts.items() if value is not None]


def _changed(before: Facts, after: Facts) -> list[dict[str, Any]]:
    """Return what differs; a value that was or becomes null is left out, as Discord leaves it out."""
    changes = []
    for key, new in after.items():
        old = before.get(key)
        if old != new:
            values = {"old_value": old, "new_value": new}
            changes.append({"key": key} | {name: value for name, value in values.items() if value is not None})
    return changes


class AuditLog:
    """Records entries in their guild, and announces them to who may view the audit log.

    Parameters
    ----------
    new_id
        Makes an entry's id.
    """

    def __init__(self, clock: Callable[[], float], new_id: Callable[[], int], emit: Callable[[Event], None]) -> None:
        self._clock = clock
        self._new_id = new_id
        self._emit = emit
        self._entries: dict[int, deque[Entry]] = {}

    def of(self, guild_id: int) -> Sequence[Entry]:
        """Return a guild's entries, oldest first."""
        return self._entries.get(guild_id, deque())

    def _record(
        self,
        guild_id: int | None,
        act: Act | None,
        action: int,
        target_id: int,
        changes: Iterable[dict[str, Any]] = (),
        options: dict[str, str] | None = None,
    ) -> None:
        if act is None or guild_id is None:
            return
        entry = Entry(
            self._new_id(), action, act.user.id, target_id, self._clock(), list(changes), options, act.reason or None
        )
        self._entries.setdefault(guild_id, deque(maxlen=MAX_ENTRIES_KEPT)).append(entry)
        data = {**entry.payload(), "guild_id": str(guild_id)}
        self._emit(Event("GUILD_AUDIT_LOG_ENTRY_CREATE", data, guild_id, needs=permissions.VIEW_AUDIT_LOG))

    # Channels

    def channel_created(self, channel: Channel, act: Act | None) -> None:
        """Record a new channel, or a new thread."""
        changes = _born(channel_facts(channel))
        if not channel.is_thread:
            overwrites = [payloads.overwrite(one) for one in channel.overwrites.values()]
            changes.append({"key": "permission_overwrites", "new_value": overwrites})
        action = THREAD_CREATE if channel.is_thread else CHANNEL_CREATE
        self._record(channel.guild_id, act, action, channel.id, changes)

    def channel_deleted(self, channel: Channel, act: Act | None) -> None:
        """Record a channel, or a thread, that is gone."""
        changes = _gone(channel_facts(channel))
        if not channel.is_thread:
            overwrites = [payloads.overwrite(one) for one in channel.overwrites.values()]
            changes.append({"key": "permission_overwrites", "old_value": overwrites})
        action = THREAD_DELETE if channel.is_thread else CHANNEL_DELETE
        self._record(channel.guild_id, act, action, channel.id, changes)

    def channel_edited(
        self, guild: Guild, channel: Channel, before: Facts, overwrites: dict[int, Overwrite], act: Act | None
    ) -> None:
        """Record what an edit changed: the channel in one entry, each overwrite in one of its own.

        Parameters
        ----------
        before, overwrites
            The channel's facts and overwrites before the edit.
        """
        changes = _changed(before, channel_facts(channel))
        if changes:
            action = THREAD_UPDATE if channel.is_thread else CHANNEL_UPDATE
            self._record(channel.guild_id, act, action, channel.id, changes)
        for target_id in dict.fromkeys([*overwrites, *channel.overwrites]):
            self._overwritten(guild, channel, overwrites.get(target_id), channel.overwrites.get(target_id), act)

    def _overwritten(
        self, guild: Guild, channel: Channel, old: Overwrite | None, new: Overwrite | None, act: Act | None
    ) -> None:
        what = new or old
        if what is None or old == new:
            return
        options = {"id": str(what.id), "type": str(what.type)}
        if what.type == 0 and what.id in guild.roles:
            options["role_name"] = guild.roles[what.id].name
        if old is None:
            action, changes = OVERWRITE_CREATE, _born(payloads.overwrite(what))
        elif new is None:
            action, changes = OVERWRITE_DELETE, _gone(payloads.overwrite(what))
        else:
            action, changes = OVERWRITE_UPDATE, _changed(payloads.overwrite(old), payloads.overwrite(new))
        self._record(channel.guild_id, act, action, channel.id, changes, options)

    # Roles and members

    def role_created(self, guild: Guild, role: Role, act: Act | None) -> None:
        """Record a new role."""
        self._record(guild.id, act, ROLE_CREATE, role.id, _born(role_facts(role)))

    def role_edited(self, guild: Guild, role: Role, before: Facts, act: Act | None) -> None:
        """Record what an edit changed of a role."""
        changes = _changed(before, role_facts(role))
        if changes:
            self._record(guild.id, act, ROLE_UPDATE, role.id, changes)

    def role_deleted(self, guild: Guild, role: Role, act: Act | None) -> None:
        """Record a role that is gone."""
        self._record(guild.id, act, ROLE_DELETE, role.id, _gone(role_facts(role)))

    def roles_given(
        self, guild: Guild, user: User, before: Sequence[int], after: Sequence[int], act: Act | None
    ) -> None:
        """Record the roles that a member got and lost."""
        changes = []
        for key, ids in (("$add", set(after) - set(before)), ("$remove", set(before) - set(after))):
            named = [{"id": str(i), "name": guild.roles[i].name} for i in sorted(ids) if i in guild.roles]
            if named:
                changes.append({"key": key, "new_value": named})
        if changes:
            self._record(guild.id, act, MEMBER_ROLE_UPDATE, user.id, changes)

    def renamed(self, guild: Guild, user: User, before: str | None, after: str | None, act: Act | None) -> None:
        """Record a member's new nickname."""
        changes = _changed({"nick": before}, {"nick": after})
        if changes:
            self._record(guild.id, act, MEMBER_UPDATE, user.id, changes)

    # Webhooks

    def webhook_created(self, webhook: Webhook, act: Act | None) -> None:
        """Record a new webhook."""
        self._record(webhook.guild_id, act, WEBHOOK_CREATE, webhook.id, _born(webhook_facts(webhook)))

    def webhook_edited(self, webhook: Webhook, before: Facts, act: Act | None) -> None:
        """Record what an edit changed of a webhook."""
        changes = _changed(before, webhook_facts(webhook))
        if changes:
            self._record(webhook.guild_id, act, WEBHOOK_UPDATE, webhook.id, changes)

    def webhook_deleted(self, webhook: Webhook, act: Act | None) -> None:
        """Record a webhook that is gone."""
        self._record(webhook.guild_id, act, WEBHOOK_DELETE, webhook.id, _gone(webhook_facts(webhook)))

    # Messages

    def message_deleted(self, channel: Channel, message: Message, act: Act | None) -> None:
        """Record the deletion of somebody else's message; one of one's own leaves no entry."""
        if act is None or act.user.id == message.author.id or channel.guild_id is None:
            return
        last = next(reversed(self.of(channel.guild_id)), None)
        if last is not None and last.options is not None and self._is_same_deletion(last, channel, message, act):
            last.options["count"] = str(int(last.options["count"]) + 1)
            return
        options = {"channel_id": str(channel.id), "count": "1"}
        self._record(channel.guild_id, act, MESSAGE_DELETE, message.author.id, (), options)

    def _is_same_deletion(self, last: Entry, channel: Channel, message: Message, act: Act) -> bool:
        return (
            (last.action, last.user_id, last.target_id) == (MESSAGE_DELETE, act.user.id, message.author.id)
            and last.options is not None
            and last.options["channel_id"] == str(channel.id)
            and self._clock() - last.at < TOGETHER_S
        )

    def messages_deleted(self, channel: Channel, count: int, act: Act | None) -> None:
        """Record a deletion in bulk."""
        self._record(channel.guild_id, act, MESSAGE_BULK_DELETE, channel.id, (), {"count": str(count)})

    def pinned(self, channel: Channel, message: Message, act: Act | None) -> None:
        """Record that a message was pinned, or is pinned no more."""
        options = {"channel_id": str(channel.id), "message_id": str(message.id)}
        action = MESSAGE_PIN if message.pinned else MESSAGE_UNPIN
        self._record(channel.guild_id, act, action, message.author.id, (), options)
