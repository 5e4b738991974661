"""A node that turned on its master, with its real key, over the real socket: what it gets, and what not.

Whatever it sends, nobody gets into a channel who was not checked, nothing but named sets of permissions is written, and
no ticket of another node changes. ``FLEET_FUZZ`` multiplies the rounds.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from handshake.messages import (
    Acknowledgement,
    Body,
    TicketAction,
    TicketPermissionRequest,
    TicketPermissionResponse,
    TicketRequest,
    TicketResponse,
    TicketView,
)
from handshake.signing import Signer
from handshake.sockets import Peer
from handshake.transports.local import LocalServer
from master.ledger.rows import handshake_events, licences, ticket_permissions
from master.ledger.rows.records import LicenceState
from master.services.people.ticket_sets import WRITTEN
from master.services.trust.source import Source
from sandbox import permissions
from tests.hostile.attacker import Attacker
from tests.hostile.effort import rounds
from tests.services.conftest import house_settings
from tests.services.people.ticket_house import TicketHouse, TicketNode, desk

__all__ = ["desk", "house_settings"]

pytestmark = pytest.mark.timeout(120)


class Line:
    """A connection to the master's socket, that says anything, and reads what is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, text: str, *, wait_s: float = 20.0) -> str | None:
        """Send a line, and return the answer; None if the master hung up, or has none to give."""
        self.writer.write(text.encode() + b"\n")
        try:
            async with asyncio.timeout(wait_s):
                return (await self.reader.readline()).decode().strip() or None
        except TimeoutError:
            return None


class Socket:
    """The master's socket for nodes."""

    def __init__(self, desk: TicketHouse, path: Path) -> None:
        def handle(text: str, peer: Peer) -> Any:
            return desk.house.services.reception.take(text, Source(transport="local", pid=peer.pid))

        self.path, self.server = path, LocalServer(path, handle)

    async def line(self) -> Line:
        return Line(*await asyncio.open_unix_connection(str(self.path)))


@pytest.fixture
async def socket(desk: TicketHouse, tmp_path: Path) -> AsyncIterator[Socket]:
    opened = Socket(desk, tmp_path / "nodes.sock")
    await opened.server.start()
    yield opened
    await opened.server.close()


async def asks(line: Line, node: TicketNode, body: Body) -> Any:
    answer = await line.says(node.signer.sign(body))
    return None if answer is None else node.reader.open(answer).body


def request(ticket: TicketView, user_id: int, **fields: Any) -> TicketPermissionRequest:
    return TicketPermissionRequest(ticket_id=ticket.id, user_id=user_id, action=fields.pop("action", "grant"), **fields)


async def let_in(desk: TicketHouse) -> int:
    """Return how many permissions were ever given."""
    return len(await desk.house.services.ledger.read(lambda c: ticket_permissions.recent(c, limit=1_000)))


async def test_another_nodes_ticket_is_none_and_asking_for_it_is_told(desk: TicketHouse, socket: Socket) -> None:
    opened, line = await desk.borealis.opens(desk.eve), await socket.line()
    answer = await asks(line, desk.atlas, request(opened, desk.max.id, actor_id=desk.sam.id))
    assert (answer.granted, answer.code) == (False, "not_your_ticket")
    invented = await asks(line, desk.atlas, replace(request(opened, desk.max.id), ticket_id="01NOTHING"))
    # The same words: nobody learns which tickets there are.
    assert invented == answer
    assert await let_in(desk) == 0
    assert [one.title for one in desk.alerts if one.key == f"tickets:foreign:{desk.atlas.node.id}"]


async def test_an_administrator_cannot_be_asked_for(desk: TicketHouse, socket: Socket) -> None:
    opened = await desk.atlas.opens(desk.eve)
    attacker = Attacker(time.time, key=desk.atlas.key, other=desk.borealis.key)
    genuine = msgspec.to_builtins(request(opened, desk.max.id))
    for change in (
        {"permission_set": "administrator"},
        {"permission_set": "8"},
        {"allow": 8},
        {"permissions": 8},
        {"permission_set": ["staff", "administrator"]},
        {"for_s": -1},
        {"user_id": -1},
        {"user_id": 2**70},
    ):
        session = {"session": desk.atlas.signer.session, "seq": 1_000 + len(str(change))}
        text = attacker.assemble({"typ": "ticket_permission_request"}, {"body": genuine | change, **session})
        line = await socket.line()
        assert await line.says(text, wait_s=0.2) is None, change
    assert await let_in(desk) == 0
    outcomes = await desk.house.services.ledger.read(lambda c: {one.outcome for one in handshake_events.recent(c)})
    assert "malformed" in outcomes


