"""What shops send, as it is read: who sent it, and what it means."""

from __future__ import annotations

import random
from typing import Any

import pytest

from master.services.people import kofi_sales, stripe_sales
from master.services.people.sales import NotFromTheShop, Sale, SaleUnreadable
from tests.hostile.effort import rounds
from tests.services.people.shop_examples import (
    BUYER,
    KOFI_TOKEN,
    STRIPE_SECRET,
    checkout,
    invoice,
    kofi_membership,
    kofi_payment,
    older_invoice,
    refund,
    signature,
    stripe_event,
    subscribed,
)

NOW_S = 1_790_000_000.0
SUBSCRIPTION = "sub_1NiEd5CwEGCgBV8c"


def read(kind: str, content: dict[str, Any]) -> Sale:
    return stripe_sales.read_sale(stripe_event(kind, content))


def test_a_signature_of_the_shop_is_taken() -> None:
    body = stripe_event("invoice.paid", invoice())
    stripe_sales.check_signature(signature(body, at_s=NOW_S), body, STRIPE_SECRET, now_s=NOW_S + 299)
    rolled = f"{signature(body, 'whsec_old', at_s=NOW_S)},{signature(body, at_s=NOW_S).partition(',')[2]},v0=00"
    stripe_sales.check_signature(rolled, body, STRIPE_SECRET, now_s=NOW_S)


def test_the_scheme_is_stripes() -> None:
    # printf '1.{}' | openssl dgst -sha256 -hmac s
    header = "t=1,v1=b253639bcd705ed1cda3073f66104f16988bd40272584dea7d0d345ae93e61cc"
    stripe_sales.check_signature(header, b"{}", "s", now_s=1)


@pytest.mark.parametrize(
    "header",
    ["", "t=", "t=1,v1=", "v1=00", "t=1790000000", "t=²,v1=00", "t=1790000000,v1=" + "é" * 64, "t=-1,v1=0", "," * 900],
)
def test_a_header_that_is_no_signature_is_refused(header: str) -> None:
    with pytest.raises(NotFromTheShop):
        stripe_sales.check_signature(header, b"{}", STRIPE_SECRET, now_s=NOW_S)


def test_what_is_changed_late_early_or_signed_by_another_is_refused() -> None:
    body = stripe_event("invoice.paid", invoice())
    header = signature(body, at_s=NOW_S)
    for changed, now_s, secret in (
        (body + b" ", NOW_S, STRIPE_SECRET),
        (body, NOW_S + 301, STRIPE_SECRET),
        (body, NOW_S - 301, STRIPE_SECRET),
        (body, NOW_S, STRIPE_SECRET + "0"),
    ):
        with pytest.raises(NotFromTheShop):
            stripe_sales.check_signature(header, changed, secret, now_s=now_s)
    moved = header.replace("t=179", "t=180")
    with pytest.raises(NotFromTheShop, match="does not fit"):
        stripe_sales.check_signature(moved, body, STRIPE_SECRET, now_s=1_800_000_000)


def test_a_paid_checkout_is_a_sale_with_its_buyer() -> None:
    sale = read("checkout.session.completed", checkout(metadata={"discord_id": str(BUYER), "product": "pro-year"}))
    assert sale == Sale(
        source="stripe",
        event_id="evt_1PaidOnce",
        what="sold",
        products=("pro-year", "plink_1Pro"),
        buyer_id=BUYER,
        reference="pi_3NiEd5CwEGCgBV8c",
    )
    assert read("checkout.session.completed", subscribed()).reference == SUBSCRIPTION
    by_link = read("checkout.session.completed", checkout(metadata={}, client_reference_id=str(BUYER)))
    assert by_link.buyer_id == BUYER, "?client_reference_id= is how a payment link carries it"


def test_a_checkout_that_is_not_paid_yet_waits_for_the_event_that_says_so() -> None:
    assert read("checkout.session.completed", checkout(payment_status="unpaid")).what == "nothing"
    assert read("checkout.session.async_payment_succeeded", checkout()).what == "sold"


