"""The world in memory: users, guilds, channels, messages, commands. Listeners get an event for every change."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from sandbox import payloads, permissions
from sandbox.audit import Act, AuditLog, channel_facts, role_facts
from sandbox.errors import DiscordError, missing_access, missing_permissions, unknown
from sandbox.events import Event, Listener
from sandbox.intents import MESSAGE_CONTENT
from sandbox.records import Attachment, BotAccount, Channel, Guild, Member, Message, Role, User, Webhook

DISCORD_EPOCH_MS = 1_420_070_400_000
MAX_MESSAGES_KEPT = 5_000
"""Messages kept in each channel; older ones are dropped, so that memory stays bounded."""


MAX_REACTION_KINDS = 20
MAX_PINS = 250
"""Of a channel: discord/discord-api-docs#8426."""
MAX_UPLOADS_KEPT = 50
"""Files given to commands: Discord drops them too, after a day."""


class World:
    """The state of the sandbox, and the operations on it.

    Parameters
    ----------
    clock
        Returns Unix time in seconds.
    seed
        Makes ids and tokens the same in each run.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, seed: int = 1) -> None:
        self.clock = clock
        self.listeners: list[Listener] = []
        self.users: dict[int, User] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.webhooks: dict[int, Webhook] = {}
        self.audit = AuditLog(lambda: self.clock(), self.new_id, self.emit)
        self.attachments_base = ""
        self.uploads: dict[int, Attachment] = {}
        """Files that people gave to commands, by their ids."""
        self._tokens: dict[str, BotAccount] = {}
        self._direct: dict[tuple[int, int], int] = {}
        self._random = random.Random(seed)  # noqa: S311 - made-up tokens of a local stand-in
        self._increment = 0

    # Ids, time, tokens

    def new_id(self) -> int:
        """Make a snowflake: https://discord.com/developers/docs/reference#snowflakes."""
        self._increment += 1
        elapsed_ms = int(self.clock() * 1000) - DISCORD_EPOCH_MS
        return elapsed_ms << 22 | (self._increment >> 12 & 0x3FF) << 12 | self._increment & 0xFFF

    def now(self) -> str:
        """Return the current time in Discord's format."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="milliseconds")

    def now_exactly(self) -> str:
        """Return the current time with microseconds, by which pins are in order."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="microseconds")

    def new_token(self, user_id: int) -> str:
        """Make a token in the format of a real one."""
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        head = base64.urlsafe_b64encode(str(user_id).encode()).decode().rstrip("=")
        middle, tail = ("".join(self._random.choices(letters, k=length)) for length in (6, 38))
        return f"{head}.{middle}.{tail}"

    def emit(self, event: Event) -> None:
        """Send an event to every listener."""
        for listener in self.listeners:
            listener(event)

    # Users

    def create_user(self, username: str) -> User:
        """Add a person."""
        user = User(self.new_id(), username)
        self.users[user.id] = user
        return user

    def create_bot(self, username: str, *, privileged_intents: int, owner_id: int) -> BotAccount:
        """Add a bot with its application."""
        account = BotAccount(
            self.new_id(), username, is_bot=True, privileged_intents=privileged_intents, owner_id=owner_id
        )
        self.users[account.id] = account
        self.set_token(account)
        return account

    def set_token(self, account: BotAccount, token: str = "") -> None:
        """Replace a bot's token, by a new one or by this one of another server's shape; the old one becomes invalid."""
        self._tokens.pop(account.token, None)
        account.token = token or self.new_token(account.id)
        self._tokens[account.token] = account

    def account_by_token(self, token: str) -> BotAccount | None:
        """Return the bot that a token belongs to."""
        return self._tokens.get(token)

    def bots(self) -> Iterable[BotAccount]:
        """Return all bots."""
        return (user for user in self.users.values() if isinstance(user, BotAccount))

    # Looking up

    def guild(self, guild_id: int | None) -> Guild:
        """Return a guild.

        Raises
        ------
        DiscordError
            10004.
        """
        guild = self.guilds.get(guild_id or 0)
        if guild is None:
            raise unknown("guild")
        return guild

    def guild_for(self, account: User, guild_id: int) -> Guild:
        """Return a guild that ``account`` is in; any other is unknown or forbidden, as on Discord."""
        guild = self.guilds.get(guild_id)
        if guild is None:
            raise unknown("guild")
        if account.id not in guild.members:
            raise missing_access()
        return guild

    def channel_for(self, account: User, channel_id: int, needed: int = 0) -> Channel:
        """Return a channel that ``account`` may see and has the permissions ``needed`` in.

        Raises
        ------
        DiscordError
            10003, 50001 or 50013.
        """
        channel = self.channels.get(channel_id)
        if channel is None:
            raise unknown("channel")
        have = self.permissions_in(account, channel)
        if not have & permissions.VIEW_CHANNEL:
            raise missing_access()
        if have & needed != needed:
            raise missing_permissions()
        return channel

    def permissions_in(self, account: User, channel: Channel) -> int:
        """Compute what ``account`` may do in a channel."""
        if channel.guild_id is None:
            return permissions.ALL if account in channel.recipients else 0
        return permissions.in_channel(self.guilds[channel.guild_id], channel, account.id)

    def message_in(self, channel: Channel, message_id: int) -> Message:
        """Return a message that can be fetched: ephemeral ones cannot.

        Raises
        ------
        DiscordError
            10008.
        """
        message = channel.messages.get(message_id)
        if message is None or message.ephemeral_for is not None:
            raise unknown("message")
        return message

    def can_see(self, account: BotAccount, channel_id: int) -> bool:
        """Tell whether a bot may see a channel."""
        channel = self.channels.get(channel_id)
        return channel is not None and bool(self.permissions_in(account, channel) & permissions.VIEW_CHANNEL)

    def guilds_of(self, user_id: int) -> list[Guild]:
        """Return the guilds that a user is in."""
        return [guild for guild in self.guilds.values() if user_id in guild.members]

    # Guilds, roles, members

    def create_guild(self, name: str, owner: User) -> Guild:
        """Add a guild with its @everyone role."""
        guild = Guild(self.new_id(), name, owner.id)
        guild.roles[guild.id] = Role(guild.id, "@everyone", permissions.EVERYONE_DEFAULT, 0)
        self.guilds[guild.id] = guild
        self.add_member(guild, owner)
        return guild

    def create_role(
        self,
        guild: Guild,
        name: str,
        bits: int,
        *,
        managed_by: int | None = None,
        prepare: Callable[[Role], None] = lambda _role: None,
        act: Act | None = None,
    ) -> Role:
        """Add a role: of a bot or in a set-up above all others, of a person or a bot's call below, as on Discord."""
        role = Role(self.new_id(), name, bits, len(guild.roles), managed_by)
        prepare(role)
        guild.roles[role.id] = role
        data = {"guild_id": str(guild.id), "role": payloads.role(role)}
        self.emit(Event("GUILD_ROLE_CREATE", data, guild.id))
        if act is not None:
            self.move_role(guild, role, 1)
        self.audit.role_created(guild, role, act)
        return role

    def edit_role(self, guild: Guild, role: Role, change: Callable[[Role], None], act: Act | None = None) -> None:
        """Change a role."""
        before = role_facts(role)
        change(role)
        self.emit(Event("GUILD_ROLE_UPDATE", {"guild_id": str(guild.id), "role": payloads.role(role)}, guild.id))
        self.audit.role_edited(guild, role, before, act)

    def delete_role(self, guild: Guild, role: Role, act: Act | None = None) -> None:
        """Remove a role from the guild, its members and its channels; as on Discord, of these no events are sent."""
        del guild.roles[role.id]
        for member in guild.members.values():
            member.role_ids = [role_id for role_id in member.role_ids if role_id != role.id]
        for channel in guild.channels.values():
            channel.overwrites.pop(role.id, None)
        self.emit(Event("GUILD_ROLE_DELETE", {"guild_id": str(guild.id), "role_id": str(role.id)}, guild.id))
        self.audit.role_deleted(guild, role, act)

    def move_role(self, guild: Guild, role: Role, position: int) -> None:
        """Move a role to a position above @everyone's 0; the others make room."""
        others = sorted((one for one in guild.roles.values() if one is not role), key=lambda one: one.position)
        others.insert(position, role)
        for number, one in enumerate(others):
            if one.position != number:
                one.position = number
                self.emit(Event("GUILD_ROLE_UPDATE", {"guild_id": str(guild.id), "role": payloads.role(one)}, guild.id))

    def add_member(self, guild: Guild, user: User, role_ids: Iterable[int] = ()) -> Member:
        """Add a user to a guild; a bot gets the whole guild."""
        member = Member(user, self.now(), list(role_ids))
        guild.members[user.id] = member
        data = {**payloads.member(member), "guild_id": str(guild.id)}
        self.emit(Event("GUILD_MEMBER_ADD", data, guild.id))
        if isinstance(user, BotAccount):
            joined = self.guild_for_gateway(guild, user)
            # Said of a guild that comes or comes back with a session; its absence tells clients that this one is new.
            del joined["unavailable"]
            self.emit(Event("GUILD_CREATE", joined, guild.id, only_for=user.id))
        return member

    def remove_member(self, guild: Guild, user: User) -> None:
        """Remove a user from a guild."""
        del guild.members[user.id]
        if isinstance(user, BotAccount):
            self.emit(Event("GUILD_DELETE", {"id": str(guild.id)}, guild.id, only_for=user.id))
        data = {"guild_id": str(guild.id), "user": payloads.user(user)}
        self.emit(Event("GUILD_MEMBER_REMOVE", data, guild.id))

    def set_member_roles(self, guild: Guild, member: Member, role_ids: list[int], act: Act | None = None) -> None:
        """Set a member's roles."""
        before, member.role_ids = member.role_ids, role_ids
        data = {**payloads.member(member), "guild_id": str(guild.id)}
        self.emit(Event("GUILD_MEMBER_UPDATE", data, guild.id))
        self.audit.roles_given(guild, member.user, before, role_ids, act)

    # Channels

    def create_channel(
        self,
        guild: Guild,
        name: str,
        *,
        kind: int = 0,
        topic: str | None = None,
        parent_id: int | None = None,
        prepare: Callable[[Channel], None] = lambda _channel: None,
        act: Act | None = None,
    ) -> Channel:
        """Add a channel to a guild; ``prepare`` fills it before anybody is told of it."""
        channel = Channel(self.new_id(), kind, name, guild.id, len(guild.channels), topic=topic, parent_id=parent_id)
        prepare(channel)
        guild.channels[channel.id] = channel
        self.channels[channel.id] = channel
        self.emit(Event("CHANNEL_CREATE", payloads.channel(channel), guild.id, channel.id))
        self.audit.channel_created(channel, act)
        return channel

    def edit_channel(self, channel: Channel, change: Callable[[Channel], object], act: Act | None = None) -> None:
        """Change a channel or its overwrites."""
        before, overwrites = channel_facts(channel), dict(channel.overwrites)
        change(channel)
        self.update_channel(channel)
        if channel.guild_id is not None:
            self.audit.channel_edited(self.guilds[channel.guild_id], channel, before, overwrites, act)

    def update_channel(self, channel: Channel) -> None:
        """Send the event of a changed channel."""
        name = "THREAD_UPDATE" if channel.is_thread else "CHANNEL_UPDATE"
        self.emit(Event(name, payloads.channel(channel), channel.guild_id, channel.id))

    def delete_channel(self, channel: Channel, act: Act | None = None) -> None:
        """Remove a channel, its threads, its webhooks and its messages."""
        for thread in [c for c in self.channels.values() if c.is_thread and c.parent_id == channel.id]:
            self.delete_channel(thread)
        name = "THREAD_DELETE" if channel.is_thread else "CHANNEL_DELETE"
        # Sent before the removal, while its viewers can still be computed.
        self.emit(Event(name, payloads.channel(channel), channel.guild_id, channel.id))
        for child in [c for c in self.channels.values() if channel.type == 4 and c.parent_id == channel.id]:
            child.parent_id = None
            self.update_channel(child)
        for webhook in [one for one in self.webhooks.values() if one.channel_id == channel.id]:
            del self.webhooks[webhook.id]
        del self.channels[channel.id]
        if channel.guild_id is not None:
            self.guilds[channel.guild_id].channels.pop(channel.id, None)
        self.audit.channel_deleted(channel, act)

    def guild_for_gateway(self, guild: Guild, viewer: BotAccount) -> dict[str, Any]:
        """Return a guild as in GUILD_CREATE, with the active threads that the bot may see."""
        threads = [payloads.channel(thread) for thread in self.active_threads(guild, viewer)]
        return {**payloads.gateway_guild(guild, viewer), "threads": threads}

    def active_threads(self, guild: Guild, viewer: BotAccount) -> list[Channel]:
        """Return the threads of a guild that are not archived, and that a bot may see."""
        return [
            channel
            for channel in self.channels.values()
            if channel.is_thread and not channel.archived and channel.guild_id == guild.id
            if self.can_see(viewer, channel.id)
        ]

    def set_thread_member(self, thread: Channel, user: User, *, member: bool) -> None:
        """Add somebody to a thread, or remove them; a bot that is added gets the thread."""
        if member is (user.id in thread.thread_members):
            return
        if member:
            thread.thread_members.add(user.id)
        data: dict[str, Any] = {
            "id": str(thread.id),
            "guild_id": str(thread.guild_id),
            "member_count": len(thread.thread_members) - (not member),
        }
        if member:
            data["added_members"] = [payloads.thread_member(thread, user.id, self.now())]
        else:
            data["removed_member_ids"] = [str(user.id)]
        if member and isinstance(user, BotAccount):
            self.emit(Event("THREAD_CREATE", payloads.channel(thread), thread.guild_id, only_for=user.id))
        self.emit(Event("THREAD_MEMBERS_UPDATE", data, thread.guild_id, thread.id))
        if not member:
            # Told while whoever leaves may still see it.
            thread.thread_members.discard(user.id)

    def direct_channel(self, bot: User, other: User) -> Channel:
        """Return the direct message channel of two users; created on first use."""
        key = (min(bot.id, other.id), max(bot.id, other.id))
        if key not in self._direct:
            channel = Channel(self.new_id(), 1, "", recipients=[bot, other])
            self.channels[channel.id] = channel
            self._direct[key] = channel.id
        return self.channels[self._direct[key]]

    def create_thread(
        self,
        parent: Channel,
        owner: User,
        name: str,
        *,
        kind: int,
        minutes: int,
        thread_id: int | None = None,
        prepare: Callable[[Channel], None] = lambda _thread: None,
        act: Act | None = None,
    ) -> Channel:
        """Add a thread to a channel; ``prepare`` fills it before anybody is told of it."""
        thread = Channel(
            thread_id or self.new_id(),
            kind,
            name,
            parent.guild_id,
            parent_id=parent.id,
            owner_id=owner.id,
            auto_archive_minutes=minutes,
            created_at=self.now(),
            thread_members={owner.id},
            slowmode_s=parent.default_thread_slowmode_s,
        )
        prepare(thread)
        self.channels[thread.id] = thread
        self.emit(
            Event("THREAD_CREATE", {**payloads.channel(thread), "newly_created": True}, thread.guild_id, thread.id)
        )
        self.audit.channel_created(thread, act)
        return thread

    # Messages

    def post(self, message: Message) -> Message:
        """Add a message to its channel, and send its event."""
        channel = self.channels[message.channel_id]
        if channel.archived and message.ephemeral_for is None:
            channel.archived, channel.archived_at = False, self.now()
            self.update_channel(channel)
        channel.messages[message.id] = message
        if len(channel.messages) > MAX_MESSAGES_KEPT:
            del channel.messages[next(iter(channel.messages))]
        if message.ephemeral_for is None:
            self._emit_message("MESSAGE_CREATE", channel, message)
        return message

    def changed(self, message: Message) -> None:
        """Send the event of an edited message."""
        channel = self.channels[message.channel_id]
        if message.on_change is not None:
            message.on_change()
        if message.ephemeral_for is None:
            self._emit_message("MESSAGE_UPDATE", channel, message)

    def _emit_message(self, name: str, channel: Channel, message: Message) -> None:
        data = self.render(message)
        if channel.guild_id is not None:
            data["guild_id"] = str(channel.guild_id)
            member = self.guilds[channel.guild_id].members.get(message.author.id)
            if member is not None:
                data["member"] = payloads.partial_member(member)
        self.emit(Event(name, data, channel.guild_id, channel.id))

    def render(self, message: Message, viewer: BotAccount | None = None) -> dict[str, Any]:
        """Return a message's payload, as ``viewer`` gets it over REST."""
        channel = self.channels.get(message.channel_id)
        referenced = channel.messages.get(message.reference_id or 0) if channel else None
        data = payloads.message(
            message, self.attachments_base, referenced=referenced, guild_id=channel.guild_id if channel else None
        )
        if message.thread_id is not None and message.thread_id in self.channels:
            data["thread"] = payloads.channel(self.channels[message.thread_id])
        if viewer is not None and channel is not None and not sees_content(viewer, channel, message):
            payloads.strip_content(data)
        if viewer is not None:
            for reaction in data.get("reactions", ()):
                users = message.reactions[payloads.emoji_key(reaction["emoji"])]
                reaction["me"] = viewer.id in users
        return data

    def delete_message(self, channel: Channel, message: Message, act: Act | None = None) -> None:
        """Remove a message."""
        del channel.messages[message.id]
        if message.ephemeral_for is None:
            data = {"id": str(message.id), "channel_id": str(channel.id)}
            if channel.guild_id is not None:
                data["guild_id"] = str(channel.guild_id)
            self.emit(Event("MESSAGE_DELETE", data, channel.guild_id, channel.id))
            self.audit.message_deleted(channel, message, act)

    def pin(self, channel: Channel, message: Message, by: Act, *, pinned: bool) -> None:
        """Pin a message, which the channel says with a message of its own, or pin it no more.

        Raises
        ------
        DiscordError
            30003 for one too many.
        """
        if pinned is message.pinned:
            return
        if pinned and sum(one.pinned for one in channel.messages.values()) >= MAX_PINS:
            raise DiscordError(400, 30003, f"Maximum number of pins reached ({MAX_PINS})")
        message.pinned_at = self.now_exactly() if pinned else None
        if pinned:
            channel.last_pin_at = message.pinned_at
        self.changed(message)
        data = {"channel_id": str(channel.id), "last_pin_timestamp": channel.last_pin_at}
        if channel.guild_id is not None:
            data["guild_id"] = str(channel.guild_id)
        self.emit(Event("CHANNEL_PINS_UPDATE", data, channel.guild_id, channel.id))
        self.audit.pinned(channel, message, by)
        if pinned:
            note = Message(self.new_id(), channel.id, by.user, "", self.now(), type=payloads.PINNED_NOTE)
            note.reference_id = message.id
            self.post(note)

    def check_reaction(self, channel: Channel, message: Message, user: User, emoji: str) -> None:
        """Check that ``user`` may add a reaction.

        Raises
        ------
        DiscordError
            50013 without ADD_REACTIONS for an emoji that nobody has reacted with, 30010 for the 21st of a message.
        """
        if emoji in message.reactions:
            return
        if not self.permissions_in(user, channel) & permissions.ADD_REACTIONS:
            raise missing_permissions()
        if len(message.reactions) >= MAX_REACTION_KINDS:
            raise DiscordError(400, 30010, f"Maximum number of reactions reached ({MAX_REACTION_KINDS})")

    def keep_upload(self, upload: Attachment) -> None:
        """Keep a file that a person gives to a command, so that the bot can download it."""
        self.uploads[upload.id] = upload
        if len(self.uploads) > MAX_UPLOADS_KEPT:
            del self.uploads[next(iter(self.uploads))]

    def react(self, channel: Channel, message: Message, user: User, emoji: str, *, add: bool) -> None:
        """Add or remove a reaction; ``emoji`` is unicode, or ``name:id``."""
        users = message.reactions.get(emoji, [])
        if add == (user.id in users):
            return
        left = [*users, user.id] if add else [one for one in users if one != user.id]
        if left:
            message.reactions[emoji] = left
        else:
            del message.reactions[emoji]
        data: dict[str, Any] = {
            "user_id": str(user.id),
            "channel_id": str(channel.id),
            "message_id": str(message.id),
            "emoji": payloads.emoji(emoji),
            "burst": False,
            "type": 0,
        }
        if add:
            data["message_author_id"] = str(message.author.id)
        if channel.guild_id is not None:
            data["guild_id"] = str(channel.guild_id)
            member = self.guilds[channel.guild_id].members.get(user.id)
            if add and member is not None:
                data["member"] = payloads.member(member)
        name = "MESSAGE_REACTION_ADD" if add else "MESSAGE_REACTION_REMOVE"
        self.emit(Event(name, data, channel.guild_id, channel.id))


def sees_content(viewer: BotAccount, channel: Channel, message: Message) -> bool:
    """Tell whether a bot may see a message's content: without the privileged intent, or because it has it."""
    return (
        bool(viewer.privileged_intents & MESSAGE_CONTENT)
        or channel.guild_id is None
        or message.author.id == viewer.id
        or message.mentions_user(viewer.id)
        or message.application_id == viewer.id
    )
