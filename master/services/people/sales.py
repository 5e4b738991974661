"""What a shop tells of a sale, whichever shop it is."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

import msgspec

from master.errors import FleetError

_USER_ID = re.compile(r"(?<![0-9])[0-9]{17,20}(?![0-9])", re.ASCII)
_LARGEST_ID = 2**63 - 1


class NotFromTheShop(FleetError):
    """A message is not signed as its shop's are, or it is too old."""

    code: ClassVar[str] = "not_from_the_shop"


class SaleUnreadable(FleetError):
    """A message of a shop has not the form that its documentation names."""

    code: ClassVar[str] = "sale_unreadable"


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """What a shop tells, as far as licences are concerned."""

    source: Literal["stripe", "kofi"]
    event_id: str
    """The shop's own; it tells the same again until it is answered."""
    what: Literal["sold", "paid_again", "refunded", "nothing"]
    """paid_again: a further period of a subscription; nothing: no licence changes by it."""
    products: tuple[str, ...] = ()
    """What the shop calls what was sold, the most exact name first."""
    buyer_id: int = 0
    """Of his Discord account; 0: the shop does not know it."""
    reference: str = ""
    """What a renewal or a refund names the sale by: a subscription, a payment."""
    part_of: str = ""
    """Of a refund: the invoice that the payment was of, if the shop says it there."""
    links: tuple[tuple[str, str], ...] = ()
    """What belongs to what, as far as this tells it: a payment to an invoice, an invoice to a subscription."""
    detail: str = ""


def user_id_in(text: str) -> int:
    """Return the first Discord id in a text; 0 if there is none."""
    found = _USER_ID.search(text)
    return int(found[0]) if found and int(found[0]) <= _LARGEST_ID else 0
