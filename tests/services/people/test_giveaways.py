"""Giveaways from start to end, over a real ledger and a server that people see; time is turned by hand."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from master.errors import FleetError
from master.ledger.rows import giveaways as rows
from master.ledger.rows.records import LicenceState
from master.security.derivation import LASTING_PURPOSES, MasterSecret
from master.security.vault import SeedVault
from master.services.core.giveaway_views import BonusRole, GiveawayRules
from master.services.people.giveaway_draw import seed_hash
from master.services.people.giveaway_errors import GiveawayRefused, NoSuchGiveaway, NotEligible, NothingToClaim
from master.services.people.giveaway_records import GiveawayRecords
from master.services.people.giveaway_rules import Entrant
from tests.conftest import TurnableClock
from tests.services.people.giveaway_scene import HOUR, GiveawayScene, label_of, words_of

DAY = 86_400.0


async def test_from_start_to_the_winners(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master, winners=2, description="with *stars*")
    message = fair.message_of(view)
    assert view.seed_hash in words_of(message)
    assert "with \\*stars\\*" in message.embeds[0]["description"]
    people = await fair.enter(master, view.id, 5)
    fair.clock.turn(16)
    await master.giveaways.keeper.step()
    assert label_of(message) == "🎉 Enter (5)"
    fair.clock.turn(HOUR)
    await master.giveaways.keeper.step()
    details = await fair.details(view.id)
    assert (details.giveaway.state, len(details.winners)) == ("drawn", 2)
    assert {winner.user_id for winner in details.winners} < {person.id for person in people}
    (announcement,) = fair.announcements()
    (file,) = fair.files()
    assert file.problems == ()
    assert file.seed_hash == view.seed_hash
    assert file.draws[0].winners == tuple(winner.user_id for winner in details.winners)
    for winner in details.winners:
        assert announcement.mentions_user(winner.user_id)
        assert str(winner.user_id) in words_of(message)
    assert label_of(message) == "Check the draw"
    assert [row for row in await fair.audited("giveaway_draw") if file.entries_hash in row]
    assert view.seed_hash in (await fair.audited("giveaway_start"))[0]
    told = [person for person in people if fair.direct(person)]
    assert {person.id for person in told} == {winner.user_id for winner in details.winners}


async def test_a_double_press_is_one_entry_and_who_left_is_not_in(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master)
    entrant = Entrant(user_id=fair.person().id)
    taken = await asyncio.gather(*(master.giveaways.enter(fair.guild.id, view.id, entrant) for _ in range(20)))
    assert sorted(one.outcome for one in taken) == ["already"] * 19 + ["entered"]
    assert {one.entries for one in taken} == {1}
    assert (await master.giveaways.leave(fair.guild.id, view.id, entrant.user_id)).outcome == "left"
    assert (await master.giveaways.leave(fair.guild.id, view.id, entrant.user_id)).outcome == "not_in"
    assert (await master.giveaways.enter(fair.guild.id, view.id, entrant)).outcome == "entered"
    # Presses that come together share a transaction; how many, the box's speed says.
    assert master.giveaways.entries.writes < 20


async def test_who_may_enter_is_judged_from_the_press(fair: GiveawayScene) -> None:
    master = fair.master()
    rules = GiveawayRules(role_ids=(70,), account_days=10, member_days=5, bonus=(BonusRole(71, 3), BonusRole(72, 4)))
    view = await fair.start(master, rules=rules, duration_s=40 * DAY)
    person, now = fair.person(), fair.clock.now()

    async def refused(**fields: object) -> str:
        with pytest.raises(NotEligible) as error:
            await master.giveaways.enter(fair.guild.id, view.id, Entrant(user_id=person.id, **fields))  # type: ignore[arg-type]
        return error.value.hint

    assert "<@&70>" in await refused(joined_at=now - timedelta(days=9))
    assert "accounts" in await refused(role_ids=frozenset({70}), joined_at=now - timedelta(days=9))
    fair.clock.turn(11 * DAY)
    assert "been here" in await refused(role_ids=frozenset({70}), joined_at=fair.clock.now() - timedelta(days=4))
    assert "been here" in await refused(role_ids=frozenset({70}))
    roles = frozenset({70, 71, 72})
    may = Entrant(user_id=person.id, role_ids=roles, joined_at=fair.clock.now() - timedelta(days=6))
    taken = await master.giveaways.enter(fair.guild.id, view.id, may)
    assert (taken.outcome, taken.weight) == ("entered", 8)
    assert await fair.ledger.read(lambda c: rows.entries_of(c, view.id)) == [(person.id, 8)]


async def test_a_licence_may_be_asked_for(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master, rules=GiveawayRules(tier="pro"))
    person = fair.person()
    with pytest.raises(NotEligible, match="cannot enter"):
        await master.giveaways.enter(fair.guild.id, view.id, Entrant(user_id=person.id))
    issued = await master.licences.issue("pro", actor=fair.moderator)
    await master.licences.redeem(issued.code.reveal(), user_id=person.id, guild_id=fair.guild.id, actor=fair.moderator)
    taken = await master.giveaways.enter(fair.guild.id, view.id, Entrant(user_id=person.id))
    assert taken.outcome == "entered"


async def test_another_server_has_another_giveaway(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master)
    elsewhere = fair.guild.id + 1
    entrant = Entrant(user_id=fair.person().id)
    with pytest.raises(NoSuchGiveaway):
        await master.giveaways.enter(elsewhere, view.id, entrant)
    await master.giveaways.enter(fair.guild.id, view.id, entrant)
    for act in (
        master.giveaways.enter(elsewhere, view.id, entrant),
        master.giveaways.end(elsewhere, view.id, fair.moderator),
        master.giveaways.cancel(elsewhere, view.id, fair.moderator, why=""),
        master.giveaways.reroll(elsewhere, view.id, fair.moderator),
        master.giveaways.edit(elsewhere, view.id, fair.moderator, prize="mine"),
        master.giveaways.claim(elsewhere, view.id, entrant.user_id),
    ):
        with pytest.raises(NoSuchGiveaway):
            await act
    assert (await fair.details(view.id)).giveaway.state == "open"


async def test_one_that_is_scheduled_opens_and_one_that_is_cancelled_says_so(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master, starts_in_s=HOUR)
    assert (view.state, view.message_id, fair.channel.messages) == ("scheduled", None, [])
    with pytest.raises(GiveawayRefused, match="not begun"):
        await master.giveaways.enter(fair.guild.id, view.id, Entrant(user_id=1))
    fair.clock.turn(HOUR)
    await master.giveaways.keeper.step()
    view = await master.giveaways.records.view(view.id)
    assert view.state == "open"
    await fair.enter(master, view.id, 2)
    await master.giveaways.cancel(fair.guild.id, view.id, fair.moderator, why="the mug broke")
    assert "the mug broke" in words_of(fair.message_of(view))
    assert fair.message_of(view).components[0]["components"][0]["disabled"]
    fair.clock.turn(2 * HOUR)
    await master.giveaways.keeper.step()
    assert fair.announcements() == []
    with pytest.raises(GiveawayRefused, match="cancelled"):
        await master.giveaways.end(fair.guild.id, view.id, fair.moderator)


async def test_edits_and_bounds(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master)
    edited = await master.giveaways.edit(
        fair.guild.id, view.id, fair.moderator, prize="two mugs", winners=2, ends_in_s=600
    )
    assert (edited.prize, edited.winners, edited.ends_at) == ("two mugs", 2, fair.clock.seconds + 600)
    await master.giveaways.keeper.step()
    assert "two mugs" in words_of(fair.message_of(view))
    for _ in range(2):
        await fair.start(master)
    with pytest.raises(GiveawayRefused, match="3 giveaways"):
        await fair.start(master)
    with pytest.raises(GiveawayRefused, match="lasts from"):
        await fair.start(master, duration_s=1.0)
    with pytest.raises(FleetError, match="no licence tier"):
        await fair.start(master, prize_tier="gold")


async def test_nobody_in_is_no_winner_and_no_failure(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master)
    fair.clock.turn(HOUR)
    await master.giveaways.keeper.step()
    assert (await fair.details(view.id)).giveaway.state == "drawn"
    assert "Nobody was in" in words_of(fair.message_of(view))
    assert fair.announcements() == []
    assert (await master.giveaways.records.draw(await master.giveaways.records.find(0, view.id))).problems == ()


async def test_drawn_again_leaves_out_former_winners_until_nobody_is_left(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master, winners=2)
    people = await fair.enter(master, view.id, 5)
    await master.giveaways.end(fair.guild.id, view.id, fair.moderator)
    first = {winner.user_id for winner in (await fair.details(view.id)).winners}
    await master.giveaways.reroll(fair.guild.id, view.id, fair.moderator, user_id=min(first), why="a second account")
    await master.giveaways.reroll(fair.guild.id, view.id, fair.moderator)
    details = await fair.details(view.id)
    won = [winner.user_id for winner in details.winners]
    assert len(won) == len(set(won)) == 5
    assert set(won) == {person.id for person in people}
    with pytest.raises(GiveawayRefused, match="none of its winners"):
        await master.giveaways.reroll(fair.guild.id, view.id, fair.moderator, user_id=min(first))
    await master.giveaways.reroll(fair.guild.id, view.id, fair.moderator)
    assert "Nobody who was in is left" in words_of(fair.message_of(view))
    assert [file.problems for file in fair.files()] == [(), (), ()]
    assert len(await fair.audited("giveaway_draw")) == 4


async def test_a_licence_is_sent_to_its_winner_and_to_nobody_else(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master, prize_tier="pro")
    (winner,) = await fair.enter(master, view.id, 1)
    await master.giveaways.end(fair.guild.id, view.id, fair.moderator)
    (sent,) = fair.direct(winner)
    code = sent.embeds[0]["description"].split("```")[1].strip()
    assert all(code not in words_of(message) for message in fair.channel.messages)
    with pytest.raises(FleetError):
        await master.licences.redeem(code, user_id=1, guild_id=fair.guild.id, actor=fair.moderator)
    licence = await master.licences.redeem(code, user_id=winner.id, guild_id=fair.guild.id, actor=fair.moderator)
    assert (licence.tier, licence.state) == ("pro", LicenceState.ACTIVE)
    assert (await fair.details(view.id)).winners[0].state == "claimed"
    assert (await master.giveaways.claim(fair.guild.id, view.id, winner.id)).code == ""
    await master.giveaways.reroll(fair.guild.id, view.id, fair.moderator)
    assert [one.state for one in await fair.licences()] == [LicenceState.REVOKED]


CLOSED = b'{"message": "Cannot send messages to this user", "code": 50007}'


async def test_who_takes_no_messages_claims_it_and_each_press_makes_the_former_code_void(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master, prize_tier="pro")
    (winner,) = await fair.enter(master, view.id, 1)
    fair.sandbox.faults.answer_raw(CLOSED, status=403, path_contains="/users/@me/channels")
    await master.giveaways.end(fair.guild.id, view.id, fair.moderator)
    assert label_of(fair.announcements()[0]) == "Claim"
    with pytest.raises(NothingToClaim, match="not won"):
        await master.giveaways.claim(fair.guild.id, view.id, fair.ada.id)
    codes = [(await master.giveaways.claim(fair.guild.id, view.id, winner.id)).code for _ in range(2)]
    with pytest.raises(FleetError):
        await master.licences.redeem(codes[0], user_id=winner.id, guild_id=fair.guild.id, actor=fair.moderator)
    await master.licences.redeem(codes[1], user_id=winner.id, guild_id=fair.guild.id, actor=fair.moderator)
    fair.clock.turn(100 * HOUR)
    await master.giveaways.keeper.step()
    assert len(await fair.audited("giveaway_draw")) == 1


async def test_what_is_not_claimed_in_time_is_drawn_again(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master, claim_s=600)
    people = await fair.enter(master, view.id, 3)
    await master.giveaways.end(fair.guild.id, view.id, fair.moderator)
    (first,) = (await fair.details(view.id)).winners
    fair.clock.turn(599)
    await master.giveaways.keeper.step()
    assert len((await fair.details(view.id)).winners) == 1
    fair.clock.turn(2)
    with pytest.raises(NothingToClaim, match="time to claim"):
        await master.giveaways.claim(fair.guild.id, view.id, first.user_id)
    await master.giveaways.keeper.step()
    late, second = (await fair.details(view.id)).winners
    assert (late.user_id, late.state) == (first.user_id, "unclaimed")
    assert second.user_id in {person.id for person in people} - {first.user_id}
    await master.giveaways.claim(fair.guild.id, view.id, second.user_id)
    fair.clock.turn(10_000)
    await master.giveaways.keeper.step()
    assert [winner.state for winner in (await fair.details(view.id)).winners] == ["unclaimed", "claimed"]
    assert [file.problems for file in fair.files()] == [(), ()]


async def test_who_has_left_wins_nothing(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master, winners=2)
    people = await fair.enter(master, view.id, 6)
    for person in people[:4]:
        fair.leaves(person)
    await master.giveaways.end(fair.guild.id, view.id, fair.moderator)
    details = await fair.details(view.id)
    assert set(details.giveaway.won_by) == {person.id for person in people[4:]}
    assert {winner.user_id for winner in details.winners if winner.state == "left"} <= {p.id for p in people[:4]}
    (announcement,) = fair.announcements()
    assert not any(announcement.mentions_user(person.id) for person in people[:4])
    assert fair.files()[0].problems == ()


@pytest.mark.parametrize("gone", ["message", "channel", "server"])
async def test_what_it_was_on_is_gone_and_log_channel_learns_who_won(fair: GiveawayScene, gone: str) -> None:
    master = fair.master()
    view = await fair.start(master)
    (winner,) = await fair.enter(master, view.id, 1)
    if gone == "message":
        fair.sandbox.world.delete_message(fair.channel.channel, fair.message_of(view))
    elif gone == "channel":
        fair.sandbox.world.delete_channel(fair.channel.channel)
    else:
        fair.sandbox.world.remove_member(fair.guild.guild, fair.account.account)
    fair.clock.turn(20)
    await master.giveaways.keeper.step()
    fair.clock.turn(HOUR)
    await master.giveaways.keeper.step()
    details = await fair.details(view.id)
    assert (details.giveaway.state, details.giveaway.won_by) == ("drawn", (winner.id,))
    assert "lost its message" in master.alerts[0].title
    if gone == "message":
        assert fair.announcements()[0].mentions_user(winner.id)
    else:
        assert f"<@{winner.id}>" in master.alerts[1].text
    await master.giveaways.keeper.step()
    assert len(master.alerts) == (1 if gone == "message" else 2)


async def test_where_nothing_can_be_posted_nothing_is_started(fair: GiveawayScene) -> None:
    master = fair.master()
    fair.sandbox.world.delete_channel(fair.channel.channel)
    with pytest.raises(FleetError, match="post in channel"):
        await fair.start(master)
    (view,) = (await master.giveaways.records.list(fair.guild.id, 10)).giveaways
    assert view.state == "cancelled"


async def test_a_clock_that_is_ahead_draws_nothing_early(fair: GiveawayScene) -> None:
    view = await fair.start(fair.master())
    ahead = TurnableClock(fair.clock.seconds + 400 * DAY)
    wrong = fair.master(clock=ahead)
    await fair.enter(fair.master(), view.id, 2)
    await wrong.giveaways.keeper.step()
    assert (await fair.details(view.id)).giveaway.state == "open"
    assert "clock of this box is wrong" in wrong.alerts[0].title
    ahead.seconds = fair.clock.seconds
    fair.clock.turn(HOUR + 1)
    ahead.turn(HOUR + 1)
    await fair.master().giveaways.keeper.step()
    assert (await fair.details(view.id)).giveaway.state == "drawn"


async def test_two_masters_draw_the_same_end_once(fair: GiveawayScene) -> None:
    masters = [fair.master() for _ in range(2)]
    view = await fair.start(masters[0], winners=3)
    await fair.enter(masters[0], view.id, 10)
    fair.clock.turn(HOUR)
    await asyncio.gather(*(master.giveaways.keeper.step() for master in masters))
    assert len(await fair.audited("giveaway_draw")) == 1
    assert len((await fair.details(view.id)).winners) == 3
    # The same nonce: Discord posts it once.
    assert len(fair.announcements()) == 1


async def test_a_seed_outlives_the_rotation_of_the_secret(master_secret: MasterSecret) -> None:
    from handshake.redaction import Secret
    from master.security.derivation import check_master_secret, decode_kept_keys, encode_kept_keys, new_master_secret

    sealed = SeedVault(master_secret).seal("01W", b"s" * 32)
    kept = encode_kept_keys({purpose: master_secret.derive(purpose) for purpose in LASTING_PURPOSES})
    rotated = MasterSecret(Secret(check_master_secret(new_master_secret())), decode_kept_keys(kept.reveal()))
    assert SeedVault(rotated).unseal("01W", sealed) == b"s" * 32
    with pytest.raises(FleetError, match="cannot be decrypted"):
        SeedVault(rotated).unseal("01X", sealed)


async def test_a_seed_that_cannot_be_opened_is_told_and_nothing_is_drawn(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master)
    await fair.enter(master, view.id, 1)
    await fair.ledger.write(lambda c: rows.change(c, view.id, ["open"], sealed_seed=b"\\x01" + b"x" * 60))
    fair.clock.turn(HOUR)
    await master.giveaways.keeper.step()
    assert (await fair.details(view.id)).giveaway.state == "drawing"
    assert [alert.title for alert in master.alerts] == ["A giveaway cannot be drawn"]


async def test_entries_that_are_changed_after_the_draw_are_seen(fair: GiveawayScene) -> None:
    master = fair.master()
    view = await fair.start(master)
    people = await fair.enter(master, view.id, 4)
    await master.giveaways.end(fair.guild.id, view.id, fair.moderator)
    records = master.giveaways.records
    found = await records.find(0, view.id)
    assert (await records.draw(found)).problems == ()
    assert seed_hash(found.seed or b"") == found.seed_hash
    await fair.ledger.write(lambda c: rows.remove_entries(c, view.id, [people[0].id]))
    # Whoever asks within half a minute gets what was computed for the first; another process computes anew.
    anew = await GiveawayRecords(fair.ledger).draw(found)
    assert any("added, changed or removed" in problem for problem in anew.problems)
