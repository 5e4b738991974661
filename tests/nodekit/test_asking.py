"""A node's question to its master: sent until it is taken, once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from handshake.boot import BootDocument
from handshake.messages import (
    Acknowledgement,
    Body,
    Heartbeat,
    TicketRequest,
    TicketResponse,
    VerificationRequest,
    VerificationResponse,
)
from handshake.redaction import Secret
from handshake.signing import NodeKey, Signer, Verifier
from handshake.sockets import Peer
from handshake.transports.local import LocalServer
from nodekit.link import MasterAway, NodeFacts, NodeLink, NotAnswered

pytestmark = pytest.mark.timeout(60)
KEY = NodeKey("N1", 1, Secret(b"k" * 32))


class Master:
    """Answers questions as the test has it: with a proof asked for first, or not at all."""

    def __init__(self, path: Path, *, asks_again: int = 0, silent: bool = False) -> None:
        self.taken: list[str] = []
        self.two_taken = asyncio.Event()
        self.verifications = 0
        self._asks_again, self._silent = asks_again, silent
        self._verifier = Verifier(lambda _node, _epoch: KEY, clock=time.time, replay_guard=None, skew_s=None)
        self._signer = Signer(KEY, from_master=True, clock=time.time)
        self.server = LocalServer(path, self._take)

    def _take(self, text: str, peer: Peer) -> str | None:
        message = self._verifier.open(text)
        answer: Body | None = None
        if isinstance(message.body, VerificationRequest):
            self.verifications += 1
            answer = VerificationResponse(accepted=True)
        elif isinstance(message.body, TicketRequest):
            self.taken.append(message.body.ticket_id)
            if len(self.taken) == 2:
                self.two_taken.set()
            if self._asks_again:
                self._asks_again -= 1
                answer = Acknowledgement(order="verify_again")
            elif not self._silent:
                answer = TicketResponse(done=True, code=message.body.ticket_id)
        return None if answer is None else self._signer.sign(answer, in_reply_to=message.token_id)


@asynccontextmanager
async def linked(path: Path) -> AsyncIterator[NodeLink]:
    boot = BootDocument(node_id="N1", name="atlas", token="", key=b"k" * 32, key_epoch=1, socket_path=str(path))
    link = NodeLink(
        boot,
        NodeFacts(licence="L", version="1", bot_user_id=1, library="discord.py"),
        describe=lambda: Heartbeat(uptime_s=1.0),
        post_to_channel=None,
        on_refused=lambda _reason: None,
    )
    running = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_many_at_a_time_are_answered_each_with_its_own_also_by_a_master_that_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "nodes.sock"
    first = Master(path)
    await first.server.start()
    async with linked(path) as link:
        assert await link.ask(TicketRequest("list", ticket_id="one")) == TicketResponse(done=True, code="one")
        await first.server.close()
        waiting = [asyncio.create_task(link.ask(TicketRequest("list", ticket_id=str(n)))) for n in range(50)]
        await asyncio.sleep(0)
        second = Master(path, asks_again=1)
        await second.server.start()
        answers = await asyncio.gather(*waiting)
        assert [answer for answer in answers] == [TicketResponse(done=True, code=str(n)) for n in range(50)]
        assert len(second.taken) == 51
        assert second.verifications >= 1
        await second.server.close()


async def test_what_is_not_answered_is_not_sent_twice(tmp_path: Path) -> None:
    path = tmp_path / "nodes.sock"
    master = Master(path, silent=True)
    await master.server.start()
    async with linked(path) as link:
        await asyncio.wait_for(link.verified.wait(), 10)
        with pytest.raises(NotAnswered, match="took it"):
            await link.ask(TicketRequest("open", ticket_id="one"), within_s=0.5)
        assert master.taken == ["one"]
    await master.server.close()


async def test_a_master_that_dies_over_a_question_is_asked_again_only_where_that_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "nodes.sock"
    first = Master(path, silent=True)
    await first.server.start()
    async with linked(path) as link:
        await asyncio.wait_for(link.verified.wait(), 10)
        once = asyncio.create_task(link.ask(TicketRequest("open", ticket_id="one")))
        twice = asyncio.create_task(link.ask(TicketRequest("list", ticket_id="two"), again=True))
        await asyncio.wait_for(first.two_taken.wait(), 10)
        await first.server.close()
        with pytest.raises(NotAnswered, match="the master closed the connection"):
            await asyncio.wait_for(once, 5)
        second = Master(path)
        await second.server.start()
        assert await twice == TicketResponse(done=True, code="two")
        assert (first.taken, second.taken) == (["one", "two"], ["two"])
        await second.server.close()


async def test_a_master_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    async with linked(tmp_path / "nodes.sock") as link:
        with pytest.raises(MasterAway, match="not accept this node yet"):
            await link.ask(TicketRequest("list"), within_s=0.2)
        link.verified.set()
        with pytest.raises(MasterAway, match=r"nodes\.sock"):
            await link.ask(TicketRequest("list"), within_s=0.3)
