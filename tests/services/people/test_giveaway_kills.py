"""A master that is killed before or after any step of a giveaway, and Discord that answers any request with an error.

Whoever starts next finishes it: one draw, each winner told and paid once, and every file fits.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from master.bot import calls
from tests.services.people.giveaway_scene import HOUR, GiveawayMaster, GiveawayScene

LONG_ENOUGH = 60.0
"""Until what failed is tried again."""


class Killed(BaseException):
    """The process ends here."""


class Deadline:
    """Counts steps, and kills at one of them: before it is carried out, or right after."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.steps = at, after, 0
        self.dead = False

    async def carry_out(self, act: Callable[[], Awaitable[Any]]) -> Any:
        if self.dead:
            raise Killed
        self.steps += 1
        mine = self.steps == self.at
        if mine and not self.after:
            self.dead = True
            raise Killed
        result = await act()
        if mine:
            self.dead = True
            raise Killed
        return result


class Mortal:
    """Passes calls on to a real part, and counts those that are steps."""

    def __init__(self, real: Any, deadline: Deadline, *, steps: frozenset[str] | None = None) -> None:
        self._real, self._deadline, self._steps = real, deadline, steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if (self._steps is not None and name not in self._steps) or not callable(found):
            return found

        async def act(*arguments: Any, **named: Any) -> Any:
            return await self._deadline.carry_out(lambda: found(*arguments, **named))

        return act


def mortal_master(fair: GiveawayScene, at: int, *, after: bool) -> tuple[GiveawayMaster, Deadline]:
    deadline = Deadline(at, after=after)
    ledger = Mortal(fair.ledger, deadline, steps=frozenset({"write"}))
    return fair.master(ledger=ledger, port=Mortal(fair.port, deadline)), deadline


def _code_of(fair: GiveawayScene, user_id: int) -> str:
    """Return the code of the latest message to a winner."""
    person = next(person for person in fair.people if person.id == user_id)
    return str(fair.direct(person)[-1].embeds[0]["description"].split("```")[1].strip())


@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["before", "after"])
async def test_a_kill_at_any_step_of_the_draw_is_made_up_for(fair: GiveawayScene, *, after: bool) -> None:
    killed = 0
    for at in itertools.count(1):
        fair.new_channel()
        first = fair.master()
        view = await fair.start(first, winners=2, prize_tier="pro", prize=f"mug {at}")
        people = await fair.enter(first, view.id, 3)
        drawn_before = len(await fair.audited("giveaway_draw"))
        fair.clock.turn(HOUR)
        master, deadline = mortal_master(fair, at, after=after)
        try:
            await master.giveaways.keeper.step()
        except Killed:
            killed += 1
        fair.clock.turn(LONG_ENOUGH)
        second = fair.master()
        await second.giveaways.keeper.step()
        details = await fair.details(view.id)
        assert (details.giveaway.state, len(details.giveaway.won_by)) == ("drawn", 2)
        assert set(details.giveaway.won_by) < {person.id for person in people}
        assert len(await fair.audited("giveaway_draw")) == drawn_before + 1
        # Discord posts what has the same nonce once.
        assert len(fair.announcements()) == 1
        assert {file.problems for file in fair.files()} == {()}
        for winner in details.giveaway.won_by:
            code = _code_of(fair, winner)
            await second.licences.redeem(code, user_id=winner, guild_id=fair.guild.id, actor=fair.moderator)
        if not deadline.dead:
            break
    print(f"killed {'after' if after else 'before'} each of {killed} steps")
    assert killed >= 10


async def test_a_kill_at_any_step_of_the_start_leaves_one_message_or_none(fair: GiveawayScene) -> None:
    killed = 0
    for step in itertools.count(2):
        at, after = step // 2, bool(step % 2)
        fair.new_channel()
        before = len(fair.channel.messages)
        master, deadline = mortal_master(fair, at, after=after)
        try:
            await fair.start(master)
        except Killed:
            killed += 1
        fair.clock.turn(10)
        await fair.master().giveaways.keeper.step()
        (newest, *_) = (await master_list(fair))[:1] or [None]
        posted = fair.channel.messages[before:]
        if newest is None or newest.state != "open":
            assert posted == []
        else:
            assert [message.id for message in posted] == [newest.message_id]
            await fair.master().giveaways.cancel(fair.guild.id, newest.id, fair.moderator, why="")
        if not deadline.dead:
            break
    assert killed >= 4


async def master_list(fair: GiveawayScene) -> list[Any]:
    return list((await fair.master().giveaways.records.list(fair.guild.id, 1)).giveaways)


@pytest.mark.parametrize("status", [429, pytest.param(500, marks=pytest.mark.slow)])
async def test_discord_that_fails_at_any_request_holds_up_and_spoils_nothing(
    fair: GiveawayScene, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_PAUSES_S", (0.0,))
    failed = 0
    for at in itertools.count(1):
        fair.new_channel()
        first = fair.master()
        view = await fair.start(first, winners=2, prize_tier="pro")
        await fair.enter(first, view.id, 3)
        fair.clock.turn(HOUR)
        requests = itertools.count(1)

        async def instead(request: web.Request, at: int = at, requests: Any = requests) -> web.StreamResponse | None:
            if next(requests) != at:
                return None
            if status == 500:
                # discord.py repeats a 500 by itself, and slowly: a broken gateway in front of Discord it does not.
                return web.json_response({"message": "upstream", "code": 0}, status=501)
            return web.json_response(
                {"message": "slow down", "retry_after": 500.0, "global": False},
                status=429,
                headers={"Retry-After": "500", "Via": "1.1 discord"},
            )

        fair.sandbox.faults.instead = instead
        await fair.master().giveaways.keeper.step()
        fair.sandbox.faults.instead = None
        was_hit = next(requests) > at
        failed += was_hit
        fair.clock.turn(LONG_ENOUGH)
        master = fair.master()
        await master.giveaways.keeper.step()
        details = await fair.details(view.id)
        assert (details.giveaway.state, len(details.giveaway.won_by)) == ("drawn", 2)
        assert len(fair.announcements()) == 1
        for winner in details.giveaway.won_by:
            await master.giveaways.claim(fair.guild.id, view.id, winner)
        if not was_hit:
            break
    print(f"{status} at each of {failed} requests")
    assert failed >= 6
