"""Stripe's webhook: who may send it, and what its events mean for licences.

https://docs.stripe.com/webhooks/signature, https://docs.stripe.com/api/events/types. Fields moved with the API version
of 2025-03-31: an invoice's subscription is read from where it was, and from where it is now.
"""

from __future__ import annotations

import hmac
from typing import Any, TypeVar

import msgspec

from master.services.people.sales import NotFromTheShop, Sale, SaleUnreadable, user_id_in

TOLERANCE_S = 300.0
"""How old a signature may be; Stripe's own libraries take the same."""
_MOST_SIGNATURES = 20
_BUYER_KEY = "discord_id"
_PRODUCT_KEYS = ("product", "tier")
"""In the metadata of a checkout: what was sold, if no price or payment link says it."""
_BY_NOW_PAID = ("paid", "no_payment_required")


class _Struct(msgspec.Struct, frozen=True):
    pass


class _Data(_Struct, frozen=True):
    object: msgspec.Raw


class _Event(_Struct, frozen=True):
    id: str
    type: str
    data: _Data


class _Session(_Struct, frozen=True):
    id: str
    payment_status: str = ""
    metadata: dict[str, str] | None = None
    client_reference_id: str | None = None
    subscription: str | None = None
    payment_intent: str | None = None
    payment_link: str | None = None
    invoice: str | None = None


class _SubscriptionDetails(_Struct, frozen=True):
    subscription: str | None = None
    metadata: dict[str, str] | None = None


class _Parent(_Struct, frozen=True):
    subscription_details: _SubscriptionDetails | None = None


class _Price(_Struct, frozen=True):
    id: str = ""
    product: str = ""


class _PriceDetails(_Struct, frozen=True):
    price: str = ""
    product: str = ""


class _Pricing(_Struct, frozen=True):
    price_details: _PriceDetails | None = None


class _Line(_Struct, frozen=True):
    price: _Price | None = None
    pricing: _Pricing | None = None

    @property
    def names(self) -> tuple[str, ...]:
        if self.price is not None:
            return self.price.id, self.price.product
        details = self.pricing.price_details if self.pricing else None
        return (details.price, details.product) if details else ()


class _Lines(_Struct, frozen=True):
    data: list[_Line] = []


class _Invoice(_Struct, frozen=True):
    id: str
    billing_reason: str | None = None
    subscription: str | None = None
    subscription_details: _SubscriptionDetails | None = None
    parent: _Parent | None = None
    lines: _Lines = _Lines()
    payment_intent: str | None = None

    @property
    def details(self) -> _SubscriptionDetails:
        """Return the subscription that it is of, from where the event's API version has it."""
        if self.parent is not None and self.parent.subscription_details is not None:
            return self.parent.subscription_details
        metadata = self.subscription_details.metadata if self.subscription_details else None
        return _SubscriptionDetails(self.subscription, metadata)


class _Charge(_Struct, frozen=True):
    id: str
    refunded: bool = False
    payment_intent: str | None = None
    invoice: str | None = None


class _Payment(_Struct, frozen=True):
    payment_intent: str | None = None
    charge: str | None = None


class _InvoicePayment(_Struct, frozen=True):
    """Since 2025-03-31 this alone says which payment an invoice was paid with."""

    id: str
    invoice: str | None = None
    payment: _Payment | None = None


T = TypeVar("T")


def check_signature(header: str, body: bytes, secret: str, *, now_s: float) -> None:
    """Check the ``Stripe-Signature`` of a body, as it was sent.

    Raises
    ------
    NotFromTheShop
    """
    said: dict[str, list[str]] = {}
    for part in header.split(",")[:_MOST_SIGNATURES]:
        name, _, value = part.strip().partition("=")
        said.setdefault(name, []).append(value)
    at = next(iter(said.get("t", [])), "")
    if not (at.isascii() and at.isdecimal() and len(at) < 15):
        raise NotFromTheShop("there is no Stripe-Signature", hint="Stripe sends one; does a proxy take it away?")
    expected = hmac.digest(secret.encode(), at.encode() + b"." + body, "sha256").hex().encode()
    # While a secret is being rolled there is a signature with each. All are compared: the time says nothing.
    genuine = [hmac.compare_digest(expected, shown.encode()) for shown in said.get("v1", [])]
    if not any(genuine):
        raise NotFromTheShop(
            "the signature does not fit", hint="STRIPE_WEBHOOK_SECRET in .env is the endpoint's, whsec_..., in Stripe"
        )
    if abs(now_s - int(at)) > TOLERANCE_S:
        raise NotFromTheShop("the signature is too old", hint="sent again, or this box's clock is wrong")


