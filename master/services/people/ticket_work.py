"""What is on record about tickets, carried out on Discord.

:meth:`TicketWork.do` looks at one ticket's record and does what that asks for, so that a master that was killed at any
point, or whom Discord did not answer, goes on with the same call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from weakref import WeakValueDictionary

from msgspec.structs import replace
from sqlalchemy import Connection

from master.events import AlertLevel
from master.ledger.rows import ticket_permissions, tickets
from master.ledger.rows.records import Ticket, TicketPermission, TicketPermissionState, TicketState
from master.services.core.discord_port import Channel
from master.services.core.errors import DiscordForbidden, DiscordNotFound, DiscordPortError, DiscordUnavailable
from master.services.people.ticket_channels import NoRoom, TicketChannels
from master.services.people.ticket_tools import TicketTools

log = logging.getLogger(__name__)

AGAIN_FIRST_S, AGAIN_LAST_S = 2.0, 300.0
_IN_FORCE: tuple[TicketPermissionState, ...] = ("granting", "granted")
_CHANNEL_GONE = "its channel is gone"
_REASON_CHARACTERS = 400

Told = Callable[[Ticket], None]


class TicketWork:
    """Carry out what is on record.

    Parameters
    ----------
    tools
        What everything about tickets works with.
    channels
        Acts on Discord.
    tell
        Called with a ticket after something became of it that its node has to know.
    """

    def __init__(self, tools: TicketTools, channels: TicketChannels, tell: Told) -> None:
        self._tools, self._channels, self.tell = tools, channels, tell
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._again: dict[str, tuple[float, float]] = {}
        """By ticket: when it is tried again, in monotonic seconds, and after how long a pause."""
        self.woken = asyncio.Event()

    async def do(self, ticket_id: str, seen: Channel | None = None) -> Ticket | None:
        """Do what a ticket's record asks for; returns it as it is then.

        Raises
        ------
        DiscordPortError
            It is tried again later, unless that is of no use.
        LedgerError
        """
        turn = self._turns.setdefault(ticket_id, asyncio.Lock())
        async with turn:
            try:
                found = await self._step(ticket_id, seen)
            except DiscordPortError as error:
                self._later(ticket_id)
                self._complain(ticket_id, error)
                raise
            self._again.pop(ticket_id, None)
            return found

    def due(self) -> list[str]:
        """Return the tickets that are to be tried again now."""
        now = self._tools.clock.monotonic()
        return [ticket_id for ticket_id, (at, _) in self._again.items() if at <= now]

    def waits(self, ticket_id: str) -> bool:
        """Tell whether a ticket waits to be tried again, and not now."""
        at, _ = self._again.get(ticket_id, (float("-inf"), 0.0))
        return at > self._tools.clock.monotonic()

    def works_on(self, ticket_id: str) -> bool:
        """Tell whether a ticket is being worked on."""
        turn = self._turns.get(ticket_id)
        return turn is not None and turn.locked()

    def next_s(self) -> float | None:
        """Return after how many seconds one is to be tried again; None if none is."""
        if not self._again:
            return None
        return max(0.0, min(at for at, _ in self._again.values()) - self._tools.clock.monotonic())

    def now(self) -> None:
        """Try all again at once that wait: Discord is back."""
        self._again = {ticket_id: (0.0, AGAIN_FIRST_S) for ticket_id in self._again}
        self.woken.set()

    def _later(self, ticket_id: str) -> None:
        _, before = self._again.get(ticket_id, (0.0, AGAIN_FIRST_S / 2))
        pause = min(before * 2, AGAIN_LAST_S)
        self._again[ticket_id] = (self._tools.clock.monotonic() + pause, pause)
        self.woken.set()

    async def _step(self, ticket_id: str, seen: Channel | None) -> Ticket | None:
        ticket = await self._tools.ledger.read(lambda connection: tickets.find(connection, ticket_id))
        if ticket is None:
            return None
        match ticket.state:
            case "queued":
                return ticket
            case "opening":
                return await self._open(ticket)
            case "deleted":
                return await self._delete(ticket)
            case _:
                return await self._align(ticket, seen)

    async def _open(self, ticket: Ticket) -> Ticket | None:
        permissions, _ = await self._permissions(ticket)
        try:
            channel_id, is_thread = await self._channels.create(ticket, permissions)
        except NoRoom:
            return await self._moved(ticket, ("opening",), "queued", "queued")
        except DiscordUnavailable:
            raise
        except DiscordPortError as error:
            reason = " ".join(filter(None, (error.message, error.hint)))[:_REASON_CHARACTERS]
            await self._moved(ticket, ("opening",), "deleted", "failed", reason=reason)
            raise
        opened = await self._moved(
            ticket,
            ("opening",),
            "open",
            "opened",
            channel_id=channel_id,
            is_thread=is_thread,
            last_at=self._tools.clock.now(),
        )
        if opened is not None and opened.state != "open":
            # It was given up meanwhile: nobody would find the channel again.
            await self._channels.delete(_with_channel(ticket, channel_id))
        return opened

    async def _align(self, ticket: Ticket, seen: Channel | None) -> Ticket | None:
        permissions, ending = await self._permissions(ticket)
        ended = {one.subject_id for one in ending}
        try:
            changed = await self._channels.align(ticket, permissions, ended=ended, seen=seen)
        except DiscordNotFound as error:
            if error.json_code != _UNKNOWN_CHANNEL:
                raise
            return await self._gone(ticket)
        except DiscordForbidden as error:
            # A channel that the master may not see: gone, or locked for it. Which, its record cannot know.
            log.warning("a ticket's channel is closed to the master", extra={"ticket": ticket.id, "why": error.message})
            raise
        settled: dict[str, TicketPermissionState] = {
            one.id: "granted" for one in permissions if one.state == "granting"
        }
        settled.update((one.id, "revoked") for one in ending)
        if settled:
            await self._tools.ledger.write(partial(_settle, self._tools, settled))
        if changed and not settled and seen is not None:
            self._put_right(ticket, changed)
        if ticket.state == "closing":
            return await self._moved(ticket, ("closing",), "closed", "closed")
        return ticket

    def _put_right(self, ticket: Ticket, changed: list[str]) -> None:
        """Tell of what was in a channel, and is on nobody's record."""
        told = ", ".join(changed)
        self._tools.publish(ticket, "put_right", detail=f"ticket {ticket.number}: {told}"[:400])
        self._tools.alerts.raise_alert(
            AlertLevel.WARNING,
            f"Permissions in ticket {ticket.number} were not as they should be",
            key=f"tickets:stray:{ticket.id}",
            text="Somebody else than the master changed them; they are put right again.",
            fields=(("What", told[:1_000]),),
            is_security=True,
        )

    async def _delete(self, ticket: Ticket) -> Ticket | None:
        if ticket.channel_id is None:
            return ticket
        await self._channels.delete(ticket)
        return await self._gone(ticket)

    async def _gone(self, ticket: Ticket) -> Ticket | None:
        """Write down that a ticket has no channel any more."""

        def write(connection: Connection) -> Ticket | None:
            now = self._tools.clock.now()
            ticket_permissions.end_of_ticket(connection, ticket.id, at=now, detail=_CHANNEL_GONE)
            values: dict[str, object] = {"state": "deleted", "channel_id": None, "closed_at": ticket.closed_at or now}
            if not ticket.reason:
                values["reason"] = _CHANNEL_GONE
            return tickets.change(connection, ticket.id, was=_ANY, at=now, **values)

        found = await self._tools.ledger.write(write)
        if found is not None:
            self._tools.publish(found, "deleted", detail=f"ticket {found.number}: {found.reason}")
            self.tell(found)
        self.woken.set()
        return found

    async def channel_gone(self, channel_id: int) -> None:
        """Write down that somebody deleted a channel, if it is a ticket's."""
        ticket = await self._tools.ledger.read(lambda connection: tickets.find_by_channel(connection, channel_id))
        self.woken.set()
        if ticket is None:
            return
        turn = self._turns.setdefault(ticket.id, asyncio.Lock())
        async with turn:
            if ticket.channel_id is not None:
                await self._gone(ticket)

    async def _permissions(self, ticket: Ticket) -> tuple[list[TicketPermission], list[TicketPermission]]:
        """Return the permissions that are in force or to be, and those that are to end."""
        found = await self._tools.ledger.read(
            lambda connection: ticket_permissions.of_ticket(connection, ticket.id, (*_IN_FORCE, "revoking"))
        )
        return [one for one in found if one.state in _IN_FORCE], [one for one in found if one.state == "revoking"]

    async def _moved(
        self, ticket: Ticket, was: Collection[str], state: TicketState, what: str, **values: object
    ) -> Ticket | None:
        """Write a new state down, tell of it, and return the ticket as it is."""

        def write(connection: Connection) -> tuple[Ticket | None, bool]:
            now = self._tools.clock.now()
            done = tickets.change(connection, ticket.id, was=was, at=now, state=state, **values)
            return done or tickets.find(connection, ticket.id), done is not None

        found, done = await self._tools.ledger.write(write)
        if found is not None and done:
            self._tools.publish(found, what)
            self.tell(found)
        return found

    def _complain(self, ticket_id: str, error: DiscordPortError) -> None:
        """Tell an operator what only he can mend."""
        if isinstance(error, DiscordUnavailable):
            log.info("a ticket waits for Discord", extra={"ticket": ticket_id, "why": error.message})
            return
        self._tools.alerts.raise_alert(
            AlertLevel.ERROR,
            "Something about tickets is refused by Discord",
            key=f"tickets:{getattr(error, 'missing', '') or error.json_code or error.status}",
            text=" ".join(filter(None, (error.message, error.hint)))[:1_500] + "\n`fleet tickets check` looks at all.",
        )


_UNKNOWN_CHANNEL = 10003
_ANY: tuple[TicketState, ...] = ("queued", "opening", "open", "closing", "closed", "deleted")


def _settle(tools: TicketTools, settled: dict[str, TicketPermissionState], connection: Connection) -> None:
    before: dict[TicketPermissionState, TicketPermissionState] = {"granted": "granting", "revoked": "revoking"}
    for permission_id, state in settled.items():
        was = (before[state],)
        ticket_permissions.change(connection, permission_id, was=was, at=tools.clock.now(), state=state)


def _with_channel(ticket: Ticket, channel_id: int) -> Ticket:
    return replace(ticket, channel_id=channel_id)
