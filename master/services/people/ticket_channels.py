"""Channels and threads of tickets on Discord: made, brought in line with what is on record, deleted.

Every call may be made again: a channel that was made, and not written down, is found by the ticket's id in its topic.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from master.ledger.rows.records import Ticket, TicketPermission
from master.services.core.discord_port import Channel, ChannelPlan, Overwrite
from master.services.core.errors import DiscordNotFound, DiscordRefused
from master.services.people.ticket_sets import members_of, overwrites_of
from master.services.people.ticket_tools import TicketTools

log = logging.getLogger(__name__)

MOST_IN_CATEGORY, MOST_IN_GUILD = 50, 500
"""https://support.discord.com/hc/en-us/articles/33694251638295: categories count to the 500, threads do not."""
_GUILD_FULL, _THREADS_FULL, _INVALID_FORM = 30013, 160006, 50035
_CATEGORY_FULL = ("CHANNEL_PARENT_MAX_CHANNELS", "channels in category reached")


class NoRoom(Exception):
    """The category, or the server, has as many channels as Discord allows."""


class TicketChannels:
    """Make tickets' channels what the ledger says."""

    def __init__(self, tools: TicketTools) -> None:
        self._tools = tools

    async def create(self, ticket: Ticket, permissions: Sequence[TicketPermission]) -> tuple[int, bool]:
        """Return the id of a new channel, or of the one that was made for the ticket before; and if it is a thread.

        Raises
        ------
        NoRoom
            The ticket has to wait.
        DiscordPortError
        """
        category = self._tools.category_of(ticket)
        try:
            if category.threads:
                return await self._create_thread(ticket, permissions, category.channel_id), True
            return await self._create_channel(ticket, permissions, category.channel_id), False
        except DiscordRefused as error:
            if _says_full(error):
                raise NoRoom from error
            raise

    async def _create_channel(self, ticket: Ticket, permissions: Sequence[TicketPermission], parent_id: int) -> int:
        channels = await self._tools.port.channels(self._tools.guild_id)
        for channel in channels:
            if ticket.id in channel.topic:
                return channel.id
        below = sum(channel.parent_id == parent_id for channel in channels if parent_id)
        if below >= MOST_IN_CATEGORY or len(channels) >= MOST_IN_GUILD:
            raise NoRoom
        plan = ChannelPlan(
            # A number, and no state: Discord takes only two edits of a name or topic in ten minutes.
            name=_name(ticket),
            parent_id=parent_id or None,
            topic=f"Ticket {ticket.number} ({ticket.id})",
            overwrites=self._overwrites(ticket, permissions),
        )
        reason = f"Ticket {ticket.number} of {self._tools.directory.name_of(ticket.node_id)}"
        return (await self._tools.port.create_channel(ticket.guild_id, plan, reason=reason)).id

    async def _create_thread(self, ticket: Ticket, permissions: Sequence[TicketPermission], parent_id: int) -> int:
        port = self._tools.port
        known = [
            thread
            for thread in await port.active_threads(self._tools.guild_id)
            # Anybody may have made one of this name, to read what is written in the ticket: the master's own alone.
            if thread.parent_id == parent_id
            and thread.name == _name(ticket)
            and thread.owner_id == self._tools.master_user_id()
        ]
        thread = known[0] if known else await port.create_thread(parent_id, _name(ticket))
        await self._fill_thread(ticket, permissions, thread.id, ())
        return thread.id

    async def align(
        self,
        ticket: Ticket,
        permissions: Sequence[TicketPermission],
        *,
        ended: Collection[int] = (),
        seen: Channel | None = None,
    ) -> list[str]:
        """Bring a ticket's channel in line with what is on record; returns what had to be changed, for people.

        Parameters
        ----------
        ended
            Those whose permissions are being taken back; out of a thread they have to be taken by name.
        seen
            The channel as it was a moment ago, if that is known. If it is in line then, nothing is asked of Discord.

        Raises
        ------
        DiscordPortError
        """
        if ticket.channel_id is None:
            return []
        if ticket.is_thread:
            await self._align_thread(ticket, permissions, ticket.channel_id, ended)
            return []
        port = self._tools.port
        wanted = {one.target_id: one for one in self._overwrites(ticket, permissions)}
        if seen is not None and not _differs(seen, wanted):
            return []
        # Anew: what was seen may be from before the master's own last change, which nobody is to be blamed for.
        channel = await port.channel(ticket.channel_id)
        before = {one.target_id: one for one in channel.overwrites}
        changed: list[str] = []
        reason = f"Ticket {ticket.number}"
        # First who has to go: what fails halfway has let nobody in.
        for stray in before.values():
            if stray.kind == "member" and stray.target_id not in wanted:
                await self._remove(channel.id, stray, reason)
                changed.append(f"<@{stray.target_id}> taken out")
        for target_id, overwrite in wanted.items():
            old = before.get(target_id)
            if old != overwrite and await self._set(channel.id, old, overwrite, reason):
                mention = f"<@&{target_id}>" if overwrite.kind == "role" else f"<@{target_id}>"
                changed.append(f"{mention} put right")
        return changed

    async def _set(self, channel_id: int, old: Overwrite | None, overwrite: Overwrite, reason: str) -> bool:
        """Set an overwrite; False if its person has left the server, or its role was deleted.

        They must not hold up what is done for the others. What they had goes: they may come back.
        """
        try:
            await self._tools.port.set_overwrite(channel_id, overwrite, reason=reason)
        except DiscordNotFound as error:
            if error.json_code == _UNKNOWN_CHANNEL:
                raise
            log.info("nobody to let into a ticket", extra={"channel": channel_id, "target": overwrite.target_id})
            if old is not None:
                await self._remove(channel_id, old, reason)
            return False
        return True

    async def _remove(self, channel_id: int, stray: Overwrite, reason: str) -> None:
        try:
            await self._tools.port.remove_overwrite(channel_id, stray.target_id, reason=reason)
        except DiscordNotFound as error:
            if error.json_code == _UNKNOWN_CHANNEL:
                raise

    async def _align_thread(
        self, ticket: Ticket, permissions: Sequence[TicketPermission], thread_id: int, ended: Collection[int]
    ) -> None:
        port, is_open = self._tools.port, ticket.state in ("opening", "open")
        # Nobody is added to, or taken out of, a thread that is archived.
        if is_open or ended:
            await port.edit_thread(thread_id, archived=False, locked=not is_open)
            await self._fill_thread(ticket, permissions, thread_id, ended)
        if not is_open:
            await port.edit_thread(thread_id, archived=True, locked=True)

    async def _fill_thread(
        self, ticket: Ticket, permissions: Sequence[TicketPermission], thread_id: int, ended: Collection[int]
    ) -> None:
        port = self._tools.port
        members = await port.thread_members(thread_id)
        wanted = members_of(ticket, permissions, node_bot_id=self._tools.node_bot_id(ticket))
        for user_id in sorted((set(ended) - wanted) & members):
            await port.remove_thread_member(thread_id, user_id)
        for user_id in sorted(wanted - members):
            await port.add_thread_member(thread_id, user_id)

    async def delete(self, ticket: Ticket) -> None:
        """Delete a ticket's channel; one that is gone is none.

        Raises
        ------
        DiscordPortError
        """
        if ticket.channel_id is None:
            return
        try:
            await self._tools.port.delete_channel(ticket.channel_id, reason=f"Ticket {ticket.number} is over")
        except DiscordNotFound:
            log.info("a ticket's channel is gone already", extra={"ticket": ticket.id})

    def _overwrites(self, ticket: Ticket, permissions: Sequence[TicketPermission]) -> tuple[Overwrite, ...]:
        return overwrites_of(
            ticket,
            self._tools.category_of(ticket),
            permissions,
            master_id=self._tools.master_user_id(),
            node_bot_id=self._tools.node_bot_id(ticket),
        )


_UNKNOWN_CHANNEL = 10003


def _differs(channel: Channel, wanted: Mapping[int, Overwrite]) -> bool:
    """Tell whether a channel is not as it should be; roles that somebody added stay."""
    found = {one.target_id: one for one in channel.overwrites}
    if any(found.get(target_id) != overwrite for target_id, overwrite in wanted.items()):
        return True
    return any(one.kind == "member" and one.target_id not in wanted for one in channel.overwrites)


def _name(ticket: Ticket) -> str:
    return f"ticket-{ticket.number:04d}"


def _says_full(error: DiscordRefused) -> bool:
    if error.json_code == _INVALID_FORM:
        return any(words in error.message for words in _CATEGORY_FULL)
    return error.json_code in (_GUILD_FULL, _THREADS_FULL)
