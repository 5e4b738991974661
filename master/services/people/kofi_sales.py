"""Ko-fi's webhook: who may send it, and what its payments mean for licences.

https://help.ko-fi.com/hc/en-us/articles/360004162298: a form with one field, ``data``, which is JSON and has the
verification token in it. There are no messages about refunds and cancelled memberships.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs

import msgspec

from master.services.people.sales import NotFromTheShop, Sale, SaleUnreadable, user_id_in


class _Item(msgspec.Struct, frozen=True):
    direct_link_code: str = ""


class _Payment(msgspec.Struct, frozen=True):
    verification_token: str
    message_id: str
    type: str = ""
    message: str | None = None
    email: str | None = None
    tier_name: str | None = None
    is_subscription_payment: bool = False
    is_first_subscription_payment: bool = False
    shop_items: list[_Item] | None = None
    kofi_transaction_id: str = ""
    discord_userid: str | None = None
    """Of a buyer who connected his Discord account with Ko-fi."""


def read_sale(body: bytes, token: str) -> Sale:
    """Return what a payment means, once its token is the right one.

    Raises
    ------
    SaleUnreadable, NotFromTheShop
    """
    payment = _payment_in(body)
    if not hmac.compare_digest(payment.verification_token.encode(), token.encode()):
        raise NotFromTheShop(
            "the verification token does not fit", hint="KOFI_VERIFICATION_TOKEN in .env is that of Ko-fi's API page"
        )
    if not 0 < len(payment.message_id) <= 120:
        raise SaleUnreadable("the payment has no message_id")
    buyer_id = user_id_in(payment.discord_userid or "") or user_id_in(payment.message or "")
    again = payment.is_subscription_payment and not payment.is_first_subscription_payment
    names = (payment.tier_name or "", *(item.direct_link_code for item in payment.shop_items or ()), payment.type)
    return Sale(
        source="kofi",
        event_id=payment.message_id,
        what="paid_again" if again else "sold",
        products=tuple(dict.fromkeys(name for name in names if name)),
        buyer_id=buyer_id,
        reference=_reference_of(payment, buyer_id),
    )


def _payment_in(body: bytes) -> _Payment:
    try:
        fields = parse_qs(body.decode(), strict_parsing=True, max_num_fields=20)
        found: Any = msgspec.json.decode(fields["data"][0], type=_Payment)
    except (msgspec.DecodeError, KeyError, ValueError, RecursionError) as error:
        raise SaleUnreadable("this is no payment of Ko-fi", hint=str(error)[:200]) from error
    return found  # type: ignore[no-any-return]


def _reference_of(payment: _Payment, buyer_id: int) -> str:
    """Return what all payments of one membership have in common, without who the buyer is."""
    member = (payment.email or "").casefold() or (str(buyer_id) if buyer_id else "")
    # Of a member of whom nothing is known each payment stands alone: it must renew nobody else's licence.
    if not payment.is_subscription_payment or not member:
        return f"payment:{payment.kofi_transaction_id or payment.message_id}"[:120]
    who = f"{member}\n{payment.tier_name or ''}"
    return "member:" + hashlib.sha256(who.encode()).hexdigest()[:32]
