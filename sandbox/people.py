"""Human users of the sandbox: tests and the demo act through them as a person would."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sandbox import composing, payloads, permissions
from sandbox.audit import Act, Entry
from sandbox.bodies import Upload
from sandbox.command_store import CommandStore
from sandbox.errors import DiscordError, SandboxError
from sandbox.events import Event
from sandbox.housekeeping import Housekeeping
from sandbox.interactions import (
    AUTOCOMPLETE,
    COMMAND,
    COMPONENT,
    FIRST_ANSWER_S,
    MODAL_SUBMIT,
    Interaction,
    Interactions,
)
from sandbox.records import Attachment, BotAccount, Channel, ForumTag, Guild, Message, Role, User
from sandbox.shaping import FORUM
from sandbox.world import World

_STRING, _INTEGER, _BOOLEAN, _USER, _CHANNEL, _ROLE, _NUMBER, _ATTACHMENT = 3, 4, 5, 6, 7, 8, 10, 11
_ROLE_SELECT = 6
"""The type of a menu of roles."""
_BOT_DM = 1
"""The context of a direct message with the bot."""
_NOT_IN_FILENAMES = re.compile(r"[^\w.-]")
"""Characters that Discord replaces in the name of an uploaded file."""
MAX_VALUE_CHARACTERS = 6_000
"""Of a text that a person types into an option."""
_PYTHON_TYPES: dict[int, tuple[type, ...]] = {
    _STRING: (str,),
    _INTEGER: (int,),
    _BOOLEAN: (bool,),
    _NUMBER: (int, float),
}


class ApplicationDidNotRespond(SandboxError):
    """The bot did not respond within three seconds; Discord shows people this message."""


class CommandNotVisible(SandboxError):
    """The command exists, but this person's client does not list it."""


class BotHandle:
    """A bot as its owner sees it in the developer portal."""

    def __init__(self, account: BotAccount) -> None:
        self.account = account

    @property
    def id(self) -> int:
        """The bot's user id, which is also its application's id."""
        return self.account.id

    @property
    def name(self) -> str:
        """The bot's name."""
        return self.account.username

    @property
    def token(self) -> str:
        """The bot's token."""
        return self.account.token


class ChannelHandle:
    """A channel, as a person with access to it sees it."""

    def __init__(self, people: People, channel: Channel) -> None:
        self._people = people
        self.channel = channel

    @property
    def id(self) -> int:
        """The channel's id."""
        return self.channel.id

    @property
    def messages(self) -> list[Message]:
        """The messages that are not ephemeral, oldest first."""
        return [m for m in self.channel.messages.values() if m.ephemeral_for is None]

    async def wait_for_message(
        self, fits: Callable[[Message], bool], *, timeout_s: float = 10.0, include_past: bool = True
    ) -> Message:
        """Wait for a new or edited message for which ``fits`` returns true.

        Raises
        ------
        TimeoutError
        """
        past = set() if include_past else {m.id for m in self.messages}

        def find() -> Message | None:
            return next((m for m in reversed(self.messages) if m.id not in past and fits(m)), None)

        found = await self._people.wait_for(find, timeout_s)
        if found is None:
            raise SandboxError("no message was found")
        return found


