"""Attacks on giveaways: two masters at once, people who leave in crowds, a config that changed, a kill that lasts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from aiohttp import web
from msgspec import structs

from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.errors import LedgerUnavailable
from master.services.people import giveaway_records
from master.services.people.giveaway_draw import Draw, NotADraw, check, document, entries_hash, pick
from master.services.people.giveaway_rules import Entrant
from sandbox import Person
from tests.hostile.effort import rounds
from tests.services.people.conftest import fair
from tests.services.people.giveaway_scene import HOUR, GiveawayMaster, GiveawayScene, label_of, words_of
from tests.services.people.test_giveaway_kills import Killed, mortal_master

__all__ = ["fair"]

pytestmark = pytest.mark.timeout(120)
_MUCH_LATER = 2 * HOUR
"""By then Discord has forgotten every nonce."""


async def test_of_two_draws_of_one_giveaway_at_once_one_is_written(fair: GiveawayScene) -> None:
    one, other = fair.master(), fair.master()
    view = await fair.start(one, winners=2)
    people = await fair.enter(one, view.id, 6)
    open_one = await one.giveaways.records.find(0, view.id)
    begun = await asyncio.gather(*(master.giveaways._drawing.begin(open_one) for master in (one, other, one)))
    assert sorted(begun) == [False, False, True]
    closed = await one.giveaways.records.find(0, view.id)
    drawn = await asyncio.gather(*(master.giveaways._drawing.draw(closed) for master in (one, other, one)))
    assert sorted(drawn) == [False, False, True]
    found = await one.giveaways.records.find(0, view.id)
    winners = await one.giveaways._drawing.winners_of(found)
    assert len(winners) == 2
    vacated: Any = [(winners[0], "replaced")]
    again = (master.giveaways._drawing.draw_again(found, vacated, why="x") for master in (one, other, one))
    assert sorted(await asyncio.gather(*again)) == [False, False, True]
    assert len(await fair.audited("giveaway_draw")) == 2
    won = [winner.user_id for winner in (await fair.details(view.id)).winners]
    assert len(won) == len(set(won)) == 3
    assert set(won) <= {person.id for person in people}


async def test_an_end_is_not_held_up_by_another_giveaway_that_discord_lets_wait(fair: GiveawayScene) -> None:
    master = fair.master()
    slow = await fair.start(master, prize="slow")
    await fair.enter(master, slow.id, 1)
    slow_channel = fair.channel
    fair.new_channel()
    quick = await fair.start(master, prize="quick", duration_s=HOUR + 60)
    await fair.enter(master, quick.id, 1)
    asked, answers = asyncio.Event(), asyncio.Event()

    async def instead(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith(f"/messages/{slow.message_id}"):
            asked.set()
            await answers.wait()
        return None

    fair.sandbox.faults.instead = instead
    fair.clock.turn(HOUR)
    running = asyncio.create_task(master.giveaways.run())
    async with asyncio.timeout(60):
        await asked.wait()
        fair.clock.turn(61)
        master.giveaways.keeper.look_again()
        await fair.channel.wait_for_message(lambda message: bool(message.attachments), timeout_s=50)
        assert (await fair.details(slow.id)).giveaway.state == "open"
        answers.set()
        await slow_channel.wait_for_message(lambda message: bool(message.attachments), timeout_s=50)
    running.cancel()
    assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], asyncio.CancelledError)


async def test_a_crowd_that_enters_and_leaves_the_server_keeps_no_prize_from_who_stayed(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master)
    people = await fair.enter(master, view.id, rounds(25))
    for person in people[:-1]:
        fair.leaves(person)
    fair.clock.turn(HOUR)
    await master.giveaways.keeper.step()
    assert (await fair.details(view.id)).giveaway.won_by == (people[-1].id,)
    (file,) = fair.files()
    assert file.problems == ()
    print(f"{len(file.draws)} draws of {len(people)} people, of whom one is left")


async def test_a_prize_whose_tier_is_gone_holds_nobody_up_and_is_told(fair: GiveawayScene) -> None:
    before = fair.settings
    view = await fair.start(fair.master(), winners=2, prize_tier="pro")
    people = await fair.enter(fair.master(), view.id, 3)
    fair.settings = structs.replace(before, licence_tiers=before.licence_tiers[:1])
    master = fair.master()
    fair.clock.turn(HOUR)
    await master.giveaways.keeper.step()
    details = await fair.details(view.id)
    assert {winner.state for winner in details.winners} == {"told"}
    assert {winner.detail for winner in details.winners} == {"not issued: there is no licence tier 'pro'"}
    assert label_of(fair.message_of(view)) == "Check the draw", "the message says who has won"
    (alert,) = [one for one in master.alerts if "without their licence" in one.title]
    assert "LICENCES in config.py has: standard" in alert.text
    fair.settings = before
    winner = next(person for person in people if person.id == details.winners[0].user_id)
    claimed = await fair.master().giveaways.claim(fair.guild.id, view.id, winner.id)
    assert claimed.code.startswith("FM1-")


async def test_a_giveaway_that_was_over_before_it_was_posted_is_cancelled_and_told(fair: GiveawayScene) -> None:
    view = await fair.start(fair.master(), starts_in_s=60.0)
    fair.clock.turn(3 * HOUR)
    master = fair.master()
    await master.giveaways.keeper.step()
    assert (await fair.details(view.id)).giveaway.state == "cancelled"
    assert [alert.title for alert in master.alerts] == ["The giveaway of a mug was never posted"]
    assert fair.channel.messages == []


@pytest.mark.parametrize("announced", [False, True], ids=["opened", "announced"])
@pytest.mark.slow
async def test_a_master_that_starts_long_after_a_kill_posts_nothing_twice(
    fair: GiveawayScene, *, announced: bool
) -> None:
    """Right after the message was posted, before that was written down; Discord knows the nonce no more."""
    for at in range(1, 20):
        fair.new_channel()
        people = []
        if announced:
            first = fair.master()
            view = await fair.start(first, winners=2)
            people = await fair.enter(first, view.id, 3)
            fair.clock.turn(HOUR)
        master, deadline = mortal_master(fair, at, after=True)
        with contextlib.suppress(Killed):
            await (master.giveaways.keeper.step() if announced else fair.start(master, duration_s=24 * HOUR))
        posted = len(fair.announcements()) if announced else len(fair.channel.messages)
        fair.clock.turn(_MUCH_LATER)
        await fair.master().giveaways.keeper.step()
        assert (len(fair.announcements()) if announced else len(fair.channel.messages)) == 1
        assert len(people) in (0, 3)
        (newest,) = (await fair.master().giveaways.records.list(fair.guild.id, 1)).giveaways
        if not announced:
            assert newest.message_id == fair.channel.messages[0].id
            await fair.master().giveaways.cancel(fair.guild.id, newest.id, fair.moderator, why="")
        if not deadline.dead:
            break
        print(f"killed after step {at}: {posted} posted by then")


async def test_somebody_elses_file_of_the_same_name_is_no_announcement(fair: GiveawayScene) -> None:
    first = fair.master()
    view = await fair.start(first)
    (person,) = await fair.enter(first, view.id, 1)
    fair.clock.turn(HOUR)
    closed = await first.giveaways.records.find(0, view.id)
    await first.giveaways._drawing.begin(closed)
    await first.giveaways._drawing.draw(await first.giveaways.records.find(0, view.id))
    await person.sends(fair.channel, "won!", attachments=[(f"giveaway-{view.id}-draw-0.json", b"{}")])
    fair.clock.turn(_MUCH_LATER)
    await fair.master().giveaways.keeper.step()
    assert [message.author.id for message in fair.announcements()] == [person.id, fair.account.id]


async def test_a_storm_of_checks_recomputes_a_draw_once(fair: GiveawayScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 entries are half a second of CPU, and anybody may press as often as they like."""
    master = fair.master()
    view = await fair.start(master)
    await fair.enter(master, view.id, 4)
    await master.giveaways.end(fair.guild.id, view.id, fair.moderator)
    computed, real = [], giveaway_records._draw_view

    def counted(*arguments: Any) -> Any:
        computed.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(giveaway_records, "_draw_view", counted)
    records = giveaway_records.GiveawayRecords(fair.ledger)
    found = await records.find(0, view.id)
    views = await asyncio.gather(*(records.draw(found) for _ in range(rounds(100))))
    assert len(computed) == 1
    assert {view.problems for view in views} == {()}
    # Another draw is another question.
    await master.giveaways.reroll(fair.guild.id, view.id, fair.moderator)
    assert (await records.draw(await records.find(0, view.id))).draws == 2


