"""Looks beforehand whether the master may do what tickets need: every bit that it writes, a role that is high enough.

Discord says so otherwise at the first ticket, with a refusal that names neither permission nor channel.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from master.configuration.settings import TicketCategory
from master.events import AlertLevel
from master.services.core.discord_port import Channel, ChannelKind, Overwrite, Role
from master.services.core.errors import DiscordPortError
from master.services.core.ticket_views import TicketFinding
from master.services.people.ticket_sets import ADMINISTRATOR, NEEDED, NEEDED_FOR_THREADS, WRITTEN, named
from master.services.people.ticket_tools import TicketTools

log = logging.getLogger(__name__)

_ALL = (1 << 53) - 1


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A bot's standing on a server.

    Parameters
    ----------
    roles
        All of the server, by id.
    held
        Those that the bot has.
    """

    guild_id: int
    bot_id: int
    roles: Mapping[int, Role]
    held: frozenset[int]

    @property
    def bits(self) -> int:
        """Its permissions on the server; an administrator has all."""
        bits = 0
        for role_id in (self.guild_id, *self.held):
            role = self.roles.get(role_id)
            bits |= 0 if role is None else role.permissions
        return _ALL if bits & ADMINISTRATOR else bits

    @property
    def position(self) -> int:
        """The place of its highest role."""
        return max((self.roles[role_id].position for role_id in self.held if role_id in self.roles), default=0)

    def bits_in(self, overwrites: Iterable[Overwrite]) -> int:
        """Return its permissions in a channel: https://discord.com/developers/docs/topics/permissions."""
        bits = self.bits
        if bits == _ALL:
            return bits
        by_target = {one.target_id: one for one in overwrites}
        everyone = by_target.get(self.guild_id)
        if everyone is not None:
            bits = bits & ~everyone.deny | everyone.allow
        mine = [by_target[role_id] for role_id in self.held if role_id in by_target]
        denied = allowed = 0
        for one in mine:
            denied, allowed = denied | one.deny, allowed | one.allow
        bits = bits & ~denied | allowed
        own = by_target.get(self.bot_id)
        return bits if own is None else bits & ~own.deny | own.allow


class TicketCheck:
    """Look at the categories of tickets."""

    def __init__(self, tools: TicketTools) -> None:
        self._tools = tools
        self._told: tuple[TicketFinding, ...] = ()

    async def look(self) -> tuple[TicketFinding, ...]:
        """Return a finding for each category: what is missing, or that all is there.

        Raises
        ------
        DiscordPortError
            Discord cannot be asked.
        """
        categories = self._tools.settings().tickets.categories
        if not categories:
            return ()
        port, guild_id, bot_id = self._tools.port, self._tools.guild_id, self._tools.master_user_id()
        standing = Standing(
            guild_id=guild_id,
            bot_id=bot_id,
            roles={role.id: role for role in await port.roles(guild_id)},
            held=await port.roles_of(guild_id, bot_id),
        )
        channels = {channel.id: channel for channel in await port.channels(guild_id)}
        return tuple(finding_of(name, category, standing, channels) for name, category in categories.items())

    async def tell(self) -> None:
        """Alert an operator of what is missing, once for each time that it changes."""
        try:
            found = tuple(finding for finding in await self.look() if finding.verdict != "ok")
        except DiscordPortError as error:
            log.info("the categories of tickets could not be looked at", extra={"why": error.message})
            return
        if found and found != self._told:
            self._tools.alerts.raise_alert(
                AlertLevel.ERROR if any(one.verdict == "fail" for one in found) else AlertLevel.WARNING,
                "Tickets will not work as they should",
                key="tickets:check",
                text="\n".join(f"{one.category}: {one.detail}. {one.fix}" for one in found)[:1_500],
            )
        self._told = found


def finding_of(
    name: str, category: TicketCategory, standing: Standing, channels: Mapping[int, Channel]
) -> TicketFinding:
    """Return what is the matter with one category, the worst first."""
    place = channels.get(category.channel_id)
    if category.channel_id and place is None:
        return _finding(name, "fail", f"its channel {category.channel_id} is gone", "CHANNEL_ID in TICKETS")
    if category.threads and (place is None or place.kind is not ChannelKind.TEXT):
        return _finding(name, "fail", "threads need a text channel", "CHANNEL_ID in TICKETS names it")
    if not category.threads and place is not None and place.kind is not ChannelKind.CATEGORY:
        return _finding(name, "fail", f"#{place.name} is no category", "CHANNEL_ID in TICKETS: the category's id")
    missing = _missing(category, standing, place)
    where = "on the server" if place is None else f"in {place.name}"
    if missing:
        return _finding(name, "fail", f"the master lacks {', '.join(missing)} {where}", "give its role these there")
    gone = [role_id for role_id in sorted(category.staff_roles) if role_id not in standing.roles]
    if gone:
        return _finding(name, "fail", f"its staff role {gone[0]} is gone", "STAFF_ROLES in TICKETS")
    gone = [one.role_id for one in category.limits_by_role if one.role_id not in standing.roles]
    if gone:
        return _finding(name, "warn", f"a role with limits of its own, {gone[0]}, is gone", "LIMITS_BY_ROLE in TICKETS")
    above = [
        standing.roles[role_id].name
        for role_id in sorted(category.staff_roles)
        if standing.roles[role_id].position >= standing.position
    ]
    if above and standing.bits != _ALL and not category.threads:
        return _finding(
            name, "warn", f"the master's role is below {above[0]}", "move it above, in the server's list of roles"
        )
    if not category.staff_roles:
        return _finding(name, "warn", "it has no staff: only moderators and operators answer", "STAFF_ROLES in TICKETS")
    return _finding(name, "ok", f"the master may do all that it needs {where}", "")


def _missing(category: TicketCategory, standing: Standing, place: Channel | None) -> tuple[str, ...]:
    there = standing.bits if place is None else standing.bits_in(place.overwrites)
    if category.threads:
        return named(NEEDED_FOR_THREADS & ~there)
    # A bot may write into an overwrite what it has on the server; what it does there itself, it needs there.
    return named((WRITTEN & ~standing.bits) | (NEEDED & ~there))


def _finding(category: str, verdict: Literal["ok", "warn", "fail"], detail: str, fix: str) -> TicketFinding:
    return TicketFinding(category=category, verdict=verdict, detail=detail, fix=fix)
