"""One look at the server: what is there, what is wanted, and how they differ."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from master.ledger.rows import server_channels as rows
from master.ledger.rows.records import ChannelRepair, WantedChannel
from master.services.channels.drift import Drift, diff
from master.services.channels.tools import ChannelTools
from master.services.channels.tree import Wanted
from master.services.channels.wishes import wishes_of
from master.services.core.discord_port import Channel, Role
from master.services.core.errors import ServiceError
from master.services.people.ticket_check import Standing


class NoServer(ServiceError):
    """There is no server whose channels could be looked at."""

    code = "no_server"


class Declared(NamedTuple):
    """What channels.toml says, for the roles of a server; and what is wrong with it."""

    wanted: Sequence[Wanted] = ()
    troubles: Sequence[str] = ()
    refused: bool = False
    """The file is not as it has to be: nothing of what it wanted before is forgotten."""


Declare = Callable[[Mapping[int, Role]], Awaitable[Declared]]


class Survey(NamedTuple):
    """What one look found."""

    guild_id: int
    found: Mapping[int, Channel]
    roles: Mapping[int, Role]
    wanted: Mapping[str, Wanted]
    adopted: Sequence[Wanted]
    unknown: Mapping[str, int]
    remembered: Mapping[str, WantedChannel]
    drifts: Sequence[Drift]
    newest: Mapping[str, ChannelRepair]
    """The last of each thing."""
    troubles: Sequence[str]
    refused: bool = False


class Surveyor:
    """Look at the server.

    Parameters
    ----------
    declare
        Reads channels.toml.
    """

    def __init__(self, tools: ChannelTools, declare: Declare) -> None:
        self._tools, self._declare = tools, declare

    async def look(self) -> Survey:
        """Look at the channels, in two requests.

        Raises
        ------
        NoServer, DiscordPortError, LedgerError
        """
        tools, guild_id = self._tools, self._tools.guild_id
        if not guild_id:
            raise NoServer("config.py names no server", hint="IDENTITY['GUILD_ID']")
        # First the ledger: what it does not have must not be taken for gone.
        remembered = {row.key: row for row in await tools.ledger.read(rows.all_wanted) if row.guild_id == guild_id}
        known = await tools.ledger.read(rows.newest_of_each)
        newest = {f"{one.key}:{one.drift}": one for one in known if one.guild_id == guild_id}
        roles = {role.id: role for role in await tools.port.roles(guild_id)}
        found = {channel.id: channel for channel in await tools.port.channels(guild_id)}
        declared = await self._declare(roles)
        wishes = wishes_of(tools.settings(), declared.wanted, remembered, found, frozenset(roles), tools.moves.current)
        return Survey(
            guild_id=guild_id,
            found=found,
            roles=roles,
            wanted={one.key: one for one in wishes.wanted},
            adopted=wishes.adopted,
            unknown=wishes.unknown,
            remembered=remembered,
            drifts=diff(wishes.wanted, found.values()),
            newest=newest,
            troubles=declared.troubles,
            refused=declared.refused,
        )

    async def standing(self, survey: Survey) -> Standing:
        """Return what the master may do on the server.

        Raises
        ------
        DiscordPortError
        """
        own_id = self._tools.master_user_id()
        return Standing(
            guild_id=survey.guild_id,
            bot_id=own_id,
            roles=survey.roles,
            held=await self._tools.port.roles_of(survey.guild_id, own_id),
        )