async def test_replayed_unsigned_and_stolen_requests_do_nothing(desk: TicketHouse, socket: Socket) -> None:
    opened, line = await desk.atlas.opens(desk.eve), await socket.line()
    genuine = desk.atlas.signer.sign(request(opened, desk.max.id, actor_id=desk.sam.id))
    assert await line.says(genuine)
    assert (await asks(line, desk.atlas, request(opened, desk.max.id, action="revoke"))).code == "revoked"
    held = await let_in(desk)
    # A replay would let him in again.
    assert await (await socket.line()).says(genuine, wait_s=0.2) is None
    head, body, seal = desk.atlas.signer.sign(request(opened, desk.max.id, actor_id=desk.sam.id)).split(".")
    foreign = Signer(
        replace_key(desk.borealis.key, desk.atlas.node.id), from_master=False, clock=time.time,
        session=desk.atlas.signer.session,
    )  # fmt: skip
    for text in (f"{head}.{body}.", f"{head}.{body}.{seal[::-1]}", foreign.sign(request(opened, desk.max.id))):
        assert await (await socket.line()).says(text, wait_s=0.2) is None
    assert await let_in(desk) == held
    assert desk.may(desk.max, opened) == ""


def replace_key(key: Any, node_id: str) -> Any:
    from dataclasses import replace as changed

    return changed(key, node_id=node_id)


@pytest.mark.parametrize("way", ["revoked", "suspended", "expired", "process gone"])
async def test_what_has_no_licence_or_no_process_any_more_lets_nobody_in(
    desk: TicketHouse, socket: Socket, way: str
) -> None:
    opened, line, services = await desk.atlas.opens(desk.eve), await socket.line(), desk.house.services
    if way == "revoked":
        await services.revocation.revoke(desk.atlas.node)
    elif way in ("suspended", "expired"):
        found = await services.ledger.read(lambda c: licences.newest_of_node(c, desk.atlas.node.id))
        assert found is not None
        state = LicenceState.SUSPENDED if way == "suspended" else found.state
        ended = replace(found, state=state, expires_at=desk.clock.now() if way == "expired" else None)
        await services.ledger.write(lambda c: licences.change(c, found, ended))
    else:
        await services.supervisor.stop_all()
    answer = await asks(line, desk.atlas, request(opened, desk.max.id, actor_id=desk.sam.id))
    if way in ("suspended", "expired"):
        assert (answer.granted, answer.code) == (False, "licence")
    else:
        assert answer == Acknowledgement(order="verify_again") or not getattr(answer, "granted", True)
    assert await let_in(desk) == 0
    assert desk.may(desk.max, opened) == ""


async def test_for_a_flagged_node_a_person_decides_everything(desk: TicketHouse, socket: Socket) -> None:
    opened, line, services = await desk.atlas.opens(desk.eve), await socket.line(), desk.house.services
    services.directory.update(
        desk.atlas.node.id, lambda node: replace(node, flagged_at=desk.clock.now(), flag_reason="replayed")
    )
    answer = await asks(line, desk.atlas, request(opened, desk.max.id, actor_id=desk.sam.id))
    assert (answer.granted, answer.code) == (False, "asking")
    (held,) = await desk.permissions_in(opened)
    assert (held.state, held.detail) == ("asking", "the node is flagged")


async def test_the_master_is_not_locked_out_of_a_ticket(desk: TicketHouse, socket: Socket) -> None:
    opened, line = await desk.atlas.opens(desk.eve), await socket.line()
    for bot_id in (desk.bot.id, desk.atlas.node.bot_user_id, desk.borealis.node.bot_user_id):
        answer = await asks(line, desk.atlas, request(opened, bot_id, permission_set="observer", actor_id=desk.sam.id))
        assert (answer.granted, answer.code) == (False, "is_a_bot")
        assert (await desk.atlas.asks("open", actor_id=bot_id, category="support")).code == "not_a_member"
    assert desk.may(desk.bot, opened) == "rw"