class GuildHandle:
    """A guild as its owner sees it."""

    def __init__(self, people: People, guild: Guild) -> None:
        self._people = people
        self._world = people.world
        self.guild = guild

    @property
    def id(self) -> int:
        """The guild's id."""
        return self.guild.id

    def create_role(self, name: str, bits: int = 0) -> Role:
        """Add a role."""
        return self._world.create_role(self.guild, name, bits)

    def create_channel(self, name: str, *, inside: ChannelHandle | None = None) -> ChannelHandle:
        """Add a text channel, inside a category or not."""
        parent_id = inside.id if inside is not None else None
        return ChannelHandle(self._people, self._world.create_channel(self.guild, name, parent_id=parent_id))

    def role_of(self, bot: BotHandle) -> Role:
        """Return the role that a bot got at its invitation."""
        return next(role for role in self.guild.roles.values() if role.managed_by == bot.id)

    def move_role(self, role: Role, position: int) -> None:
        """Move a role; a newly invited bot's is at 1 on Discord, below all roles that there are."""
        self._world.move_role(self.guild, role, position)

    def create_category(self, name: str) -> ChannelHandle:
        """Add a category."""
        return ChannelHandle(self._people, self._world.create_channel(self.guild, name, kind=4))

    def create_forum(self, name: str, tags: Sequence[str] = ()) -> ChannelHandle:
        """Add a forum with tags."""

        def prepare(channel: Channel) -> None:
            channel.tags = [ForumTag(self._world.new_id(), tag) for tag in tags]

        forum = self._world.create_channel(self.guild, name, kind=FORUM, prepare=prepare)
        return ChannelHandle(self._people, forum)

    @property
    def audit_log(self) -> Sequence[Entry]:
        """The entries of the audit log, oldest first."""
        return self._world.audit.of(self.guild.id)

    def channel(self, channel_id: int) -> ChannelHandle:
        """Return a channel, or a thread, by its id; one that is gone is a KeyError."""
        return ChannelHandle(self._people, self._world.channels[channel_id])

    def add_bot(self, bot: BotHandle, *, bits: int = permissions.EVERYONE_DEFAULT) -> None:
        """Invite a bot; it gets a role of its own with these permissions."""
        role = self._world.create_role(self.guild, bot.name, bits, managed_by=bot.id)
        self._world.add_member(self.guild, bot.account, [role.id])

    def add_member(self, person: Person, roles: Iterable[Role] = ()) -> None:
        """Add a person to the guild."""
        self._world.add_member(self.guild, person.user, [role.id for role in roles])


