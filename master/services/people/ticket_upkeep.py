"""What becomes due with tickets: stale ones, the queue, permissions whose time is over, what Discord did not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from master.errors import FleetError
from master.events import GatewayConnected
from master.ledger.errors import LedgerError
from master.ledger.rows import tickets as rows
from master.ledger.rows.records import Ticket
from master.services.core.discord_port import Channel, Notice
from master.services.core.errors import DiscordNotFound, DiscordPortError
from master.services.people.ticket_permissions import TicketPermissions
from master.services.people.ticket_tools import TicketTools
from master.services.people.ticket_work import TicketWork
from master.services.people.tickets import Tickets

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""The box's clock may be set, and a box may sleep: what is due is looked for this often at least."""
RECONCILED_EVERY_S = 300.0
"""All channels are one request; changes are also told by Discord as they happen."""
_DISCORD_EPOCH_MS = 1_420_070_400_000
_SYSTEM = "system:tickets"


class TicketUpkeep:
    """Do what is due, and bring all channels in line with the ledger.

    Parameters
    ----------
    check
        Looks whether the master has what it needs; called whenever it has connected.
    closers
        Cut off what is under way, for the end of the master.
    """

    def __init__(
        self,
        tools: TicketTools,
        tickets: Tickets,
        permissions: TicketPermissions,
        work: TicketWork,
        check: Callable[[], Awaitable[object]],
        closers: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self._tools, self._tickets, self._permissions, self._work = tools, tickets, permissions, work
        self._check, self._closers = check, closers
        self._reconciled_s = float("-inf")
        self._connected = False
        tools.bus.on(GatewayConnected, self._on_connected)

    def _on_connected(self, _event: GatewayConnected) -> None:
        self._connected = True
        self._reconciled_s = float("-inf")
        self._work.now()

    def look_again(self) -> None:
        """Look at everything again: the settings were changed."""
        self._reconciled_s = float("-inf")
        self._connected = True
        self._work.woken.set()

    async def run(self) -> None:
        """Do what is due, until cancelled; then nothing of tickets is under way any more."""
        try:
            while True:
                self._work.woken.clear()
                left_s = await self.step()
                try:
                    async with asyncio.timeout(left_s):
                        await self._work.woken.wait()
                except TimeoutError:
                    continue
        finally:
            for close in self._closers:
                await close()

    async def step(self) -> float | None:
        """Do what is due now; returns after how many seconds to look again, None if there is nothing to look after."""
        try:
            if self._connected:
                self._connected = False
                await self._check()
            live = await self._tools.ledger.read(rows.with_channel)
            unfinished = await self._tools.ledger.read(
                lambda connection: rows.in_states(connection, ("queued", "opening"))
            )
            if not live and not unfinished:
                return None
            await self._permissions.end_overdue()
            await self._end_stale(live)
            await self._reconcile()
            await self._finish([*live, *unfinished])
            await self._let_in()
            ends = await self._permissions.next_end()
        except LedgerError as error:
            log.warning("tickets wait for the ledger", extra={"why": error.message})
            return LOOK_EVERY_S
        return self._left_s(ends)

    def _left_s(self, ends: datetime | None) -> float:
        left = [LOOK_EVERY_S]
        if ends is not None:
            left.append((ends - self._tools.clock.now()).total_seconds())
        if (again := self._work.next_s()) is not None:
            left.append(again)
        return max(0.0, min(left))

    async def _finish(self, known: list[Ticket]) -> None:
        """Do what waits to be tried again, and what an earlier master left between two steps."""
        due = set(self._work.due())
        for ticket in known:
            half_done = ticket.state in ("opening", "closing") or (ticket.state == "deleted" and ticket.channel_id)
            if ticket.id in due or (half_done and not self._work.waits(ticket.id)):
                await self._do(ticket.id)

    async def _do(self, ticket_id: str, seen: Channel | None = None) -> None:
        try:
            await self._work.do(ticket_id, seen)
        except DiscordPortError as error:
            log.info("a ticket is tried again later", extra={"ticket": ticket_id, "why": error.message})

    async def _let_in(self) -> None:
        """Open tickets that wait, as long as there is room, each category's in their order."""
        full = set[int]()
        for ticket in await self._tickets.queue():
            place = self._tools.category_of(ticket).channel_id
            if place in full or self._work.waits(ticket.id):
                full.add(place)
                continue
            now = self._tools.clock.now()
            await self._tools.ledger.write(
                partial(rows.change, ticket_id=ticket.id, was=("queued",), at=now, state="opening")
            )
            await self._do(ticket.id)
            found = await self._tools.ledger.read(partial(rows.find, ticket_id=ticket.id))
            if found is None or found.state != "open":
                full.add(place)

    # In line with the ledger

    async def _reconcile(self) -> None:
        """Bring every ticket's channel in line with the ledger: strays go, what is missing comes back."""
        now = self._tools.clock.monotonic()
        if now - self._reconciled_s < RECONCILED_EVERY_S or not self._tools.guild_id:
            return
        try:
            channels = {one.id: one for one in await self._tools.port.channels(self._tools.guild_id)}
        except DiscordPortError as error:
            # Also when the server itself is gone: nothing is known of the channels then, and nothing is forgotten.
            log.info("tickets are not compared with Discord", extra={"why": error.message})
            return
        self._reconciled_s = now
        staff = set[tuple[int | None, str]]()
        for ticket in await self._tools.ledger.read(rows.with_channel):
            claimed = (ticket.claimed_by, ticket.category)
            if claimed not in staff and await self._is_claimed_by_staff(ticket):
                staff.add(claimed)
            if ticket.channel_id is not None:
                await self._do(ticket.id, channels.get(ticket.channel_id))

    async def _is_claimed_by_staff(self, ticket: Ticket) -> bool:
        """Tell whether who claimed an open ticket is of the staff; else it is released."""
        former = ticket.claimed_by
        if ticket.state != "open" or former is None:
            return False
        try:
            released = await self._tickets.release_former(ticket)
            if released is None:
                return True
            self._work.tell(released)
            if released.is_thread and released.channel_id is not None and former != released.author_id:
                await self._tools.port.remove_thread_member(released.channel_id, former)
        except DiscordPortError as error:
            log.info("who claimed a ticket is not known", extra={"ticket": ticket.id, "why": error.message})
        return False

    async def seen(self, channel: Channel) -> None:
        """Look at a channel that was changed: if it is a ticket's, strays go at once."""
        ticket = await self._tools.ledger.read(partial(rows.find_by_channel, channel_id=channel.id))
        if ticket is not None and ticket.state in ("open", "closed") and not self._work.works_on(ticket.id):
            await self._do(ticket.id, channel)

    # Stale ones

    async def _end_stale(self, known: list[Ticket]) -> None:
        now = self._tools.clock.now()
        for ticket in known:
            category = self._tools.category_of(ticket)
            if ticket.state != "open" or not category.stale_hours:
                continue
            if ticket.warned_at is None:
                if now - ticket.last_at >= timedelta(hours=category.stale_hours):
                    await self._warn(ticket, category.close_hours)
            elif category.close_hours and now - ticket.warned_at >= timedelta(hours=category.close_hours):
                await self._close_stale(ticket)

    async def _warn(self, ticket: Ticket, close_hours: float) -> None:
        if await self._was_written_in(ticket, ticket.last_at):
            return
        now = self._tools.clock.now()
        warned = await self._tools.ledger.write(
            partial(rows.change, ticket_id=ticket.id, was=("open",), at=now, warned_at=now)
        )
        if warned is None or ticket.channel_id is None:
            return
        self._tools.publish(warned, "stale", actor=_SYSTEM)
        ends = f" <t:{int((now + timedelta(hours=close_hours)).timestamp())}:R>" if close_hours else ""
        mentions = (ticket.author_id,) if ticket.author_id else ()
        words = (f"<@{ticket.author_id}> n" if mentions else "N") + "othing was written here for a while. "
        words += f"This ticket is closed{ends} unless somebody writes." if ends else "Is it still needed?"
        try:
            await self._tools.port.post(ticket.channel_id, Notice(text=words, mention_users=mentions))
        except DiscordPortError as error:
            log.info("a stale ticket's author was not warned", extra={"ticket": ticket.id, "why": error.message})

    async def _close_stale(self, ticket: Ticket) -> None:
        if ticket.warned_at is None or await self._was_written_in(ticket, ticket.warned_at + timedelta(minutes=1)):
            return
        try:
            await self._tickets.close(ticket, "nothing was written in it", actor=_SYSTEM)
        except FleetError as error:
            log.info("a stale ticket was not closed", extra={"ticket": ticket.id, "why": error.message})
            return
        await self._do(ticket.id)

    async def _was_written_in(self, ticket: Ticket, since: datetime) -> bool:
        """Tell whether something was written that no node told: while it, or the master, was away. Then note it."""
        if ticket.channel_id is None:
            return True
        try:
            channel = await self._tools.port.channel(ticket.channel_id)
        except DiscordNotFound:
            await self._do(ticket.id)
            return True
        except DiscordPortError:
            return True  # Nobody knows: it is neither warned of nor closed before that.
        last_at = moment_of(channel.last_message_id)
        if last_at is None or last_at <= since:
            return False
        await self._tools.ledger.write(
            partial(rows.change, ticket_id=ticket.id, was=("open",), at=last_at, last_at=last_at, warned_at=None)
        )
        return True


def moment_of(snowflake: int | None) -> datetime | None:
    """Return when something on Discord was made: https://discord.com/developers/docs/reference#snowflakes."""
    if not snowflake:
        return None
    return datetime.fromtimestamp(((snowflake >> 22) + _DISCORD_EPOCH_MS) / 1000, UTC)