@pytest.mark.slow
async def test_a_thousand_requests_are_sixty(desk: TicketHouse, socket: Socket) -> None:
    desk.update(requests_a_minute=60)
    other = await desk.borealis.opens(desk.eve)
    opened, line = await desk.atlas.opens(desk.eve), await socket.line()
    codes: Counter[str] = Counter()
    began = time.monotonic()
    for _ in range(1_000):
        answer = await asks(line, desk.atlas, request(opened, desk.max.id, permission_set="staff"))
        codes[answer.code] += 1
    print(f"1,000 requests in {time.monotonic() - began:.1f} s: {dict(codes)}")
    assert codes["too_often"] == 1_000 - 59  # and one opened the ticket
    assert codes["asking"] == 59
    assert len(await desk.permissions_in(opened)) == 1
    # Others are not held up by it.
    assert (await desk.borealis.asks("list", ticket_id=other.id)).done


@pytest.mark.slow
async def test_questions_of_one_node_are_bounded(desk: TicketHouse, socket: Socket) -> None:
    opened, line = await desk.atlas.opens(desk.eve), await socket.line()
    codes: Counter[str] = Counter()
    for number in range(25):
        person = desk.sandbox.create_human(f"crowd{number}")
        desk.guild.add_member(person)
        codes[(await asks(line, desk.atlas, request(opened, person.id))).code] += 1
    assert codes == {"asking": 20, "too_many_asking": 5}


ACTIONS: tuple[TicketAction, ...] = (
    *("categories", "open", "claim", "release", "transfer", "priority", "topic", "touch", "close", "reopen", "delete"),
    "list",
)


async def test_whatever_a_node_says_only_who_was_checked_is_let_in(desk: TicketHouse, socket: Socket) -> None:
    chance = random.Random(15)  # noqa: S311 - a fuzzer repeats itself
    desk.update(requests_a_minute=10_000)
    foreign = await desk.borealis.opens(desk.max)
    before = await desk.ticket(foreign)
    known = [await desk.atlas.opens(desk.eve)]
    ids = [foreign.id, "", "01NOTHING", "' OR 1=1 --", "0" * 100]
    people = [*(one.id for one in desk.people.values()), 0, 1, 2**62, desk.bot.id, desk.atlas.node.bot_user_id]
    entitled = {
        desk.ada.id,
        desk.bot.id,
        desk.atlas.node.bot_user_id,
        desk.eve.id,
        desk.sam.id,
        desk.tom.id,
        desk.max.id,
    }
    line, codes = await socket.line(), Counter[str]()
    for _ in range(rounds(150)):
        # Often another node's: that is what must not work.
        ticket_id = foreign.id if chance.random() < 0.25 else chance.choice([*(one.id for one in known), *ids])
        person, other = chance.choice(people), chance.choice(people)
        if chance.random() < 0.4:
            body: Body = TicketPermissionRequest(
                ticket_id=ticket_id,
                user_id=person,
                action=chance.choice(("grant", "revoke")),
                permission_set=chance.choice(("participant", "observer", "staff")),
                for_s=chance.choice((0.0, 1.0, 1e12)),
                actor_id=other,
            )
        else:
            body = TicketRequest(
                action=chance.choice(ACTIONS),
                ticket_id=ticket_id,
                actor_id=person,
                subject_id=other,
                category=chance.choice(("support", "borealis-only", "nothing", "")),
                text=chance.choice(("urgent", "", "<@&1> @everyone", "\0\x1b[31m", "x" * 400)),
                answers=("x" * 1_000,) * chance.randrange(5),
            )
        answer = await asks(line, desk.atlas, body)
        assert isinstance(answer, TicketResponse | TicketPermissionResponse), body
        codes[answer.code] += 1
        if isinstance(answer, TicketResponse) and answer.code == "open" and answer.tickets[0].id not in ids:
            known.append(answer.tickets[0])
    print(f"what became of them: {dict(codes)}")
    assert await desk.ticket(foreign) == before
    assert {"not_your_ticket", "not_staff"} <= set(codes)
    # Nothing that it says locks the master out, or makes it ask Discord for what it may not do.
    assert not {"forbidden", "refused", "unavailable", "waiting"} & set(codes)
    for channel in desk.sandbox.world.channels.values():
        if channel.parent_id != desk.place.id or channel.id == foreign.channel_id:
            continue
        for overwrite in channel.overwrites.values():
            assert overwrite.type == 0 or overwrite.id in entitled, "somebody is in it who is not on the server"
            assert not (overwrite.allow | overwrite.deny) & ~WRITTEN
            assert not overwrite.allow & (permissions.ADMINISTRATOR | permissions.MANAGE_ROLES)
