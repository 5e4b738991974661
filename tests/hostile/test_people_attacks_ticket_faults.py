"""Discord that answers any one request about a ticket with an error: it is done later, once, and lets nobody stay."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from aiohttp import web

from handshake.messages import TicketResponse
from master.bot import calls
from sandbox import Sandbox
from tests.services.conftest import house_settings
from tests.services.people.ticket_house import TicketHouse, desk

__all__ = ["desk", "house_settings"]

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
_MOST_TRIES = 8


class Fault:
    """Answers one request, the ``at``-th from now on, as a Discord that is overrun."""

    def __init__(self, sandbox: Sandbox, at: int, status: int) -> None:
        self.sandbox, self.at, self.status, self.seen = sandbox, at, status, 0
        sandbox.faults.instead = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        self.seen += 1
        if self.seen != self.at:
            return None
        if self.status != 429:
            return web.json_response({"message": "upstream", "code": 0}, status=self.status)
        slow_down = {"message": "slow down", "retry_after": 500.0, "global": False}
        return web.json_response(slow_down, status=429, headers={"Retry-After": "500", "Via": "1.1 discord"})

    @property
    def was_hit(self) -> bool:
        return self.seen >= self.at


async def until_done(desk: TicketHouse, state: str, action: str, **fields: Any) -> TicketResponse:
    """Ask again, as a person would who is told to; wait for what the master goes on with by itself."""
    for _ in range(_MOST_TRIES):
        answer = await desk.atlas.asks(action, **fields)
        await desk.later(minutes=6)
        if answer.done:
            now = await desk.atlas.asks("list", ticket_id=answer.tickets[0].id)
            if now.code == state:
                return now
    raise AssertionError(f"{action} was never done: {answer}")


@pytest.mark.parametrize("status", [429])
async def test_discord_that_fails_at_any_request_of_a_tickets_life_holds_up_and_spoils_nothing(
    desk: TicketHouse, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # discord.py repeats a 500 by itself, and slowly; a broken gateway in front of Discord, 501, it does not.
    monkeypatch.setattr(calls, "_PAUSES_S", (0.0,))
    desk.update(requests_a_minute=10_000)
    failed = 0
    for at in itertools.count(1):
        fault = Fault(desk.sandbox, at, status)
        before = {channel.id for channel in desk.sandbox.world.channels.values() if channel.parent_id == desk.place.id}
        # Of the staff, who may open any number.
        opened = (await until_done(desk, "open", "open", actor_id=desk.tom.id, category="support")).tickets[0]
        made = {channel.id for channel in desk.sandbox.world.channels.values() if channel.parent_id == desk.place.id}
        assert made - before == {opened.channel_id}, "one ticket is one channel"
        await until_done(desk, "open", "claim", ticket_id=opened.id, actor_id=desk.sam.id)
        for _ in range(_MOST_TRIES):
            await desk.atlas.asks_for(opened.id, desk.max, actor_id=desk.sam.id)
            await desk.later(minutes=6)
            if desk.may(desk.max, opened) == "rw":
                break
        assert (desk.may(desk.sam, opened), desk.may(desk.max, opened)) == ("rw", "rw")
        await until_done(desk, "closed", "close", ticket_id=opened.id, actor_id=desk.sam.id)
        assert (desk.may(desk.tom, opened), desk.may(desk.max, opened)) == ("r", ""), "nobody stays inside"
        await until_done(desk, "deleted", "delete", ticket_id=opened.id, actor_id=desk.sam.id)
        assert opened.channel_id not in desk.sandbox.world.channels
        desk.sandbox.faults.instead = None
        if not fault.was_hit:
            break
        failed += 1
    print(f"{status} at each of {failed} requests")
    assert failed >= 15