@pytest.mark.parametrize("made", [invoice, older_invoice])
def test_a_further_period_names_its_subscription_whichever_version_the_account_has(made: Any) -> None:
    sale = read("invoice.paid", made())
    assert (sale.what, sale.reference) == ("paid_again", SUBSCRIPTION)
    assert sale.products == ("price_1Pro", "prod_Pro")
    for reason in ("subscription_create", "subscription_update", "manual", None):
        assert read("invoice.paid", made(billing_reason=reason)).what == "nothing"


def test_only_a_whole_refund_takes_something_back() -> None:
    assert read("charge.refunded", refund()).reference == "pi_3NiEd5CwEGCgBV8c"
    assert read("charge.refunded", refund(refunded=False, amount_refunded=100)).what == "nothing"


@pytest.mark.parametrize("kind", ["customer.created", "invoice.payment_failed", "customer.subscription.deleted"])
def test_other_events_change_nothing(kind: str) -> None:
    assert read(kind, {"id": "x"}).what == "nothing"


def test_a_kofi_payment_is_a_sale() -> None:
    sale = kofi_sales.read_sale(kofi_payment(), KOFI_TOKEN)
    assert (sale.what, sale.products, sale.buyer_id) == ("sold", ("1a2b3c4d5e", "Shop Order"), BUYER)
    connected = kofi_sales.read_sale(kofi_payment(message=None, discord_userid=str(BUYER + 1)), KOFI_TOKEN)
    assert connected.buyer_id == BUYER + 1
    assert kofi_sales.read_sale(kofi_payment(message="Order 12345"), KOFI_TOKEN).buyer_id == 0


def test_the_months_of_a_membership_belong_together_and_nobodys_address_is_kept() -> None:
    first = kofi_sales.read_sale(kofi_membership(first=True, message_id="m1"), KOFI_TOKEN)
    later = kofi_membership(first=False, message_id="m2", message=None, email="some.one@EXAMPLE.com")
    again = kofi_sales.read_sale(later, KOFI_TOKEN)
    assert (first.what, again.what) == ("sold", "paid_again")
    assert first.reference == again.reference
    assert "example" not in repr(first).casefold()
    other = kofi_membership(first=False, message_id="m3", email="another@example.com")
    assert kofi_sales.read_sale(other, KOFI_TOKEN).reference != first.reference


@pytest.mark.parametrize("token", ["", KOFI_TOKEN[:-1], KOFI_TOKEN + "0", "é"])
def test_a_kofi_payment_with_another_token_is_nobodys(token: str) -> None:
    with pytest.raises(NotFromTheShop):
        kofi_sales.read_sale(kofi_payment(verification_token=token), KOFI_TOKEN)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"data=", b"data=%7B%7D", b"data=[]", b"\xff\xfe", b"data=" + b"[" * 100_000, b"x=1&y=2"]
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(SaleUnreadable):
        kofi_sales.read_sale(body, KOFI_TOKEN)
    with pytest.raises(SaleUnreadable):
        stripe_sales.read_sale(body)


def test_damaged_messages_raise_nothing_else() -> None:
    rng = random.Random(15)  # noqa: S311 - a test's own
    bodies = [
        stripe_event("checkout.session.completed", subscribed()),
        stripe_event("invoice.paid", older_invoice()),
        stripe_event("charge.refunded", refund()),
        kofi_membership(first=True, message_id="m1"),
    ]
    read_anyway = refused = 0
    for number in range(rounds(2_000)):
        body = bytearray(bodies[number % 4])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(body))
            body[at : at + rng.randint(0, 3)] = rng.choice(
                [b"", b'"', b"{", b"null", b"\x00", b"\\ud800", b"%ff", b"9"]
            )
        try:
            if number % 4 == 3:
                kofi_sales.read_sale(bytes(body), KOFI_TOKEN)
            else:
                stripe_sales.read_sale(bytes(body))
            read_anyway += 1
        except (SaleUnreadable, NotFromTheShop):
            refused += 1
    print(f"damaged shop messages: {read_anyway} read, {refused} refused")
    assert refused > read_anyway / 20