def read_sale(body: bytes) -> Sale:
    """Return what an event means.

    Raises
    ------
    SaleUnreadable
    """
    event = _decode(body, _Event)
    if not 0 < len(event.id) <= 120:
        raise SaleUnreadable("the event has no id")
    content = event.data.object
    if event.type in ("checkout.session.completed", "checkout.session.async_payment_succeeded"):
        return _of_session(event.id, _decode(content, _Session))
    if event.type == "invoice.paid":
        return _of_invoice(event.id, _decode(content, _Invoice))
    if event.type == "invoice_payment.paid":
        return _of_payment(event.id, _decode(content, _InvoicePayment))
    if event.type == "charge.refunded":
        return _of_refund(event.id, _decode(content, _Charge))
    return Sale(source="stripe", event_id=event.id, what="nothing", detail=event.type[:80])


def _of_session(event_id: str, session: _Session) -> Sale:
    if session.payment_status not in _BY_NOW_PAID:
        return Sale(source="stripe", event_id=event_id, what="nothing", detail="not paid yet")
    metadata = session.metadata or {}
    named = [metadata.get(key, "") for key in _PRODUCT_KEYS]
    return Sale(
        source="stripe",
        event_id=event_id,
        what="sold",
        products=_said(*named, session.payment_link or ""),
        buyer_id=user_id_in(metadata.get(_BUYER_KEY, "")) or user_id_in(session.client_reference_id or ""),
        reference=(session.subscription or session.payment_intent or session.id)[:120],
        links=_links((session.invoice, session.subscription)),
    )


def _of_invoice(event_id: str, invoice: _Invoice) -> Sale:
    details = invoice.details
    links = _links((invoice.id, details.subscription), (invoice.payment_intent, invoice.id))
    if not details.subscription or invoice.billing_reason == "subscription_create":
        # The first one is a checkout too, which has said all there is.
        return Sale(source="stripe", event_id=event_id, what="nothing", detail="no renewal", links=links)
    if invoice.billing_reason != "subscription_cycle":
        detail = str(invoice.billing_reason)[:80]
        return Sale(source="stripe", event_id=event_id, what="nothing", detail=detail, links=links)
    metadata = details.metadata or {}
    names = [name for line in invoice.lines.data for name in line.names]
    return Sale(
        source="stripe",
        event_id=event_id,
        what="paid_again",
        products=_said(*(metadata.get(key, "") for key in _PRODUCT_KEYS), *names),
        buyer_id=user_id_in(metadata.get(_BUYER_KEY, "")),
        reference=details.subscription[:120],
        links=links,
    )


def _of_payment(event_id: str, paid: _InvoicePayment) -> Sale:
    payment = paid.payment or _Payment()
    links = _links((payment.payment_intent or payment.charge, paid.invoice))
    return Sale(source="stripe", event_id=event_id, what="nothing", detail="a payment of an invoice", links=links)


def _of_refund(event_id: str, charge: _Charge) -> Sale:
    if not charge.refunded:
        return Sale(source="stripe", event_id=event_id, what="nothing", detail="a part was refunded")
    reference = (charge.payment_intent or charge.id)[:120]
    return Sale(
        source="stripe",
        event_id=event_id,
        what="refunded",
        reference=reference,
        part_of=(charge.invoice or "")[:120],
    )


def _links(*known: tuple[str | None, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((part[:110], whole[:120]) for part, whole in known if part and whole)


def _said(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def _decode(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        found: Any = msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SaleUnreadable("the event is malformed", hint=str(error)[:200]) from error
    return found  # type: ignore[no-any-return]
