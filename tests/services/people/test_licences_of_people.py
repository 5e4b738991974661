"""Licences of people: issued, redeemed, checked, changed, passed on; and what is guessed."""

from __future__ import annotations

import asyncio

import pytest

from master.services.people.licence_guesses import MOST_OF_ALL, MOST_OF_ONE, WINDOW_S
from master.services.trust.licence_rules import LicenceExpired, LicenceRefused, TooManyGuesses, TooManyTransfers
from tests.services.conftest import OPERATOR
from tests.services.people.desk import ADA, BO, CY, DAY, GUILD, Desk, person


async def test_a_licence_is_redeemed_by_its_code_and_then_valid(desk: Desk) -> None:
    assert await desk.reason() == (False, "not_found")
    licence_id, code = await desk.issue(note="thanks")
    assert await desk.redeem(code.lower().replace("-", " ")) == licence_id
    assert await desk.reason() == (True, "valid")
    assert await desk.reason(feature="exports") == (True, "valid")
    assert await desk.reason(feature="music") == (False, "no_feature")
    status = await desk.licences.check_person(ADA)
    assert (status.tier, status.features, status.holds_until) == ("pro", ("exports",), desk.clock.seconds + DAY)
    shown = await desk.showing.show(licence_id[:6])
    assert (shown.state, shown.holder_id, shown.guild_id, shown.note) == ("active", ADA, GUILD, "thanks")
    assert [event.what for event in shown.events] == ["redeemed", "issued"]
    assert [(event.what, event.holder_id) for event in desk.events] == [("issued", 0), ("redeemed", ADA)]


async def test_a_code_works_once_for_each_place_in_it(desk: Desk) -> None:
    _, code = await desk.issue("pro")
    await desk.redeem(code, ADA)
    for user_id, reason in ((ADA, "already_yours"), (BO, "too_many_people")):
        with pytest.raises(LicenceRefused) as refused:
            await desk.redeem(code, user_id)
        assert (refused.value.reason, refused.value.code) == (reason, f"licence_{reason}")
    _, shared = await desk.issue("team")
    done = await asyncio.gather(*(desk.redeem(shared, who) for who in (ADA, BO, CY)), return_exceptions=True)
    assert sorted(isinstance(one, LicenceRefused) for one in done) == [False, False, True]
    with pytest.raises(LicenceRefused, match="somebody else"):
        await desk.redeem((await desk.issue(holder_id=ADA))[1], BO)


async def test_a_check_says_why_not_and_never_goes_by_what_was(desk: Desk) -> None:
    licence_id = await desk.redeemed("pro")
    assert await desk.reason() == (True, "valid")
    for action, found in (
        ("suspend", (False, "suspended")),
        ("reinstate", (True, "valid")),
        ("revoke", (False, "revoked")),
        ("reinstate", (True, "valid")),
    ):
        await desk.licences.change(licence_id, action, actor=OPERATOR, why="test")  # type: ignore[arg-type]
        assert await desk.reason() == found
    desk.clock.turn(30 * DAY)
    assert await desk.reason() == (True, "grace")
    desk.clock.turn(7 * DAY)
    assert await desk.reason() == (False, "expired")
    _, code = await desk.issue(days=1)
    desk.clock.turn(9 * DAY)
    with pytest.raises(LicenceExpired):
        await desk.redeem(code, BO)


async def test_of_several_licences_the_best_one_for_the_question_counts(desk: Desk) -> None:
    await desk.redeemed("pro")
    team = await desk.redeemed("team")
    assert await desk.reason(feature="music") == (True, "valid")
    await desk.licences.change(team, "revoke", actor=OPERATOR)
    assert await desk.reason(feature="music") == (False, "no_feature")
    assert await desk.reason(feature="exports") == (True, "valid")


