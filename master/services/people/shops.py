"""Sales of shops: a licence is issued to who bought it, renewed with each further payment, revoked by a refund.

A shop tells the same until it is answered, twice at once if it likes. Each of its events is on record before anything
is done for it, with what a repetition needs to know whether it was done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import ClassVar, Literal

from sqlalchemy import Connection

from master.configuration.settings import Settings
from master.errors import FleetError
from master.events import AlertLevel
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import licences as licence_rows
from master.ledger.rows import shop_events
from master.ledger.rows.records import Licence, LicenceState, ShopEvent
from master.services.core.actors import Actor
from master.services.core.alerts import Alerts
from master.services.core.discord_port import DiscordPort, Notice
from master.services.core.errors import DiscordPortError
from master.services.people.licences import Licences
from master.services.people.sales import Sale
from master.supervision.clock import Clock
from master.wording import as_code, as_markdown, visible

log = logging.getLogger(__name__)

SHOP_NAMES = {"stripe": "Stripe", "kofi": "Ko-fi"}
Outcome = Literal["taken", "issued", "renewed", "revoked", "ignored", "refused"]
_NO_BUYER = (
    "Issue it by hand, `fleet licence issue {tier}`, and send the buyer the code: the shop has his address. With his "
    "Discord id, in Stripe as `discord_id` in the checkout's metadata, at Ko-fi in his message, it is his by itself."
)
_NO_LICENCE = (
    "If it was for a licence, `fleet licence list` finds it and `fleet licence revoke` ends it. Payments of "
    "subscriptions are known by Stripe's event invoice_payment.paid: is it chosen for this webhook?"
)


class SaleInWork(FleetError):
    """The same event is being carried out; the shop asks again."""

    code: ClassVar[str] = "sale_in_work"


class Shops:
    """Carry out what shops tell.

    Parameters
    ----------
    settings
        Returns those that are in effect.
    port
        None: buyers cannot be told.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        licences: Licences,
        alerts: Alerts,
        port: DiscordPort | None,
        settings: Callable[[], Settings],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._licences = licences
        self._alerts = alerts
        self._port = port
        self._settings = settings
        self._clock = clock
        self._working: set[tuple[str, str]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._passed_over: set[str] = set()

    async def take(self, sale: Sale) -> str:
        """Carry out an event; returns what became of it, now or when it was told before.

        Raises
        ------
        LedgerError
            Nothing is lost: the shop tells it again.
        SaleInWork
        """
        if sale.links:
            await self._ledger.write(partial(_link, sale, at=self._clock.now()))
        if sale.what == "nothing":
            log.info("a shop's event changes no licence", extra={"shop": sale.source, "event": sale.detail})
            return "ignored"
        key = (sale.source, sale.event_id)
        if key in self._working:
            raise SaleInWork("this event is being carried out", hint="ask again")
        self._working.add(key)
        try:
            return await self._take(sale)
        finally:
            self._working.discard(key)

    async def end(self) -> None:
        """Stop telling buyers; what they bought is theirs."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    async def _take(self, sale: Sale) -> str:
        known = await self._ledger.read(lambda connection: shop_events.find(connection, sale.source, sale.event_id))
        if known is not None and known.outcome != "taken":
            log.info("a shop told an event again", extra={"shop": sale.source, "outcome": known.outcome})
            return known.outcome
        try:
            done = await self._carry_out(sale, known)
        except LedgerError:
            raise
        except FleetError as error:
            # Told again it would end as now: a person has to look.
            done = self._refuse(sale, f"{error.message}. {error.hint}".rstrip(" ."))
        await self._ledger.write(lambda connection: shop_events.put(connection, done))
        log.info("a shop's event was taken", extra={"shop": sale.source, "outcome": done.outcome})
        return done.outcome

    async def _carry_out(self, sale: Sale, known: ShopEvent | None) -> ShopEvent:
        if sale.what == "refunded":
            return await self._refund(sale)
        licence = await self._ledger.read(lambda connection: _licence_of(connection, sale.source, sale.reference))
        if licence is not None and sale.what == "paid_again":
            return await self._renew(sale, licence, known)
        if await self._ledger.read(lambda c: shop_events.was_refunded(c, sale.source, sale.reference)):
            # Shops tell in no order: what is paid back is not sold any more.
            return self._event(sale, "ignored", detail="it was refunded before")
        tier = next((self._products[name] for name in sale.products if name in self._products), "")
        if not tier:
            return self._pass_over(sale)
        if not sale.buyer_id:
            return self._refuse(sale, f"{tier} was paid for, and nobody knows by whom", _NO_BUYER.format(tier=tier))
        return await self._sell(sale, tier)

    @property
    def _products(self) -> Mapping[str, str]:
        return self._settings().shop.products

    async def _sell(self, sale: Sale, tier: str) -> ShopEvent:
        await self._ledger.write(lambda connection: shop_events.put(connection, self._event(sale, "taken")))
        origin = f"shop:{sale.source}:{sale.event_id}"[:120]
        actor = _actor(sale)
        licence = await self._ledger.read(lambda connection: _issued(connection, origin))
        if licence is None:
            licence = (await self._licences.issue(tier, actor=actor, origin=origin)).record
        if licence.holder_id is None:
            guild_id = self._settings().identity.guild_id
            # In his name at once: a code would have to reach him, and be his alone only from then on.
            licence = await self._licences.redeem_issued(
                licence.id, user_id=sale.buyer_id, guild_id=guild_id, actor=actor
            )
        self._tell(sale.buyer_id, f"Thank you! The licence **{as_markdown(licence.tier)}** is yours{_until(licence)}.")
        return self._event(sale, "issued", licence.id)

    async def _renew(self, sale: Sale, licence: Licence, known: ShopEvent | None) -> ShopEvent:
        ends = str(licence.expires_at)
        if known is None:
            taken = self._event(sale, "taken", licence.id, ends)
            await self._ledger.write(lambda connection: shop_events.put(connection, taken))
        if known is None or known.detail == ends:
            # Else it was renewed, and the master ended before that was on record.
            licence = await self._licences.change(licence.id, "renew", actor=_actor(sale), why=sale.event_id)
            if licence.holder_id:
                text = f"Your licence **{as_markdown(licence.tier)}** is renewed{_until(licence)}. Thank you!"
                self._tell(licence.holder_id, text)
        return self._event(sale, "renewed", licence.id)

    async def _refund(self, sale: Sale) -> ShopEvent:
        licence, is_past = await self._ledger.read(lambda connection: _refunded(connection, sale))
        if licence is not None and is_past:
            why = f"an earlier period of licence {licence.id} was refunded; a later one is paid"
            return self._refuse(sale, why, f"If it is to end: `fleet licence revoke {licence.id}`.")
        if licence is None:
            self._complain(sale, f"{sale.reference} was refunded, and no licence is known for it", _NO_LICENCE)
            return self._event(sale, "revoked", detail="no licence was known for it")
        if licence.state is not LicenceState.REVOKED:
            await self._licences.change(licence.id, "revoke", actor=_actor(sale), why="refunded")
        return self._event(sale, "revoked", licence.id)

    def _pass_over(self, sale: Sale) -> ShopEvent:
        named = ", ".join(sale.products) or "something without a name"
        if named not in self._passed_over:
            self._passed_over.add(named)
            self._alerts.raise_alert(
                AlertLevel.WARNING,
                f"{SHOP_NAMES[sale.source]} sold what is no licence",
                key=f"shop:unknown:{named}",
                text=f"`PRODUCTS` of `SHOP` in config.py has no tier for `{as_code(named)}`. If it is one, add it, and "
                "issue this one by hand: `fleet licence issue`. It is said once.",
            )
        return self._event(sale, "ignored", detail=named)

    def _refuse(self, sale: Sale, why: str, fix: str = "") -> ShopEvent:
        self._complain(sale, why, fix)
        return self._event(sale, "refused", detail=why)

    def _complain(self, sale: Sale, why: str, fix: str) -> None:
        self._alerts.raise_alert(
            AlertLevel.ERROR,
            f"What {SHOP_NAMES[sale.source]} sold needs you",
            key=f"shop:refused:{sale.source}:{sale.event_id}",
            text=f"{as_markdown(visible(why))}. {fix}".strip()[:1_500],
            fields=(("Event", sale.event_id), ("Reference", sale.reference or "-")),
        )

    def _event(self, sale: Sale, outcome: Outcome, licence_id: str | None = None, detail: str = "") -> ShopEvent:
        return ShopEvent(
            source=sale.source,
            event_id=sale.event_id,
            at=self._clock.now(),
            reference=sale.reference,
            licence_id=licence_id,
            outcome=outcome,
            detail=detail[:400],
        )

    def _tell(self, user_id: int, text: str) -> None:
        """Tell a buyer, without letting the shop wait for it."""
        task = asyncio.get_running_loop().create_task(self._write_to(user_id, text), name="a buyer is told")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _write_to(self, user_id: int, text: str) -> None:
        if self._port is None:
            return
        try:
            await self._port.direct_message(user_id, Notice(text=f"{text} `/licence show` shows it."))
        except DiscordPortError as error:
            self._alerts.raise_alert(
                AlertLevel.WARNING,
                "A buyer could not be told",
                key=f"shop:untold:{user_id}",
                text=f"<@{user_id}> has what he bought: `/licence show` shows it to him. {as_markdown(error.message)}",
            )


def _issued(connection: Connection, origin: str) -> Licence | None:
    licence_id = shop_events.find_issued(connection, origin)
    return None if licence_id is None else licence_rows.get(connection, licence_id)


def _licence_of(connection: Connection, source: str, reference: str) -> Licence | None:
    licence_id = shop_events.find_licence(connection, source, reference)
    return None if licence_id is None else licence_rows.get(connection, licence_id)


def _link(sale: Sale, connection: Connection, *, at: datetime) -> None:
    for part, whole in sale.links:
        shop_events.put_link(connection, sale.source, part, whole, at=at)


def _refunded(connection: Connection, sale: Sale) -> tuple[Licence | None, bool]:
    """Return the licence that a refunded payment was for, and whether a later period of it is paid."""
    paid_once = _licence_of(connection, sale.source, sale.reference)
    if paid_once is not None:
        return paid_once, False
    invoice = sale.part_of or shop_events.whole_of(connection, sale.source, sale.reference)
    subscription = shop_events.whole_of(connection, sale.source, invoice) if invoice else ""
    if not subscription:
        return None, False
    newest = shop_events.newest_part_of(connection, sale.source, subscription)
    return _licence_of(connection, sale.source, subscription), newest != invoice


def _actor(sale: Sale) -> Actor:
    return Actor(face="system", identity=sale.source, name=SHOP_NAMES[sale.source])


def _until(licence: Licence) -> str:
    return "" if licence.expires_at is None else f" until <t:{int(licence.expires_at.timestamp())}:D>"