async def test_nothing_that_people_fill_in_mentions_anybody_or_breaks_a_message(fair: GiveawayScene) -> None:
    evil = "@everyone <@&1> `x` \u202e [a](http://b) ||s|| *\x00\x1b[31m\n"
    for number, (prize, description) in enumerate([(evil * 4, evil * 18), ("*" * 200, "\x00" * 1_000)]):
        fair.new_channel()
        master = fair.master()
        view = await fair.start(master, prize=prize[:200], description=description[:1_000], winners=5)
        people = await fair.enter(master, view.id, 5)
        fair.clock.turn(HOUR)
        await master.giveaways.keeper.step()
        assert (await fair.details(view.id)).giveaway.state == "drawn", number
        for message in [*fair.channel.messages, *(one for person in people for one in fair.direct(person))]:
            assert not message.mention_everyone
            assert {user.id for user in message.mentions} <= {person.id for person in people}
            assert "\x1b" not in words_of(message)
            assert "\u202e" not in words_of(message)


def test_a_thousand_draws_since_a_crowd_has_left_are_a_file_that_can_be_posted() -> None:
    entries = [(10**18 + number, 1) for number in range(2_000)]
    hashed, former, draws = entries_hash("G", entries), list[int](), list[Draw]()
    for number in range(1_000):
        won = pick(SEED, hashed, number, entries, 1, without=former)
        draws.append(Draw(tuple(former), tuple(won)))
        former += won
    text = document("G", "a mug", SEED, entries, draws)
    print(f"{len(text):,} bytes of 1,000 draws from 2,000 entries")
    assert len(text) < 1_000_000
    assert check(text).problems == ()
    assert check(text).draws == tuple(draws)