async def test_what_the_end_of_a_licence_does_is_its_tiers(desk: Desk) -> None:
    kept, ended = await desk.redeemed("kept", ADA), await desk.redeemed("ended", BO)
    desk.clock.turn(DAY + 1)
    assert await desk.reason(ADA) == (True, "expired")
    assert await desk.reason(BO) == (False, "revoked")
    for licence_id, state in ((kept, "expired"), (ended, "revoked")):
        assert (await desk.licences.expire(licence_id, actor=OPERATOR)).state == state
    assert await desk.reason(ADA) == (True, "expired")
    with pytest.raises(LicenceExpired, match="cannot be reinstated"):
        await desk.licences.change(ended, "reinstate", actor=OPERATOR)


async def test_a_renewal_counts_from_the_end_and_from_now_only_after_the_grace(desk: Desk) -> None:
    licence_id = await desk.redeemed("pro")
    first = (await desk.licences.find(licence_id)).expires_at
    assert first is not None
    desk.clock.turn(33 * DAY)  # in its days of grace
    renewed = await desk.licences.change(licence_id, "renew", actor=OPERATOR)
    assert renewed.expires_at is not None
    assert (renewed.expires_at - first).days == 30
    desk.clock.turn(50 * DAY)
    await desk.licences.expire(licence_id, actor=OPERATOR)
    renewed = await desk.licences.change(licence_id, "renew", actor=OPERATOR, days=3)
    assert renewed.expires_at is not None
    assert (renewed.expires_at.timestamp(), renewed.state) == (desk.clock.seconds + 3 * DAY, "active")
    assert (await desk.licences.change(licence_id, "renew", actor=OPERATOR, days=0)).expires_at is None


async def test_a_licence_is_passed_on_as_often_as_its_tier_says(desk: Desk) -> None:
    licence_id = await desk.redeemed("pro", ADA)
    assert await desk.reason(ADA) == (True, "valid")
    await desk.licences.transfer(licence_id, to_user_id=BO, actor=person(ADA))
    assert (await desk.reason(ADA), await desk.reason(BO)) == ((False, "not_found"), (True, "valid"))
    with pytest.raises(TooManyTransfers):
        await desk.licences.transfer(licence_id, to_user_id=CY, actor=person(BO))
    await desk.licences.transfer(licence_id, to_user_id=CY, actor=OPERATOR, limited=False)
    desk.clock.turn(31 * DAY)  # in its days of grace, and the month is over
    await desk.licences.transfer(licence_id, to_user_id=ADA, actor=person(CY))
    with pytest.raises(TooManyTransfers, match="not be passed on"):
        await desk.licences.transfer(await desk.redeemed("team", BO), to_user_id=CY, actor=person(BO))


async def test_ten_thousand_guesses_of_one_are_not_looked_at_and_told_once(desk: Desk) -> None:
    for guess in range(10_000):
        with pytest.raises(LicenceRefused) as refused:
            await desk.redeem("FM1-" + "0" * 40)
        assert refused.value.reason == ("mistyped" if guess < MOST_OF_ONE else "too_many_guesses")
    assert (desk.licences.guesses.refused, desk.flags) == (10_000 - MOST_OF_ONE, [(ADA, MOST_OF_ONE)])
    _, code = await desk.issue()
    with pytest.raises(TooManyGuesses, match="wait 9m58s"):
        await desk.redeem(code)  # A genuine one is no different: nothing is learned from it.
    assert await desk.redeem(code, BO)  # Others are not held up.
    desk.clock.turn(WINDOW_S)
    assert await desk.redeemed()


async def test_guesses_of_many_are_told_once_and_leave_one_to_each(desk: Desk) -> None:
    tried = 0
    for who in range(5_000, 7_000):
        for _ in range(5):
            try:
                await desk.redeem("FM1-" + "0" * 40, who)
            except TooManyGuesses:
                break
            except LicenceRefused:
                tried += 1
    assert desk.flags == [(0, MOST_OF_ALL)]
    assert tried == MOST_OF_ALL + (2_000 - MOST_OF_ALL // 5)
    assert await desk.redeemed(user_id=ADA)
