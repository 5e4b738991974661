"""What ``fleet doctor`` says of tickets: whether the master may do all that each category needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from master.configuration.settings import Settings
from master.services.core.discord_port import Channel, ChannelKind, Overwrite, Role
from master.services.core.findings import Finding
from master.services.people.ticket_check import Standing, finding_of

Get = Callable[[str, Any], Awaitable[Any]]
"""Returns a decoded answer of Discord to a path."""
_KINDS = {0: ChannelKind.TEXT, 4: ChannelKind.CATEGORY}


class _Role(msgspec.Struct):
    id: int
    name: str
    position: int
    permissions: int


class _Member(msgspec.Struct):
    roles: list[int]


class _Overwrite(msgspec.Struct):
    id: int
    type: int
    allow: int
    deny: int


class _Channel(msgspec.Struct):
    id: int
    type: int
    name: str | None = None
    parent_id: int | None = None
    permission_overwrites: list[_Overwrite] = []


async def ask_about_tickets(settings: Settings, bot_id: int, get: Get) -> list[Finding]:
    """Look at each category of tickets; none without a server.

    Raises
    ------
    DiscordPortError
    """
    guild_id, categories = settings.identity.guild_id, settings.tickets.categories
    if not categories:
        return []
    if not guild_id:
        return [Finding("tickets", "fail", "tickets need a server", "config.py: IDENTITY['GUILD_ID']")]
    roles: list[_Role] = await get(f"/guilds/{guild_id}/roles", list[_Role])
    member: _Member = await get(f"/guilds/{guild_id}/members/{bot_id}", _Member)
    channels: list[_Channel] = await get(f"/guilds/{guild_id}/channels", list[_Channel])
    standing = Standing(
        guild_id=guild_id,
        bot_id=bot_id,
        roles={one.id: _role(one) for one in roles},
        held=frozenset(member.roles),
    )
    places = {one.id: _place(one) for one in channels}
    found = []
    for name, category in categories.items():
        one = finding_of(name, category, standing, places)
        found.append(Finding(f"tickets {name}", one.verdict, one.detail, one.fix))
    return found


def _role(role: _Role) -> Role:
    return Role(id=role.id, name=role.name, position=role.position, permissions=role.permissions)


def _place(channel: _Channel) -> Channel:
    return Channel(
        id=channel.id,
        name=channel.name or "",
        kind=_KINDS.get(channel.type, ChannelKind.OTHER),
        parent_id=channel.parent_id,
        overwrites=tuple(
            Overwrite(one.id, "role" if one.type == 0 else "member", one.allow, one.deny)
            for one in channel.permission_overwrites
        ),
    )
