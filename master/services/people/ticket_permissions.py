"""Who is let into a ticket, on request of its node: the node names a person and a set of permissions, never bits.

Nodes hold neither Manage Roles nor Manage Channels: what they ask for is checked here, and done by the master.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.messages import Acknowledgement, TicketPermissionRequest, TicketPermissionResponse
from handshake.signing import Message
from master.errors import FleetError
from master.events import AlertButton, AlertLevel
from master.ledger.identifiers import new_ulid
from master.ledger.rows import ticket_permissions, tickets
from master.ledger.rows.records import Node, Ticket, TicketPermission, TicketPermissionState
from master.services.core.actors import Actor
from master.services.core.errors import DiscordUnavailable
from master.services.people.ticket_desk import ANSWER_WITHIN_S
from master.services.people.ticket_errors import NoSuchTicket, TicketRefused
from master.services.people.ticket_gate import TicketGate
from master.services.people.ticket_tools import TicketTools
from master.services.people.ticket_work import TicketWork
from master.services.people.tickets import Tickets
from master.services.trust.source import Source

log = logging.getLogger(__name__)

PREFIX = "t_perm"
"""What the custom ids of the buttons begin with: ``t_perm:grant:PERMISSION_ID``."""
MOST_ASKING = 20
"""Questions of one node that wait for an answer."""
ASKED_FOR = timedelta(hours=24)
"""How long a question waits for an answer."""
_LIVE: tuple[TicketPermissionState, ...] = ("asking", "granting", "granted")
_IN_FORCE: tuple[TicketPermissionState, ...] = ("granting", "granted")
_LINE_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was checked.

    Parameters
    ----------
    why_ask
        Why a person has to decide; empty if none has to.
    """

    ticket: Ticket
    body: TicketPermissionRequest
    why_ask: str