class AwayOnce:
    """A ledger that is away at one write or read, the ``at``-th, and there again at the next."""

    def __init__(self, ledger: Ledger, at: int) -> None:
        self._ledger, self.at, self.seen = ledger, at, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def _count(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise LedgerUnavailable("the database is away")

    async def write(self, *arguments: Any, **named: Any) -> Any:
        self._count()
        return await self._ledger.write(*arguments, **named)

    async def read(self, *arguments: Any, **named: Any) -> Any:
        self._count()
        return await self._ledger.read(*arguments, **named)


@pytest.mark.slow
async def test_a_ledger_that_is_away_at_any_step_holds_up_and_spoils_nothing(fair: GiveawayScene) -> None:
    away = 0
    # Each third step, and with FLEET_FUZZ all of them.
    for at in range(1, 200, 3 if rounds(1) == 1 else 1):
        fair.new_channel()
        ledger = AwayOnce(fair.ledger, at)
        master = fair.master(ledger=ledger)
        before = {one.id for one in (await fair.master().giveaways.records.list(fair.guild.id, 1_000)).giveaways}
        with contextlib.suppress(FleetError):
            await fair.start(master, winners=1, prize_tier="pro")
        await master.giveaways.keeper.step()
        listed = (await fair.master().giveaways.records.list(fair.guild.id, 1_000)).giveaways
        view = next((one for one in listed if one.id not in before), None)
        # Who was told that it failed starts it again.
        view = view or await fair.start(master, winners=1, prize_tier="pro")
        fair.clock.turn(60)
        await master.giveaways.keeper.step()
        people = [fair.person() for _ in range(2)]
        for person in people:
            for _ in range(2):
                with contextlib.suppress(FleetError):
                    await master.giveaways.enter(fair.guild.id, view.id, Entrant(user_id=person.id))
        fair.clock.turn(HOUR)
        for _ in range(3):
            await master.giveaways.keeper.step()
            fair.clock.turn(60)
        details = await fair.details(view.id)
        assert (details.giveaway.state, details.giveaway.entries, len(details.winners)) == ("drawn", 2, 1)
        assert len(fair.announcements()) == 1
        (winner,) = [person for person in people if person.id == details.winners[0].user_id]
        claimed = await _claimed(master, fair, view.id, winner)
        await fair.master().licences.redeem(claimed, user_id=winner.id, guild_id=fair.guild.id, actor=fair.moderator)
        if ledger.seen < at:
            break
        away += 1
    print(f"away at each of {away} steps")
    assert away >= 10


async def _claimed(master: GiveawayMaster, fair: GiveawayScene, giveaway_id: str, winner: Person) -> str:
    """Press Claim, once more if the ledger was away."""
    try:
        return (await master.giveaways.claim(fair.guild.id, giveaway_id, winner.id)).code
    except LedgerUnavailable:
        return (await master.giveaways.claim(fair.guild.id, giveaway_id, winner.id)).code


SEED = b"s" * 32
ENTRIES = [(1, 1), (2, 3), (3, 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"draws": []},
        {"entries": []},
        {"entries": {"12": 1}},
        {"seed_hash": None},
        {"entries_hash": "00"},
        {"entries": [["1", 1], ["2", 3.0], ["3", 1]]},
        {"entries": [["1", True], ["2", 3], ["3", 1]]},
        {"entries": [["9" * 5_000, 1]]},
        {"entries": [["1", 1], ["2", 3], ["3", 1], ["3", 1]]},
        {"entries": [["1", 1], ["2", 4], ["3", 1]]},
        {"giveaway": "G\n1 1"},
        {"seed": "aa"},
        {"seed": "zz" * 32},
        {"version": "1"},
        {"draws": [{"draw": 0, "without": ["2"], "winners": ["1"]}]},
        {"draws": [{"draw": 0, "without": [], "winners": ["4"]}]},
        {"draws": {"a": 1}},
    ],
)
def test_a_file_that_was_tampered_with_does_not_fit(change: dict[str, Any]) -> None:
    won = tuple(pick(SEED, entries_hash("G", ENTRIES), 0, ENTRIES, 1))
    good = json.loads(document("G", "a mug", SEED, ENTRIES, [Draw((), won)]))
    assert check(json.dumps(good)).problems == ()
    with contextlib.suppress(NotADraw):  # What cannot be read is told as that.
        assert check(json.dumps(good | change)).problems
