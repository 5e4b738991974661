"""Messages of shops, with the fields that their documentation has."""

from __future__ import annotations

import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

STRIPE_SECRET = "whsec_" + "5" * 32
KOFI_TOKEN = "00000000-1111-2222-3333-444444444444"
BUYER = 4_100_000_000_000_000_001


def stripe_event(kind: str, content: dict[str, Any], event_id: str = "evt_1PaidOnce") -> bytes:
    """Return an event as Stripe posts it."""
    return json.dumps(
        {
            "id": event_id,
            "object": "event",
            "api_version": "2026-03-25.dahlia",
            "created": 1_790_000_000,
            "data": {"object": content},
            "livemode": True,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        },
        indent=2,
    ).encode()


def checkout(**changes: Any) -> dict[str, Any]:
    """Return a checkout session that was paid once."""
    return {
        "id": "cs_live_a1IdO3cRAiDtsfYm6c8s",
        "object": "checkout.session",
        "amount_total": 2_500,
        "client_reference_id": None,
        "currency": "eur",
        "customer": "cus_OV8zF7RMsBo1K1",
        "customer_details": {"email": "someone@example.com", "name": "Some One"},
        "invoice": None,
        "line_items": None,
        "metadata": {"discord_id": str(BUYER)},
        "mode": "payment",
        "payment_intent": "pi_3NiEd5CwEGCgBV8c",
        "payment_link": "plink_1Pro",
        "payment_status": "paid",
        "status": "complete",
        "subscription": None,
        **changes,
    }


def subscribed(**changes: Any) -> dict[str, Any]:
    """Return a checkout session that began a subscription."""
    began: dict[str, Any] = {"mode": "subscription", "subscription": "sub_1NiEd5CwEGCgBV8c", "payment_intent": None}
    return checkout(**began | {"invoice": "in_1First"} | changes)


def invoice(**changes: Any) -> dict[str, Any]:
    """Return an invoice of a further period, as API versions since 2025-03-31 have it."""
    details = {"metadata": {}, "subscription": "sub_1NiEd5CwEGCgBV8c"}
    line = {"id": "il_1", "pricing": {"price_details": {"price": "price_1Pro", "product": "prod_Pro"}}}
    return {
        "id": "in_1Second",
        "object": "invoice",
        "billing_reason": "subscription_cycle",
        "customer": "cus_OV8zF7RMsBo1K1",
        "lines": {"object": "list", "data": [line], "has_more": False},
        "parent": {"quote_details": None, "subscription_details": details, "type": "subscription_details"},
        "status": "paid",
        **changes,
    }


def older_invoice(**changes: Any) -> dict[str, Any]:
    """Return the same, as API versions before 2025-03-31 have it."""
    older = invoice(subscription="sub_1NiEd5CwEGCgBV8c", subscription_details={"metadata": {}}, **changes)
    del older["parent"]
    older["lines"]["data"] = [{"id": "il_1", "price": {"id": "price_1Pro", "object": "price", "product": "prod_Pro"}}]
    return older


def invoice_payment(**changes: Any) -> dict[str, Any]:
    """Return what says with which payment an invoice was paid, as API versions since 2025-03-31 have it."""
    return {
        "id": "inpay_1M3USa2eZvKYlo2C",
        "object": "invoice_payment",
        "amount_paid": 2_500,
        "invoice": "in_1Second",
        "is_default": True,
        "payment": {"type": "payment_intent", "payment_intent": "pi_3Second"},
        "status": "paid",
        **changes,
    }


def refund(**changes: Any) -> dict[str, Any]:
    """Return a charge of which all was paid back."""
    return {
        "id": "ch_3NiEd5CwEGCgBV8c",
        "object": "charge",
        "amount": 2_500,
        "amount_refunded": 2_500,
        "customer": "cus_OV8zF7RMsBo1K1",
        "payment_intent": "pi_3NiEd5CwEGCgBV8c",
        "refunded": True,
        **changes,
    }


def signature(body: bytes, secret: str = STRIPE_SECRET, *, at_s: float | None = None) -> str:
    """Return the header ``Stripe-Signature``."""
    at = int(time.time() if at_s is None else at_s)
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.'.encode() + body, 'sha256').hexdigest()}"


def kofi_payment(**changes: Any) -> bytes:
    """Return a payment as Ko-fi posts it: a form, with JSON in its only field."""
    payment = {
        "verification_token": KOFI_TOKEN,
        "message_id": "3a1fac0c-f960-4506-a60e-824979a74e74",
        "timestamp": "2026-11-21T13:04:30Z",
        "type": "Shop Order",
        "is_public": True,
        "from_name": "Some One",
        "message": f"For my account, {BUYER}. Thank you!",
        "amount": "25.00",
        "url": "https://ko-fi.com/Home/CoffeeShop?txid=0a1fac0c-f960-4506-a60e-824979a74e71",
        "email": "Some.One@example.com",
        "currency": "EUR",
        "is_subscription_payment": False,
        "is_first_subscription_payment": False,
        "kofi_transaction_id": "0a1fac0c-f960-4506-a60e-824979a74e71",
        "shop_items": [{"direct_link_code": "1a2b3c4d5e", "variation_name": "", "quantity": 1}],
        "tier_name": None,
        "shipping": None,
        **changes,
    }
    return urlencode({"data": json.dumps(payment)}).encode()


def kofi_membership(*, first: bool, message_id: str, **changes: Any) -> bytes:
    """Return a month of a membership."""
    of_member: dict[str, Any] = {"type": "Subscription", "is_subscription_payment": True, "tier_name": "Gold"}
    said = {"is_first_subscription_payment": first, "message_id": message_id, "shop_items": None}
    return kofi_payment(**of_member | said | changes)
