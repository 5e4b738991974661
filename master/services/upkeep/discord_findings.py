"""What ``fleet doctor`` asks Discord: token, gateway, intents, server, channels, permissions, slash commands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.errors import FleetError
from master.services.core.channel_moves import current_of, followed, load_moves, named_channels
from master.services.core.discord_port import Role
from master.services.core.errors import DiscordRefused, DiscordUnavailable
from master.services.core.findings import Finding
from master.services.core.registered_commands import load_registered
from master.services.onboarding.identity import (
    BotIdentity,
    Lookup,
    identity_of,
    invite_url,
)
from master.services.people.licence_role_checks import role_troubles
from master.services.upkeep.needed_permissions import needed_permissions
from master.services.upkeep.ticket_findings import ask_about_tickets

MIN_IDENTIFIES = 50
_UNEXPECTED = "try again in a minute; if it stays so, check DISCORD['API_BASE'] and the token's application"

# https://discord.com/developers/docs/topics/permissions#permissions-bitwise-permission-flags
_ADMINISTRATOR = 1 << 3
_SEND_IN_THREADS = 1 << 38
_MANAGE_CHANNELS, _MANAGE_ROLES, _VIEW_AUDIT_LOG = 1 << 4, 1 << 28, 1 << 7
_VIEW, _SEND, _HISTORY = 1 << 10, 1 << 11, 1 << 16
_NAMES = {
    _VIEW: "View Channel",
    _SEND: "Send Messages",
    _SEND_IN_THREADS: "Send Messages in Threads",
    1 << 14: "Embed Links",
    1 << 15: "Attach Files",
    _HISTORY: "Read Message History",
    1 << 6: "Add Reactions",
    _MANAGE_CHANNELS: "Manage Channels",
    _MANAGE_ROLES: "Manage Roles",
    _VIEW_AUDIT_LOG: "View Audit Log",
}
_NEEDED: dict[str, int] = {
    # Answers to nodes, that mention or reply.
    "VERIFY": _VIEW | _SEND | _HISTORY,
    "PATCH": _VIEW | _SEND | _HISTORY | 1 << 14 | 1 << 15 | 1 << 6,
    "LOG": _VIEW | _SEND | 1 << 14,
}
# https://discord.com/developers/docs/resources/application#application-object-application-flags
_MESSAGE_CONTENT = 1 << 18 | 1 << 19
# https://discord.com/developers/docs/resources/channel#channel-object-channel-types
_THREADS = (10, 11, 12)
_TEXT = (0, 5, *_THREADS)

T = TypeVar("T")
Verdict = Literal["ok", "warn", "fail"]


class _Limit(msgspec.Struct):
    remaining: int
    total: int = 1000
    reset_after: int = 0


class _Gateway(msgspec.Struct):
    url: str
    session_start_limit: _Limit


class _Application(msgspec.Struct):
    id: int
    flags: int = 0


class _Role(msgspec.Struct):
    id: int
    permissions: int
    name: str = ""
    position: int = 0
    managed: bool = False


class _Guild(msgspec.Struct):
    id: int
    name: str
    owner_id: int
    roles: list[_Role]


class _Member(msgspec.Struct):
    roles: list[int]


class _Overwrite(msgspec.Struct):
    id: int
    allow: int
    deny: int


class _Channel(msgspec.Struct):
    id: int
    type: int
    name: str | None = None
    guild_id: int | None = None
    parent_id: int | None = None
    permission_overwrites: list[_Overwrite] = []


class _DeclaredChannel(msgspec.Struct):
    key: str = ""


class _Declared(msgspec.Struct):
    channel: list[_DeclaredChannel] = []


class _Command(msgspec.Struct):
    name: str


class _Refusal(msgspec.Struct):
    message: str = ""


async def ask_discord(settings: Settings, token: Secret[str], lookup: Lookup) -> list[Finding]:
    """Ask Discord all that a master needs of it; each line says what to do."""
    try:
        bot = identity_of(await lookup.get("/users/@me"), token)
    except FleetError as error:
        # Without a token that works no other question has an answer.
        return [Finding("discord", "fail", error.message, error.hint)]
    found = [Finding("discord", "ok", f"the token is {bot.username}'s ({bot.user_id})")]
    successors = load_moves(settings.channel_moves_path)
    found += _moved_channels(settings, successors)
    survey = _Survey(followed(settings, successors), lookup, bot)
    for what, look in (
        ("gateway", survey.gateway),
        ("intents", survey.intents),
        ("server", survey.server),
        ("tickets", survey.tickets),
        ("slash commands", survey.commands),
    ):
        try:
            found += await look()
        except FleetError as error:
            found.append(Finding(what, "fail", error.message, error.hint or _UNEXPECTED))
    return found


def _moved_channels(settings: Settings, successors: dict[int, int]) -> list[Finding]:
    """Return which channels of config.py were made anew: they are followed, and the file should say so."""
    moved = {
        key: (channel_id, current_of(successors, channel_id))
        for key, channel_id in named_channels(settings).items()
        if current_of(successors, channel_id) != channel_id
    }
    fix = "config.py: put the new id in its place"
    return [Finding(f"id of {key}", "warn", f"{old} was made anew as {new}", fix) for key, (old, new) in moved.items()]


@dataclass(slots=True)
class _Survey:
    """The questions that need a token that works."""

    settings: Settings
    lookup: Lookup
    bot: BotIdentity
    application_id: int = 0

    async def _get(self, path: str, kind: type[T]) -> T:
        """Return a decoded answer.

        Raises
        ------
        DiscordRefused
            Has the status.
        DiscordUnavailable
        """
        answer = await self.lookup.get(path)
        if answer.status != 200:
            raise DiscordRefused(f"Discord says {answer.status} {_words(answer.body)}".rstrip(), status=answer.status)
        try:
            # Not strict: ids and permissions are numbers in strings.
            return msgspec.json.decode(answer.body, type=kind, strict=False)
        except msgspec.MsgspecError as error:
            raise DiscordUnavailable(
                f"Discord's answer to {path.split('/')[1]} is not valid: {error}", hint="check DISCORD['API_BASE']"
            ) from error

    def _invite(self) -> str:
        return f"invite it: {self._invite_url()}"

    def _invite_url(self) -> str:
        return invite_url(self.application_id or self.bot.user_id, needed_permissions(self.settings))

    async def gateway(self) -> list[Finding]:
        """Ask for the gateway's URL and what is left of its day, and hear it say hello."""
        found = await self._get("/gateway/bot", _Gateway)
        await self.lookup.hello(found.url)
        left, hours = found.session_start_limit.remaining, found.session_start_limit.reset_after / 3_600_000
        text = f"it answers; {left} of {found.session_start_limit.total} logins are left today"
        if left < MIN_IDENTIFIES:
            fix = f"Discord resets the token at 0; find out what logs in again and again; anew in {hours:.1f} h"
            return [Finding("gateway", "warn", text, fix)]
        return [Finding("gateway", "ok", text)]

    async def intents(self) -> list[Finding]:
        """Compare the privileged intents of the application with what the config needs."""
        found = await self._get("/applications/@me", _Application)
        self.application_id = found.id
        if not self.settings.channels.verify and not await asyncio.to_thread(_makes_verify, self.settings):
            return [Finding("intents", "ok", "no VERIFY channel: no privileged intent is needed")]
        if not found.flags & _MESSAGE_CONTENT:
            fix = "developer portal > the application > Bot > MESSAGE CONTENT INTENT: on; then restart the master"
            return [Finding("intents", "fail", "MESSAGE CONTENT is off, and a VERIFY channel needs it", fix)]
        return [Finding("intents", "ok", "MESSAGE CONTENT is on")]

    async def server(self) -> list[Finding]:
        """Look whether the bot is on the server, and then at each configured channel."""
        guild_id = self.settings.identity.guild_id
        if not guild_id:
            fix = "config.py: IDENTITY['GUILD_ID'], so that slash commands appear at once"
            channels = await self._channels(None, _Member([]))
            return [Finding("server", "warn", "no GUILD_ID: slash commands are global", fix), *channels]
        try:
            guild = await self._get(f"/guilds/{guild_id}", _Guild)
            member = await self._get(f"/guilds/{guild_id}/members/{self.bot.user_id}", _Member)
        except DiscordRefused as error:
            if error.status not in (403, 404):
                raise
            fix = f"check IDENTITY['GUILD_ID'], or {self._invite()}"
            return [Finding("server", "fail", f"{self.bot.username} is not on the server {guild_id}", fix)]
        found = Finding("server", "ok", f"{self.bot.username} is on {guild.name}")
        channels = await self._channels(guild, member)
        return [found, *channels, *self._repairs(guild, member), *self._licence_roles(guild, member)]

    def _repairs(self, guild: _Guild, member: _Member) -> list[Finding]:
        """Look whether the bot may repair the server's channels, and learn who changed them."""
        if self.settings.selffix.mode == "off":
            return []
        needed = _MANAGE_CHANNELS | _MANAGE_ROLES | _VIEW_AUDIT_LOG
        bits = _union(role.permissions for role in guild.roles if role.id in {guild.id, *member.roles})
        missing = 0 if bits & _ADMINISTRATOR or guild.owner_id == self.bot.user_id else needed & ~bits
        if not missing:
            return [Finding("selffix", "ok", "it may put channels right, and learns who changed them")]
        names = ", ".join(text for bit, text in _NAMES.items() if missing & bit)
        cost = "channels are not put right" if missing != _VIEW_AUDIT_LOG else "nobody learns who changed a channel"
        fix = f"Server Settings > Roles: allow the role of {self.bot.username} {names}; or SELFFIX['MODE'] = 'off'"
        return [Finding("selffix", "warn", f"missing {names}: {cost}", fix)]

    def _licence_roles(self, guild: _Guild, member: _Member) -> list[Finding]:
        """Look whether the bot can give the roles of licence tiers, before anybody redeems one."""
        tiers = [tier for tier in self.settings.licence_tiers if tier.role_id]
        if not tiers:
            return []
        roles = [
            Role(id=one.id, name=one.name, position=one.position, permissions=one.permissions, is_managed=one.managed)
            for one in guild.roles
        ]
        troubles = role_troubles(tiers, roles, frozenset(member.roles), guild.id)
        if not troubles:
            count = "of 1 tier" if len(tiers) == 1 else f"of each of {len(tiers)} tiers"
            return [Finding("licence roles", "ok", f"{self.bot.username} can give the role {count}")]
        again = f"; or invite it once more: {self._invite_url()}"
        return [
            Finding(f"licence role {one.tier}", "fail", one.problem, one.fix + again * one.lacks_permission)
            for one in troubles
        ]

    async def _channels(self, guild: _Guild | None, member: _Member) -> list[Finding]:
        channels = self.settings.channels
        named = {"VERIFY": channels.verify, "PATCH": channels.patch, "LOG": channels.log}
        found = []
        for name, channel_id in named.items():
            if channel_id:
                try:
                    verdict, detail, fix = await self._channel(name, channel_id, guild, member)
                except FleetError as error:
                    verdict, detail, fix = "fail", error.message, error.hint or _UNEXPECTED
                found.append(Finding(f"channel {name}", verdict, detail, fix))
        return found

    async def _channel(
        self, name: str, channel_id: int, guild: _Guild | None, member: _Member
    ) -> tuple[Verdict, str, str]:
        key = f"CHANNELS['{name}']"
        try:
            channel = await self._get(f"/channels/{channel_id}", _Channel)
        except DiscordRefused as error:
            if error.status == 404:
                return "fail", f"there is no channel {channel_id}", f"config.py: {key}; it may have been deleted"
            fix = f"{key}: give its role View Channel there, or name a channel of the bot's server"
            return "fail", f"{self.bot.username} may not see the channel {channel_id}", fix
        shown = f"#{channel.name}"
        if channel.type not in _TEXT:
            return "fail", f"{shown} is no text channel", f"config.py: {key} has to be a text channel"
        if guild is None:
            return "ok", f"{shown}; permissions are not looked at without a GUILD_ID", ""
        if channel.guild_id != guild.id:
            return "fail", f"{shown} is on another server", f"config.py: {key}, or IDENTITY['GUILD_ID']"
        missing = _NEEDED[name]
        if channel.type in _THREADS:
            missing = missing & ~_SEND | _SEND_IN_THREADS
            channel = await self._get(f"/channels/{channel.parent_id}", _Channel)
        missing &= ~_permissions(guild, member, channel, self.bot.user_id)
        if missing:
            names = ", ".join(text for bit, text in _NAMES.items() if missing & bit)
            # Nothing posts there yet.
            verdict: Verdict = "warn" if name == "PATCH" else "fail"
            fix = f"{shown} > Edit Channel > Permissions: allow the role of {self.bot.username} {names}"
            return verdict, f"{shown}: missing {names}", fix
        return "ok", f"{shown}, with all permissions it needs", ""

    async def tickets(self) -> list[Finding]:
        """Look whether the master may do all that tickets need, in each of their categories."""
        return await ask_about_tickets(self.settings, self.bot.user_id, self._get)

    async def commands(self) -> list[Finding]:
        """Compare the slash commands at Discord with what the master registered last."""
        expected = load_registered(self.settings.registered_commands_path)
        guild_id = self.settings.identity.guild_id
        where = f"/guilds/{guild_id}" if guild_id else ""
        what = "slash commands"
        try:
            there = await self._get(
                f"/applications/{self.application_id or self.bot.user_id}{where}/commands", list[_Command]
            )
        except DiscordRefused as error:
            return [Finding(what, "fail", f"they cannot be read: {error.message}", self._invite())]
        if not expected:
            return [Finding(what, "ok", f"{len(there)} at Discord; the next `fleet up` registers the master's")]
        missing = sorted(set(expected) - {command.name for command in there})
        if missing:
            shown = ", ".join(f"/{name}" for name in missing[:5]) + (" ..." if len(missing) > 5 else "")
            fix = "restart the master, which registers them: `fleet down --keep-nodes`, `fleet up`"
            return [Finding(what, "fail", f"{len(missing)} of {len(expected)} are not at Discord: {shown}", fix)]
        return [Finding(what, "ok", f"{len(expected)} are registered")]


