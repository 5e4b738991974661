"""Attacks on licences and on the shop that sells them: files with impossible dates, races, sales told in no order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from master.configuration.settings import LicenceTier
from master.ledger.database import Ledger
from master.ledger.rows import nodes
from master.security.derivation import MasterSecret
from master.services.people import licence_reach
from master.services.people.licence_files import LicenceFileRefused, read_csv, safe_cell
from master.services.people.licence_reach import AskedBy
from master.services.trust.licence_rules import LATEST_END, LicenceOfAnother, LicenceRefused, TooManyPeople
from tests.conftest import TurnableClock
from tests.hostile.effort import rounds
from tests.intake.test_shop_webhook import Shop, listening
from tests.ledger.test_database import a_node
from tests.services.conftest import OPERATOR
from tests.services.people.desk import ADA, BO, CY, DAY, Desk, person
from tests.services.people.shop_examples import (
    BUYER,
    checkout,
    invoice,
    invoice_payment,
    kofi_membership,
    older_invoice,
    refund,
    signature,
    subscribed,
)
from tests.services.people.test_licence_keeping import Scene, scene

__all__ = ["scene"]

TIERS = ("pro", "team", "kept", "ended")


@pytest.fixture
def desk(ledger: Ledger, master_secret: MasterSecret, clock: TurnableClock) -> Desk:
    return Desk(ledger, master_secret, clock)


@pytest.fixture
async def shop(
    ledger: Ledger, clock: TurnableClock, master_secret: MasterSecret, tmp_path: Path
) -> AsyncIterator[Shop]:
    async with listening(Shop(ledger, clock, master_secret, tmp_path)) as made:
        yield made


@pytest.mark.parametrize(
    "date", ["9999-12-31", "3900-01-01", "0001-01-01", "1969-12-31", "0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"]
)
def test_a_date_that_no_code_can_hold_is_a_mistake_of_its_line(date: str) -> None:
    with pytest.raises(LicenceFileRefused, match="line 2: expires_at is a date"):
        read_csv(f"tier,expires_at\npro,{date}\n", TIERS)


async def test_the_latest_end_that_a_file_may_name_can_be_issued_and_shown(desk: Desk) -> None:
    await desk.licences.take_in(read_csv(f"tier,expires_at\npro,{LATEST_END:%Y-%m-%d}\n", TIERS), actor=OPERATOR)
    (shown,) = (await desk.showing.list()).licences
    assert shown.expires_at == LATEST_END.timestamp()


async def test_a_licence_is_not_renewed_beyond_all_dates(desk: Desk) -> None:
    licence = await desk.redeemed()

    async def renew_again_and_again() -> None:
        for _ in range(100):
            await desk.licences.change(licence, "renew", actor=OPERATOR, days=36_500)

    with pytest.raises(LicenceRefused, match="it cannot be renewed"):
        await renew_again_and_again()
    assert (await desk.showing.show(licence)).valid
    assert (await desk.licences.change(licence, "renew", actor=OPERATOR, days=0)).expires_at is None


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\uff1d1", "\uff0b1", "\uff20x"])
def test_no_way_to_write_a_formula_is_left(cell: str) -> None:
    assert safe_cell(cell) == f"'{cell}"


async def test_one_code_that_many_redeem_at_once_is_one_persons(desk: Desk) -> None:
    _, code = await desk.issue()
    done = await asyncio.gather(
        *(desk.redeem(code, user) for user in range(2_000, 2_000 + rounds(40))), return_exceptions=True
    )
    won = [one for one in done if isinstance(one, str)]
    assert len(won) == 1
    assert all(isinstance(one, TooManyPeople) for one in done if one not in won)


async def test_a_code_that_is_meant_for_one_person_is_theirs_though_a_node_used_it_first(desk: Desk) -> None:
    await desk.ledger.write(lambda connection: nodes.insert(connection, a_node()))
    licence_id, code = await desk.issue(holder_id=ADA)
    code_hash = desk.licensing.hash_of(code)
    assert code_hash is not None
    settled = await desk.ledger.write(lambda c: desk.licensing.settle(c, a_node().id, code_hash))
    assert settled.is_valid
    assert (await desk.showing.show(licence_id)).state == "active"
    with pytest.raises(LicenceOfAnother):
        await desk.redeem(code, BO)
    assert await desk.redeem(code, ADA) == licence_id


async def test_who_passed_a_licence_on_cannot_take_it_from_the_new_holder_at_the_same_moment(desk: Desk) -> None:
    """Its tier allows two transfers a month: the second is the new holder's, and not the seller's."""
    desk.licensing.update_tiers((LicenceTier(name="pro", transfers_a_month=2, days=30),))
    licence = await desk.redeemed()
    done = await asyncio.gather(
        *(desk.licences.transfer(licence, to_user_id=to, actor=person(ADA), held_by=ADA) for to in (BO, CY)),
        return_exceptions=True,
    )
    (late,) = [one for one in done if isinstance(one, Exception)]
    assert isinstance(late, LicenceOfAnother)
    assert (await desk.showing.show(licence)).holder_id == BO
    assert (await desk.reason(CY))[0] is False


async def test_who_redeems_while_everybody_is_looked_at_has_the_role_first(scene: Scene) -> None:
    """After a start all holders are looked at, slowly: with thousands of them that takes a quarter of an hour."""
    people = [scene.sandbox.create_human(f"p{number}") for number in range(6)]
    for one in people[:-1]:
        scene.guild.add_member(one)
        await scene.desk.redeemed("pro", one.id)
    scene.guild.add_member(people[-1])
    given, real = list[int](), scene.port.add_role

    async def add_role(guild_id: int, user_id: int, role_id: int, *, reason: str = "") -> None:
        if not given:
            # Bought right now.
            await scene.desk.redeemed("pro", people[-1].id)
        given.append(user_id)
        await real(guild_id, user_id, role_id, reason=reason)

    scene.port.add_role = add_role  # type: ignore[method-assign]
    scene.roles._changed.clear()
    await scene.roles.step()
    assert given == [people[0].id, people[-1].id, *(one.id for one in people[1:-1])]


def test_a_node_that_asks_about_everybody_keeps_no_other_from_hearing_of_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(licence_reach, "MOST_ASKED", 100)
    asked = AskedBy()
    for user_id in range(20):
        asked.note(user_id, "honest")
    for user_id in range(10_000):
        asked.note(user_id, "rogue")
    assert all("honest" in asked.about(user_id) for user_id in range(20))
    assert sum("rogue" in asked.about(user_id) for user_id in range(10_000)) == 80
    assert asked.about(9_999) == {"rogue"}


async def test_a_sale_that_is_told_after_its_refund_brings_no_licence(shop: Shop) -> None:
    for _ in range(2):
        assert (await shop.stripe("charge.refunded", refund(), "evt_2")).content == {"outcome": "revoked"}
    sold = await shop.stripe("checkout.session.completed", checkout(), "evt_1")
    assert sold.content == {"outcome": "ignored"}
    assert (await shop.licences.check_person(BUYER)).reason == "not_found"
    # Another payment of the same buyer is his.
    other = await shop.stripe("checkout.session.completed", checkout(payment_intent="pi_other"), "evt_3")
    assert other.content == {"outcome": "issued"}


async def test_members_of_whom_the_shop_tells_no_address_do_not_pay_for_each_other(shop: Shop) -> None:
    first = kofi_membership(first=True, message_id="m1", email=None)
    assert (await shop.kofi(first)).content == {"outcome": "issued"}
    other = kofi_membership(first=False, message_id="m2", email=None, message=f"{BUYER + 1}")
    assert (await shop.kofi(other)).content == {"outcome": "issued"}
    assert (await shop.licences.check_person(BUYER + 1)).valid
    again = kofi_membership(first=False, message_id="m3", email=None)
    assert (await shop.kofi(again)).content == {"outcome": "renewed"}
    # Of whom nothing at all is known, nobody's licence is renewed.
    nobody = kofi_membership(first=False, message_id="m4", email=None, message=None, kofi_transaction_id="t4")
    assert (await shop.kofi(nobody)).content == {"outcome": "refused"}


async def test_no_message_to_a_shop_is_answered_with_an_error_of_the_masters(shop: Shop) -> None:
    def form(payment: str) -> bytes:
        return urlencode({"data": payment}).encode()

    bodies = (
        b"",
        b"\xff\xfe",
        b"data=" + b"[" * 200_000,
        form('{"verification_token":"\\ud800","message_id":"x"}'),
        form(json.dumps({"verification_token": "ü", "message_id": "x"})),
        b"&".join([b"a=b"] * 1_000),
        b'{"id":"x","type":"invoice.paid","data":{"object":' + b"[" * 100_000 + b"}}",
        b'{"id":"x","type":"invoice.paid","data":{"object":{"id":"i","lines":{"data":[{"price":null}]}}}}',
    )
    for body in bodies:
        signed = {"Stripe-Signature": signature(body, at_s=shop.clock())}
        assert (await shop.post("/hooks/licence/stripe", body, **signed)).status in (200, 400)
        assert (await shop.post("/hooks/licence/kofi", body)).status in (400, 403)
    assert await shop.history() == []


async def _subscribe(shop: Shop) -> None:
    """Have a subscription that is paid for two periods; which payment was for which is told in between."""
    await shop.stripe("checkout.session.completed", subscribed(), "evt_1")
    first = {"type": "payment_intent", "payment_intent": "pi_3First"}
    await shop.stripe("invoice_payment.paid", invoice_payment(invoice="in_1First", payment=first), "evt_2")
    shop.clock.turn(30 * DAY)
    await shop.stripe("invoice_payment.paid", invoice_payment(), "evt_3")
    assert (await shop.stripe("invoice.paid", invoice(), "evt_4")).content == {"outcome": "renewed"}
    assert (await shop.licences.check_person(BUYER)).valid


async def test_the_refund_of_a_subscriptions_last_payment_ends_its_licence(shop: Shop) -> None:
    await _subscribe(shop)
    of_first = await shop.stripe("charge.refunded", refund(payment_intent="pi_3First"), "evt_5")
    assert of_first.content == {"outcome": "refused"}, "a later period is paid: a person decides"
    assert "an earlier period of licence" in shop.raised[-1].text
    assert (await shop.licences.check_person(BUYER)).valid
    for _ in range(2):
        last = await shop.stripe("charge.refunded", refund(payment_intent="pi_3Second"), "evt_6")
        assert last.content == {"outcome": "revoked"}
    assert (await shop.licences.check_person(BUYER)).reason == "revoked"
    assert len(shop.raised) == 1


async def test_a_refund_names_its_invoice_itself_in_older_versions_of_the_shop(shop: Shop) -> None:
    await shop.stripe("checkout.session.completed", subscribed(), "evt_1")
    shop.clock.turn(DAY)
    again = older_invoice(payment_intent="pi_3Second")
    assert (await shop.stripe("invoice.paid", again, "evt_2")).content == {"outcome": "renewed"}
    unknown = await shop.stripe("charge.refunded", refund(payment_intent="pi_x", invoice="in_unknown"), "evt_3")
    assert unknown.content == {"outcome": "revoked"}
    assert (await shop.licences.check_person(BUYER)).valid
    paid_back = refund(payment_intent="pi_x", invoice="in_1Second")
    assert (await shop.stripe("charge.refunded", paid_back, "evt_4")).content == {"outcome": "revoked"}
    assert (await shop.licences.check_person(BUYER)).reason == "revoked"