class Person(Housekeeping):
    """One person with a Discord client."""

    def __init__(self, people: People, user: User) -> None:
        self._people = people
        self._world = people.world
        self.user = user

    @property
    def id(self) -> int:
        """The user's id."""
        return self.user.id

    @property
    def name(self) -> str:
        """The user's name."""
        return self.user.username

    def closes_direct_messages(self, *, closed: bool = True) -> None:
        """Take no direct messages of members of shared servers any more, or take them again."""
        self.user.takes_direct_messages = not closed

    async def sends(
        self,
        channel: ChannelHandle,
        content: str = "",
        *,
        attachments: Sequence[tuple[str, bytes]] = (),
        reply_to: Message | None = None,
    ) -> Message:
        """Send a message."""
        self._require(channel.channel, permissions.VIEW_CHANNEL | permissions.SEND_MESSAGES, "write")
        try:
            composing.check_takes_messages(self._world, channel.channel, self.user)
        except DiscordError as error:
            raise SandboxError(f"{self.name} cannot write: {error}") from error
        uploads = [
            Upload(index, name, data, "application/octet-stream") for index, (name, data) in enumerate(attachments)
        ]
        raw: dict[str, Any] = {"content": content}
        if reply_to is not None:
            raw["message_reference"] = {"message_id": str(reply_to.id)}
        have = self._world.permissions_in(self.user, channel.channel)
        return self._world.post(composing.compose(self._world, channel.channel, self.user, raw, uploads, have=have))

    async def sends_direct(self, bot: BotHandle, content: str) -> ChannelHandle:
        """Send a direct message to a bot; returns the channel."""
        handle = ChannelHandle(self._people, self._world.direct_channel(bot.account, self.user))
        await self.sends(handle, content)
        return handle

    async def edits(self, message: Message, content: str) -> None:
        """Edit one's own message."""
        if message.author is not self.user:
            raise SandboxError("people can edit only their own messages")
        composing.edit(self._world, message, {"content": content}, [])

    async def deletes(self, message: Message) -> None:
        """Delete one's own message; another's with the permission for it."""
        channel = self._world.channels[message.channel_id]
        if message.author is not self.user:
            self._require(channel, permissions.MANAGE_MESSAGES, "delete messages of others")
        self._world.delete_message(channel, message, Act(self.user))

    async def reacts(self, message: Message, emoji: str) -> None:
        """Add a reaction.

        Raises
        ------
        SandboxError
            The person may not, the message is gone, or has reactions of twenty kinds.
        """
        channel = self._world.channels[message.channel_id]
        self._require(channel, permissions.VIEW_CHANNEL | permissions.READ_MESSAGE_HISTORY, "read")
        try:
            self._world.message_in(channel, message.id)
            self._world.check_reaction(channel, message, self.user, emoji)
        except DiscordError as error:
            raise SandboxError(f"{self.name} cannot react: {error}") from error
        self._world.react(channel, message, self.user, emoji, add=True)

    async def unreacts(self, message: Message, emoji: str) -> None:
        """Remove one's own reaction."""
        self._world.react(self._world.channels[message.channel_id], message, self.user, emoji, add=False)

    # Interactions

    async def runs_command(
        self,
        channel: ChannelHandle,
        bot: BotHandle,
        name: str,
        options: dict[str, Any] | None = None,
        *,
        timeout_s: float = FIRST_ANSWER_S + 2,
    ) -> Interaction:
        """Run a slash command, such as ``"fleet status"``, and wait for the initial response.

        A file is given as a pair of its name and its content.

        Raises
        ------
        SandboxError
            There is no such command, an option is wrong, or (``CommandNotVisible``) the person is not shown it.
        ApplicationDidNotRespond
        """
        data = self._command_data(channel.channel, bot, name, options or {})
        return await self._begin(COMMAND, bot.account, channel.channel, data, timeout_s=timeout_s)

    async def autocompletes(
        self, channel: ChannelHandle, bot: BotHandle, name: str, options: dict[str, Any], *, focused: str
    ) -> list[dict[str, Any]]:
        """Type into an option, and return its suggestions."""
        data = self._command_data(channel.channel, bot, name, options, focused=focused)
        interaction = await self._begin(AUTOCOMPLETE, bot.account, channel.channel, data)
        return interaction.choices

    async def submits_modal(self, interaction: Interaction, values: Mapping[str, str | Sequence[Role]]) -> Interaction:
        """Fill in a modal's fields by label or custom id, a menu of roles with the roles, and submit it.

        Raises
        ------
        SandboxError
            A field is unknown, missing, too long or too short.
        """
        if interaction.modal is None:
            raise SandboxError("there is no modal to fill")
        rows, unknown = [], dict(values)
        roles: dict[str, Any] = {}
        for row in interaction.modal["components"]:
            leaf = row.get("component") or row["components"][0]
            label = row.get("label") or leaf.get("label")
            key = next((k for k in (leaf["custom_id"], label) if k in unknown), None)
            given = unknown.pop(key) if key is not None else None
            filled = {"type": leaf["type"], "custom_id": leaf["custom_id"], "id": 2}
            if leaf["type"] == _ROLE_SELECT:
                filled["values"] = self._chosen_roles(leaf, given, interaction.channel, roles)
            else:
                filled["value"] = str(leaf.get("value") or "" if given is None else given)
                _check_input(leaf, label, filled["value"])
            if "component" in row:
                rows.append({"type": row["type"], "id": 1, "component": filled})
            else:
                rows.append({"type": 1, "id": 1, "components": [filled]})
        if unknown:
            raise SandboxError(f"the modal has no field {', '.join(unknown)}")
        data: dict[str, Any] = {"custom_id": interaction.modal["custom_id"], "components": rows}
        if roles:
            data["resolved"] = {"roles": roles}
        return await self._begin(MODAL_SUBMIT, interaction.bot, interaction.channel, data, source=interaction.source)

    def _chosen_roles(
        self, leaf: dict[str, Any], given: str | Sequence[Role] | None, where: Channel, resolved: dict[str, Any]
    ) -> list[str]:
        """Return the ids that a menu of roles has, and put the roles into ``resolved``."""
        if isinstance(given, str):
            raise SandboxError("a menu of roles is filled with roles")
        chosen = [one["id"] for one in leaf.get("default_values") or ()] if given is None else [one.id for one in given]
        ids = [str(role_id) for role_id in chosen]
        fewest, most = leaf.get("min_values", 1), leaf.get("max_values") or 1
        if not (fewest <= len(ids) <= most or (not ids and not leaf.get("required", True))):
            raise SandboxError(f"the menu takes {fewest} to {most} roles")
        known = self._world.guilds[where.guild_id].roles if where.guild_id else {}
        resolved.update({found: payloads.role(known[int(found)]) for found in ids})
        return ids

    async def presses(self, where: Interaction | Message, button: str) -> Interaction:
        """Press a button, by its label or custom id.

        Raises
        ------
        SandboxError
            It does not exist, is disabled, or is on another person's ephemeral message.
        """
        message = self._message_of(where)
        component = self._component(
            message, lambda c: c["type"] == 2 and button in (c.get("label"), c.get("custom_id"))
        )
        if component is None:
            raise SandboxError(f"there is no button {button!r}")
        data = {"custom_id": component["custom_id"], "component_type": 2, "id": component["id"]}
        return await self._use(message, component, data)

    async def selects(self, where: Interaction | Message, custom_id: str, values: Sequence[str]) -> Interaction:
        """Choose in a select menu, by labels or values.

        Raises
        ------
        SandboxError
            The menu does not exist, or has no such option.
        """
        message = self._message_of(where)
        component = self._component(message, lambda c: c["type"] == 3 and c.get("custom_id") == custom_id)
        if component is None:
            raise SandboxError(f"there is no select menu {custom_id!r}")
        by_label = {option["label"]: option["value"] for option in component["options"]}
        offered = {option["value"] for option in component["options"]}
        picked = [value if value in offered else by_label.get(value, value) for value in values]
        if not set(picked) <= offered:
            raise SandboxError(f"the menu offers {sorted(offered)}")
        if not (component.get("min_values", 1) or 0) <= len(picked) <= (component.get("max_values") or 1):
            raise SandboxError(f"the menu does not take {len(picked)} values")
        data = {"custom_id": custom_id, "component_type": 3, "values": picked, "id": component["id"]}
        return await self._use(message, component, data)

    def _message_of(self, where: Interaction | Message) -> Message:
        message = where.message if isinstance(where, Interaction) else where
        if message is None:
            raise SandboxError("there is no message")
        if message.ephemeral_for not in (None, self.id):
            raise SandboxError("the ephemeral message belongs to another person")
        return message

    def _component(self, message: Message, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        leaves = (leaf for row in message.components for leaf in row.get("components", ()))
        return next((leaf for leaf in leaves if fits(leaf)), None)

    async def _use(self, message: Message, component: dict[str, Any], data: dict[str, Any]) -> Interaction:
        if component.get("disabled"):
            raise SandboxError("it is disabled")
        bot = self._world.users[message.application_id or message.author.id]
        if not isinstance(bot, BotAccount):
            raise SandboxError("only bots have components")
        channel = self._world.channels.get(message.channel_id)
        if channel is None:
            raise SandboxError("the channel is gone")
        self._require(channel, permissions.VIEW_CHANNEL, "see anything")
        if channel.archived:
            raise SandboxError("an archived thread runs nothing")
        return await self._begin(COMPONENT, bot, channel, data, source=message)

    async def _begin(
        self,
        kind: int,
        bot: BotAccount,
        channel: Channel,
        data: dict[str, Any],
        *,
        source: Message | None = None,
        timeout_s: float = FIRST_ANSWER_S + 2,
    ) -> Interaction:
        interaction = self._people.interactions.begin(kind, bot, self.user, channel, data, source=source)
        try:
            return await interaction.wait_until(lambda i: i.kind != "pending", timeout_s=timeout_s)
        except TimeoutError:
            raise ApplicationDidNotRespond(f"{bot.username} did not respond") from None

    def _command_data(
        self, channel: Channel, bot: BotHandle, name: str, options: dict[str, Any], *, focused: str = ""
    ) -> dict[str, Any]:
        self._require(channel, permissions.VIEW_CHANNEL | permissions.USE_APPLICATION_COMMANDS, "use commands")
        if channel.archived:
            raise SandboxError("an archived thread runs no commands")
        root, *path = name.split()
        visible = self._people.commands.visible(bot.id, channel.guild_id)
        command = next((c for c in visible if c["name"] == root and c["type"] == 1), None)
        if command is None:
            raise SandboxError(f"{bot.name} has no command /{root}")
        if not self._sees_command(command, channel):
            raise CommandNotVisible(f"/{root} is not shown to {self.name}")
        offered, wrap = command.get("options", []), []
        for step in path:
            inner = next((o for o in offered if o["name"] == step and o["type"] in (1, 2)), None)
            if inner is None:
                raise SandboxError(f"/{root} has no subcommand {step}")
            wrap.append(inner)
            offered = inner.get("options", [])
        resolved: dict[str, Any] = {}
        filled = self._fill(offered, self._upload(bot, options, resolved), resolved, focused)
        self._resolve_members(channel, resolved)
        for inner in reversed(wrap):
            filled = [{"name": inner["name"], "type": inner["type"], "options": filled}]
        data: dict[str, Any] = {"id": command["id"], "name": root, "type": 1, "options": filled}
        if "guild_id" in command:
            data["guild_id"] = command["guild_id"]
        if resolved:
            data["resolved"] = resolved
        return data

    def _upload(self, bot: BotHandle, options: dict[str, Any], resolved: dict[str, Any]) -> dict[str, Any]:
        """Return options in which files, pairs of name and content, are uploaded: their values are ids."""
        given = dict(options)
        for name, value in options.items():
            if not isinstance(value, tuple):
                continue
            filename, content = value
            if len(content) > composing.MAX_FILE_BYTES:
                raise SandboxError(f"{filename} is too large to be uploaded")
            upload = Attachment(self._world.new_id(), _NOT_IN_FILENAMES.sub("_", filename), content)
            self._world.keep_upload(upload)
            data = payloads.upload(upload, self._world.attachments_base, bot.id)
            resolved.setdefault("attachments", {})[str(upload.id)] = data
            given[name] = upload
        return given

    def _sees_command(self, command: dict[str, Any], channel: Channel) -> bool:
        """Tell whether this person's client lists a command.

        All of ``default_member_permissions`` are needed, and "0" hides a command from all but administrators:
        https://discord.com/developers/docs/interactions/application-commands#permissions.
        """
        if channel.guild_id is None:
            contexts = command["contexts"]
            return bool(command["dm_permission"]) if contexts is None else _BOT_DM in contexts
        needed, have = command["default_member_permissions"], self._world.permissions_in(self.user, channel)
        return needed is None or have == permissions.ALL or (needed != "0" and have & int(needed) == int(needed))

    def _fill(
        self, offered: list[dict[str, Any]], given: dict[str, Any], resolved: dict[str, Any], focused: str
    ) -> list[dict[str, Any]]:
        by_name = {option["name"]: option for option in offered}
        unknown = set(given) - set(by_name)
        if unknown:
            raise SandboxError(f"unknown option {', '.join(sorted(unknown))}")
        missing = [o["name"] for o in offered if o.get("required") and o["name"] not in given]
        if missing and not focused:
            raise SandboxError(f"option {', '.join(missing)} is required")
        filled = []
        for name, value in given.items():
            option = by_name[name]
            entry: dict[str, Any] = {"name": name, "type": option["type"]}
            entry["value"] = self._value(option, value, resolved, check=name != focused)
            if name == focused:
                entry["focused"] = True
            filled.append(entry)
        return filled

    def _resolve_members(self, channel: Channel, resolved: dict[str, Any]) -> None:
        """Add the memberships of resolved users, without what Discord leaves out of them here.

        https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-object-resolved-data-structure
        """
        guild = self._world.guilds.get(channel.guild_id or 0)
        members = guild.members if guild is not None else {}
        for user_id in resolved.get("users", {}).keys() & {str(number) for number in members}:
            member = members[int(user_id)]
            data = {key: value for key, value in payloads.partial_member(member).items() if key not in ("deaf", "mute")}
            data["permissions"] = str(self._world.permissions_in(member.user, channel))
            resolved.setdefault("members", {})[user_id] = data

    def _value(self, option: dict[str, Any], value: Any, resolved: dict[str, Any], *, check: bool) -> Any:
        if isinstance(value, Person | BotHandle) and option["type"] == _USER:
            who = value.user if isinstance(value, Person) else value.account
            resolved.setdefault("users", {})[str(who.id)] = payloads.user(who)
            return str(who.id)
        if isinstance(value, ChannelHandle) and option["type"] == _CHANNEL:
            resolved.setdefault("channels", {})[str(value.id)] = {
                **payloads.channel(value.channel),
                "permissions": str(self._world.permissions_in(self.user, value.channel)),
            }
            return str(value.id)
        if isinstance(value, Attachment) and option["type"] == _ATTACHMENT:
            return str(value.id)
        if isinstance(value, Role) and option["type"] == _ROLE:
            resolved.setdefault("roles", {})[str(value.id)] = payloads.role(value)
            return str(value.id)
        if not isinstance(value, _PYTHON_TYPES.get(option["type"], ())):
            raise SandboxError(f"option {option['name']} does not take {type(value).__name__}")
        if check:
            _check_option(option, value)
        return value


def _check_option(option: dict[str, Any], value: Any) -> None:
    """Check the limits that Discord's client enforces."""
    size = len(value) if isinstance(value, str) else value
    if isinstance(value, str) and size > MAX_VALUE_CHARACTERS:
        raise SandboxError(f"option {option['name']} takes {MAX_VALUE_CHARACTERS} characters")
    low, high = ("min_length", "max_length") if isinstance(value, str) else ("min_value", "max_value")
    if (option.get(low) is not None and size < option[low]) or (option.get(high) is not None and size > option[high]):
        raise SandboxError(f"option {option['name']} is out of range")
    choices = option.get("choices")
    if choices and value not in [choice["value"] for choice in choices]:
        raise SandboxError(f"option {option['name']} offers other choices")


def _check_input(leaf: dict[str, Any], label: str | None, value: str) -> None:
    if not value and leaf.get("required", True):
        raise SandboxError(f"the field {label!r} is required")
    longest = leaf.get("max_length") or 4000
    shortest = leaf.get("min_length") or 0
    if value and not shortest <= len(value) <= longest:
        raise SandboxError(f"the field {label!r} takes {shortest} to {longest} characters")


class People:
    """Creates persons, and waits for events of the world."""

    def __init__(self, world: World, interactions: Interactions, commands: CommandStore) -> None:
        self.world = world
        self.interactions = interactions
        self.commands = commands
        self._changed = asyncio.Event()
        world.listeners.append(self._on_event)

    def person(self, user: User) -> Person:
        """Return a client for a user."""
        return Person(self, user)

    def _on_event(self, _event: Event) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, find: Callable[[], Message | None], timeout_s: float) -> Message | None:
        """Wait until ``find`` returns a message; it is called again at every event.

        Raises
        ------
        TimeoutError
        """

        async def wait() -> Message | None:
            while True:
                found = find()
                if found is not None:
                    return found
                await self._changed.wait()

        return await asyncio.wait_for(wait(), timeout_s)
