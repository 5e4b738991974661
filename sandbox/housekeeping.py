"""What people do to a server itself: channels, overwrites, pins, roles, webhooks. All of it stands in the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sandbox import permissions, shaping, webhooks
from sandbox.audit import Act
from sandbox.bodies import ChannelBody, OverwriteBody, convert
from sandbox.errors import DiscordError, SandboxError, invalid_form
from sandbox.records import Channel, Guild, Member, Message, Role, User, Webhook
from sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.people import BotHandle, ChannelHandle, GuildHandle, Person


class Housekeeping:
    """A person's doings in a server; each needs its permission.

    Every method raises a ``SandboxError`` for what the person may not do, and for what Discord refuses.
    """

    user: User
    _world: World

    @property
    def _act(self) -> Act:
        return Act(self.user)

    @contextmanager
    def _refused(self, what: str) -> Iterator[None]:
        try:
            yield
        except DiscordError as error:
            raise SandboxError(f"{self.user.username} cannot {what}: {error}") from error

    def _require(self, channel: Channel, bits: int, what: str) -> None:
        have = self._world.permissions_in(self.user, channel)
        if have & bits != bits:
            raise SandboxError(f"{self.user.username} may not {what} in #{channel.name}")

    def _require_in_guild(self, guild: Guild, bits: int, what: str) -> int:
        have = permissions.in_guild(guild, self.user.id)
        if have & bits != bits:
            raise SandboxError(f"{self.user.username} may not {what} in {guild.name}")
        return have

    # Channels

    async def creates_channel(
        self,
        guild: GuildHandle,
        name: str,
        *,
        kind: int = shaping.TEXT,
        inside: ChannelHandle | None = None,
        **fields: Any,
    ) -> ChannelHandle:
        """Create a channel (0), a category (4) or a forum (15); ``fields`` are those of Discord's request."""
        have = self._require_in_guild(guild.guild, permissions.MANAGE_CHANNELS, "create channels")
        raw = {"name": name, "type": kind, **({"parent_id": str(inside.id)} if inside is not None else {}), **fields}
        with self._refused("create the channel"):
            body = convert(raw, ChannelBody)
            shaping.check_body(guild.guild, body, have)
            shaping.check_room(guild.guild)
        channel = self._world.create_channel(
            guild.guild, name, kind=kind, prepare=lambda made: shaping.fill(self._world, made, body), act=self._act
        )
        return guild.channel(channel.id)

    async def edits_channel(self, channel: ChannelHandle, **fields: Any) -> None:
        """Edit a channel; ``fields`` are those of Discord's request, such as ``topic`` and ``position``."""
        what = channel.channel
        self._require(what, permissions.MANAGE_CHANNELS, "edit the channel")
        with self._refused("edit the channel"):
            body = convert(fields, ChannelBody)
            if what.guild_id is None:
                raise invalid_form("type", "CHANNEL_TYPE_INVALID", "It is no channel of a server")
            shaping.check_body(
                self._world.guilds[what.guild_id], body, self._world.permissions_in(self.user, what), own=what
            )
        self._world.edit_channel(what, lambda one: shaping.fill(self._world, one, body), self._act)

    async def renames_channel(self, channel: ChannelHandle, name: str) -> None:
        """Rename a channel."""
        await self.edits_channel(channel, name=name)

    async def moves_channel(self, channel: ChannelHandle, *, position: int | None = None, inside: Any = ...) -> None:
        """Move a channel: to a position, into a category, or with None out of all. The audit log says nothing of it."""
        fields: dict[str, Any] = {} if position is None else {"position": position}
        if inside is not ...:
            fields["parent_id"] = None if inside is None else str(inside.id)
        await self.edits_channel(channel, **fields)

    async def deletes_channel(self, channel: ChannelHandle) -> None:
        """Delete a channel."""
        self._require(channel.channel, permissions.MANAGE_CHANNELS, "delete the channel")
        self._world.delete_channel(channel.channel, self._act)

    async def sets_overwrite(
        self, channel: ChannelHandle, target: Role | Person | BotHandle, *, allow: int = 0, deny: int = 0
    ) -> None:
        """Set what a role or a member may and may not do in a channel."""
        self._require(channel.channel, permissions.MANAGE_ROLES, "change permissions")
        what = channel.channel
        body = OverwriteBody(type=0 if isinstance(target, Role) else 1, id=target.id, allow=allow, deny=deny)
        with self._refused("change permissions"):
            guild = self._world.guild(what.guild_id)
            shaping.check_overwrite(guild, target.id, body, self._world.permissions_in(self.user, what))
        self._world.edit_channel(what, lambda one: shaping.put_overwrite(one, target.id, body), self._act)

    async def removes_overwrite(self, channel: ChannelHandle, target: Role | Person | BotHandle) -> None:
        """Remove the overwrite of a role or a member."""
        self._require(channel.channel, permissions.MANAGE_ROLES, "change permissions")
        if target.id not in channel.channel.overwrites:
            raise SandboxError(f"#{channel.channel.name} has no such overwrite")
        self._world.edit_channel(channel.channel, lambda one: one.overwrites.pop(target.id), self._act)

    # Messages

    async def pins(self, message: Message) -> None:
        """Pin a message."""
        self._pin(message, pinned=True)

    async def unpins(self, message: Message) -> None:
        """Pin a message no more."""
        self._pin(message, pinned=False)

    def _pin(self, message: Message, *, pinned: bool) -> None:
        channel = self._world.channels[message.channel_id]
        self._require(channel, permissions.PIN_MESSAGES, "pin messages")
        with self._refused("pin the message"):
            self._world.pin(channel, message, self._act, pinned=pinned)

    # Roles

    async def creates_role(self, guild: GuildHandle, name: str, bits: int = 0) -> Role:
        """Create a role, at the bottom."""
        self._require_in_guild(guild.guild, permissions.MANAGE_ROLES | bits, "create roles")
        return self._world.create_role(guild.guild, name, bits, act=self._act)

    async def edits_role(
        self, guild: GuildHandle, role: Role, *, name: str | None = None, bits: int | None = None
    ) -> None:
        """Rename a role, or set its permissions."""
        self._require_above(guild.guild, role)

        def change(one: Role) -> None:
            one.name = name if name is not None else one.name
            one.permissions = bits if bits is not None else one.permissions

        self._world.edit_role(guild.guild, role, change, self._act)

    async def deletes_role(self, guild: GuildHandle, role: Role) -> None:
        """Delete a role."""
        self._require_above(guild.guild, role)
        self._world.delete_role(guild.guild, role, self._act)

    async def gives_role(self, guild: GuildHandle, to: Person | BotHandle, role: Role) -> None:
        """Give a member a role."""
        self._require_above(guild.guild, role)
        member = self._member(guild, to)
        self._set_roles(guild, member, [*member.role_ids, role.id])

    async def takes_role(self, guild: GuildHandle, of: Person | BotHandle, role: Role) -> None:
        """Take a role from a member."""
        self._require_above(guild.guild, role)
        member = self._member(guild, of)
        self._set_roles(guild, member, [role_id for role_id in member.role_ids if role_id != role.id])

    def _member(self, guild: GuildHandle, who: Person | BotHandle) -> Member:
        member = guild.guild.members.get(who.id)
        if member is None:
            raise SandboxError(f"{who.name} is no member of {guild.guild.name}")
        return member

    def _set_roles(self, guild: GuildHandle, member: Member, role_ids: Sequence[int]) -> None:
        self._world.set_member_roles(guild.guild, member, list(dict.fromkeys(role_ids)), self._act)

    def _require_above(self, guild: Guild, role: Role) -> None:
        self._require_in_guild(guild, permissions.MANAGE_ROLES, "manage roles")
        if role.position >= permissions.highest_role(guild, self.user.id):
            raise SandboxError(f"the role {role.name} is above {self.user.username}")

    # Webhooks

    async def creates_webhook(self, channel: ChannelHandle, name: str) -> Webhook:
        """Create a webhook; its token is what one pastes elsewhere."""
        self._require(channel.channel, permissions.MANAGE_WEBHOOKS, "manage webhooks")
        with self._refused("create the webhook"):
            return webhooks.create(self._world, channel.channel, name, self._act)

    async def deletes_webhook(self, webhook: Webhook) -> None:
        """Delete a webhook."""
        self._require(self._world.channels[webhook.channel_id], permissions.MANAGE_WEBHOOKS, "manage webhooks")
        webhooks.delete(self._world, webhook, self._act)