def _words(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Refusal).message[:200]
    except msgspec.MsgspecError:
        return ""


def _permissions(guild: _Guild, member: _Member, channel: _Channel, user_id: int) -> int:
    """Compute a member's permissions in a channel of its guild.

    Source: https://discord.com/developers/docs/topics/permissions#permission-overwrites
    """
    if guild.owner_id == user_id:
        return -1
    own = {guild.id, *member.roles}
    bits = _union(role.permissions for role in guild.roles if role.id in own)
    if bits & _ADMINISTRATOR:
        return -1
    overwrites = channel.permission_overwrites
    for layer in (
        [o for o in overwrites if o.id == guild.id],
        [o for o in overwrites if o.id in member.roles],
        [o for o in overwrites if o.id == user_id],
    ):
        bits = bits & ~_union(o.deny for o in layer) | _union(o.allow for o in layer)
    # Without these two, Discord allows nothing else there.
    return bits if bits & _VIEW else 0


def _union(bits: Iterable[int]) -> int:
    together = 0
    for each in bits:
        together |= each
    return together


def _makes_verify(settings: Settings) -> bool:
    """Tell whether the master makes a VERIFY channel itself, of channels.toml; a file that is refused makes none."""
    try:
        text = settings.channels_path.read_text("utf-8")
        declared = msgspec.toml.decode(text, type=_Declared)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return False
    return any(one.key == "verify" for one in declared.channel)