class TicketPermissions:
    """Grant and take back permissions in tickets."""

    def __init__(self, tools: TicketTools, gate: TicketGate, tickets: Tickets, work: TicketWork) -> None:
        self._tools, self._gate, self._tickets, self._work = tools, gate, tickets, work
        self._working: set[asyncio.Task[FleetError | None]] = set()

    async def handle(
        self, node: Node, body: TicketPermissionRequest, message: Message, source: Source
    ) -> TicketPermissionResponse | Acknowledgement:
        """Handle a node's request."""
        if not self._gate.is_verified(node.id):
            return Acknowledgement(order="verify_again")
        try:
            await self._gate.require(node, body.actor_id)
            ticket = await self._ticket(node, body)
            if body.action == "revoke":
                return await self._revoke(node, ticket, body)
            return await self._grant(node, await self._check(node, ticket, body))
        except TicketRefused as error:
            return TicketPermissionResponse(granted=False, code=error.why, reason=error.message[:_LINE_CHARACTERS])
        except FleetError as error:
            log.warning("a permission request could not be answered", extra={"node": node.name, "why": error.message})
            return TicketPermissionResponse(granted=False, code="unavailable", reason=error.message[:_LINE_CHARACTERS])

    async def _ticket(self, node: Node, body: TicketPermissionRequest) -> Ticket:
        try:
            return await self._tickets.get(body.ticket_id, node)
        except NoSuchTicket:
            self._tools.alerts.raise_alert(
                AlertLevel.WARNING,
                f"{node.name} asked for permissions in a ticket that is not its own",
                key=f"tickets:foreign:{node.id}",
                text="Nothing was granted. A node knows its tickets: this one is mistaken, or not itself.",
                node=node.name,
                is_security=True,
            )
            raise

    async def _check(self, node: Node, ticket: Ticket, body: TicketPermissionRequest) -> _Asked:
        """Check a request to let somebody in; also whether a person has to decide it.

        Raises
        ------
        TicketRefused
        """
        if ticket.state != "open":
            raise TicketRefused("not_open", f"ticket {ticket.number} is {ticket.state}")
        if ticket.is_thread and body.permission_set == "observer":
            raise TicketRefused("not_in_threads", "who is in a thread may write in it")
        if self._tools.is_own_bot(body.user_id):
            raise TicketRefused("is_a_bot", "the fleet's own bots have what they need in a ticket")
        roles = await self._tools.roles_of(body.user_id) if body.user_id else None
        if roles is None:
            raise TicketRefused("not_a_member", "that person is not on the server")
        category = self._tools.category_of(ticket)
        is_staff = self._tools.is_staff(category, body.user_id, roles)
        is_known = is_staff or body.user_id == ticket.author_id
        if body.permission_set in self._tools.settings().tickets.ask_for:
            why = f"the permission set {body.permission_set!r} is always asked for"
        elif node.flagged_at is not None:
            why = "the node is flagged"
        elif body.permission_set == "staff" and not is_staff:
            why = "the person is not of the staff"
        elif not is_known and not await self._tickets.is_staff(ticket, body.actor_id):
            why = "the person is neither the ticket's author nor staff, and nobody of the staff asked"
        else:
            why = ""
        return _Asked(ticket, body, why)

    async def _grant(self, node: Node, asked: _Asked) -> TicketPermissionResponse:
        now = self._tools.clock.now()
        most = timedelta(hours=self._tools.settings().tickets.most_hours)
        until = now + (min(timedelta(seconds=asked.body.for_s), most) if 0 < asked.body.for_s < 1e9 else most)
        new = TicketPermission(
            id=new_ulid(self._tools.clock),
            ticket_id=asked.ticket.id,
            channel_id=asked.ticket.channel_id or 0,
            subject_id=asked.body.user_id,
            subject_kind="user",
            permission_set=asked.body.permission_set,
            state="asking" if asked.why_ask else "granting",
            asked_by=f"node:{node.id}",
            at=now,
            until=until,
            changed_at=now,
            detail=asked.why_ask,
        )
        held = await self._tools.ledger.write(partial(_insert, new))
        if isinstance(held, TicketRefused):
            raise held
        if held.id == new.id:
            await self._note(asked.ticket, held, "asked" if asked.why_ask else "granted", f"node:{node.id}")
            if asked.why_ask:
                self._ask(node, asked.ticket, held)
        if held.state == "asking":
            reason = "a person decides it; you are told"
            return TicketPermissionResponse(granted=False, code="asking", reason=reason)
        return await self._carried_out(asked.ticket, held)

    async def _revoke(self, node: Node, ticket: Ticket, body: TicketPermissionRequest) -> TicketPermissionResponse:
        # Whom the staff let in, only the staff takes out, or they leave by themselves; 0 is the node.
        if body.actor_id not in (0, body.user_id) and not await self._tickets.is_staff(ticket, body.actor_id):
            raise TicketRefused("not_staff", f"<@{body.actor_id}> is not of the staff for {ticket.category}")
        now = self._tools.clock.now()

        def write(connection: Connection) -> tuple[list[TicketPermission], bool]:
            found = ticket_permissions.of_ticket(connection, ticket.id)
            mine = [one for one in found if one.subject_id == body.user_id]
            live = [one for one in mine if one.state in _LIVE]
            was_in = any(one.state in ("revoking", "revoked") for one in mine)
            return _end(connection, live, now, "the node asked"), was_in

        ended, was_in = await self._tools.ledger.write(write)
        if not ended and was_in:
            return TicketPermissionResponse(granted=False, code="revoked")
        if not ended:
            raise TicketRefused("not_granted", "that person has no permission in it that could be taken back")
        for one in ended:
            await self._note(ticket, one, "revoked", f"node:{node.id}")
        return await self._carried_out(ticket, ended[-1])

    async def _carried_out(self, ticket: Ticket, held: TicketPermission) -> TicketPermissionResponse:
        """Return the answer once it is done on Discord; it is ``waiting`` if that takes long."""
        until = None if held.until is None else held.until.timestamp()
        granted = held.state in _IN_FORCE
        if held.state == "granted":
            return TicketPermissionResponse(granted=True, code="granted", until=until)
        task = asyncio.get_running_loop().create_task(self.work(ticket.id), name="ticket permission")
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        done, _ = await asyncio.wait({task}, timeout=ANSWER_WITHIN_S)
        if not done:
            return TicketPermissionResponse(
                granted=False, code="waiting", reason="it is done as soon as Discord is there"
            )
        trouble = task.result()
        if isinstance(trouble, DiscordUnavailable):
            return TicketPermissionResponse(granted=False, code="waiting", reason="it is done once Discord is back")
        if trouble is not None:
            reason = " ".join(filter(None, (trouble.message, trouble.hint)))[:_LINE_CHARACTERS]
            return TicketPermissionResponse(granted=False, code="forbidden", reason=reason)
        if not granted:
            return TicketPermissionResponse(granted=False, code="revoked")
        return TicketPermissionResponse(granted=True, code="granted", until=until)

    async def work(self, ticket_id: str) -> FleetError | None:
        """Carry out what is on record of a ticket; returns what went wrong, which is tried again."""
        try:
            await self._work.do(ticket_id)
        except FleetError as error:
            return error
        return None

    async def close(self) -> None:
        """Cut off what is under way; the next master goes on with it."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    # A person decides

    def _ask(self, node: Node, ticket: Ticket, permission: TicketPermission) -> None:
        """Ask in LOG_CHANNEL, with buttons that work for the next master too."""
        fields = (
            ("Ticket", f"{ticket.number} <#{ticket.channel_id}>"),
            ("Who", f"<@{permission.subject_id}>"),
            ("As", permission.permission_set),
            ("Until", "the ticket's end" if permission.until is None else _moment(permission.until)),
            ("Why a person is asked", permission.detail),
        )
        self._tools.alerts.raise_alert(
            AlertLevel.WARNING,
            f"{node.name} asks to let somebody into ticket {ticket.number}",
            key=f"{PREFIX}:{permission.id}",
            text=f"`fleet tickets grant {permission.id}` or `fleet tickets refuse {permission.id}` do it too.",
            node=node.name,
            fields=fields,
            buttons=(
                AlertButton(label="Let in", custom_id=f"{PREFIX}:grant:{permission.id}", style="primary"),
                AlertButton(label="Refuse", custom_id=f"{PREFIX}:refuse:{permission.id}", style="danger"),
            ),
        )

    async def decide(self, permission_id: str, *, grant: bool, actor: str) -> TicketPermission:
        """Grant or refuse what a node asked for.

        Raises
        ------
        TicketRefused
            There is no such question, or it is answered already.
        """
        now = self._tools.clock.now()

        def write(connection: Connection) -> tuple[TicketPermission | None, Ticket | None, bool]:
            found = ticket_permissions.find(connection, permission_id)
            ticket = None if found is None else tickets.find(connection, found.ticket_id)
            if found is None or ticket is None:
                return None, None, False
            state = "granting" if grant and ticket.state == "open" else "refused"
            done = ticket_permissions.change(
                connection, permission_id, was=("asking",), at=now, state=state, decided_by=actor[:120]
            )
            return done or found, ticket, done is not None

        found, ticket, done = await self._tools.ledger.write(write)
        if found is None or ticket is None:
            raise NoSuchTicket("no_such_request", "there is no such request", hint="`/ticket permissions` lists them")
        if not done:
            by = f" by {found.decided_by}" if found.decided_by else ""
            raise TicketRefused("answered", f"it is {found.state} already{by}")
        await self._note(ticket, found, "granted" if found.state == "granting" else "refused", actor)
        if found.state == "granting":
            await self.work(ticket.id)
        self._work.tell(ticket)
        if grant and found.state == "refused":
            raise TicketRefused("not_open", f"ticket {ticket.number} is {ticket.state} by now: nobody was let in")
        return await self._tools.ledger.read(lambda connection: ticket_permissions.find(connection, found.id)) or found

    async def revoke(self, permission_id: str, *, actor: str) -> TicketPermission:
        """Take a permission back.

        Raises
        ------
        TicketRefused
        """
        now = self._tools.clock.now()
        ended = await self._tools.ledger.write(
            lambda connection: ticket_permissions.change(
                connection, permission_id, was=_IN_FORCE, at=now, state="revoking", detail=f"by {actor}"[:400]
            )
        )
        if ended is None:
            raise TicketRefused("not_granted", "it is not in force", hint="`fleet tickets permissions` lists them")
        ticket = await self._tickets.get(ended.ticket_id)
        await self._note(ticket, ended, "revoked", actor)
        await self.work(ticket.id)
        self._work.tell(ticket)
        return await self._tools.ledger.read(lambda connection: ticket_permissions.find(connection, ended.id)) or ended

    # Time

    async def end_overdue(self) -> None:
        """Take back what has lasted its time, and give up questions that nobody answered."""
        now = self._tools.clock.now()

        def write(connection: Connection) -> list[TicketPermission]:
            live = ticket_permissions.in_states(connection, _LIVE)
            over = [one for one in live if one.until is not None and one.until <= now]
            over += [one for one in live if one.state == "asking" and one.at + ASKED_FOR <= now and one not in over]
            return _end(connection, over, now, "its time is over")

        found = await self._tools.ledger.read(lambda connection: ticket_permissions.in_states(connection, _LIVE))
        if not any(
            (one.until is not None and one.until <= now) or (one.state == "asking" and one.at + ASKED_FOR <= now)
            for one in found
        ):
            return
        for ended in await self._tools.ledger.write(write):
            ticket = await self._tickets.get(ended.ticket_id)
            await self._note(ticket, ended, "revoked" if ended.state == "revoking" else "refused", "system:time")
            await self.work(ticket.id)
            self._work.tell(ticket)

    async def next_end(self) -> datetime | None:
        """Return when the next permission has lasted its time; None if none is in force."""
        found = await self._tools.ledger.read(lambda connection: ticket_permissions.in_states(connection, _LIVE))
        return min((one.until for one in found if one.until is not None), default=None)

    async def _note(self, ticket: Ticket, permission: TicketPermission, what: str, actor: str) -> None:
        """Tell of a decision, and audit it: who let whom in is what is asked later."""
        detail = f"ticket {ticket.number}: {permission.subject_id} as {permission.permission_set}"
        self._tools.publish(ticket, what, actor=actor, detail=detail)
        if actor.startswith("node:"):
            by = Actor(face="node", identity=ticket.node_id, name=self._tools.directory.name_of(ticket.node_id))
            async with self._tools.auditor.action(by, f"ticket_{what}", node_id=ticket.node_id) as entry:
                entry.detail = detail


def _insert(new: TicketPermission, connection: Connection) -> TicketPermission | TicketRefused:
    """Insert a permission in place of what its person has; returns that if it is the same, and lasts as long."""
    live = ticket_permissions.of_ticket(connection, new.ticket_id, _LIVE)
    mine = [one for one in live if one.subject_id == new.subject_id]
    for one in mine:
        is_same = one.permission_set == new.permission_set
        if is_same and (one.state == "asking" or new.state == "asking" or one.until is None):
            return one
        if is_same and one.until is not None and new.until is not None and one.until >= new.until:
            return one
    asking = [one for one in ticket_permissions.in_states(connection, ("asking",)) if one.asked_by == new.asked_by]
    if new.state == "asking" and len(asking) >= MOST_ASKING:
        return TicketRefused("too_many_asking", f"{len(asking)} requests wait for an answer already")
    for one in mine:
        # Without a deed of its own: what takes its place is written over it.
        if new.state != "asking":
            ticket_permissions.change(
                connection, one.id, was=(one.state,), at=new.at, state="revoked", detail="another took its place"
            )
    tickets_row = tickets.find(connection, new.ticket_id)
    if tickets_row is None or tickets_row.state != "open":
        return TicketRefused("not_open", "the ticket was closed meanwhile")
    held = replace(new, channel_id=tickets_row.channel_id or 0)
    ticket_permissions.insert(connection, held)
    return held


def _end(connection: Connection, over: list[TicketPermission], now: datetime, detail: str) -> list[TicketPermission]:
    ended = []
    for one in over:
        state = "refused" if one.state == "asking" else "revoking"
        done = ticket_permissions.change(connection, one.id, was=(one.state,), at=now, state=state, detail=detail)
        if done is not None:
            ended.append(done)
    return ended


def _moment(at: datetime) -> str:
    return f"<t:{int(at.timestamp())}:f>"
