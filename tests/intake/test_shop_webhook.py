"""What a shop's webhook does: over real connections, with a real ledger behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import Connection

from handshake.redaction import Secret
from master.bus import EventBus
from master.configuration.settings import DatabaseSettings, IdentitySettings, LicenceTier, Settings, ShopSettings
from master.events import AlertRaised
from master.intake.requests import MAX_BODY_BYTES
from master.intake.shop import MAX_SALE_BYTES, ShopIntake
from master.ledger.database import Ledger
from master.ledger.rows import licence_events, licences, shop_events
from master.ledger.rows.records import Licence, ShopEvent
from master.security.derivation import MasterSecret
from master.security.licence_codes import LicenceCodes
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.people import stripe_sales
from master.services.people.licence_guesses import Guesses
from master.services.people.licences import Licences
from master.services.people.sales import Sale
from master.services.people.shops import Shops
from master.services.trust.licensing import IssuedLicence, Licensing
from tests.conftest import TurnableClock
from tests.intake.conftest import free_port
from tests.intake.sending import Answer, send
from tests.ledger.writer.test_spool import locked
from tests.services.people.shop_examples import (
    BUYER,
    KOFI_TOKEN,
    STRIPE_SECRET,
    checkout,
    invoice,
    kofi_membership,
    kofi_payment,
    refund,
    signature,
    stripe_event,
    subscribed,
)

TIERS = (LicenceTier(name="pro", days=30), LicenceTier(name="gold", days=365))
PRODUCTS = {"plink_1Pro": "pro", "price_1Pro": "pro", "Gold": "gold", "1a2b3c4d5e": "pro"}


class Ended(BaseException):
    """The master was killed here."""


class KilledLicences(Licences):
    """Licences of a master that dies right after a step."""

    dies_after = ""

    async def issue(self, *arguments: Any, **named: Any) -> IssuedLicence:
        issued = await super().issue(*arguments, **named)
        self._die_after("issue")
        return issued

    async def redeem_issued(self, *arguments: Any, **named: Any) -> Licence:
        redeemed = await super().redeem_issued(*arguments, **named)
        self._die_after("redeem")
        return redeemed

    async def change(self, *arguments: Any, **named: Any) -> Licence:
        changed = await super().change(*arguments, **named)
        self._die_after("change")
        return changed

    def _die_after(self, step: str) -> None:
        if step == self.dies_after:
            raise Ended


class Shop:
    """A listening webhook, and the licences behind it."""

    def __init__(self, ledger: Ledger, clock: TurnableClock, secret: MasterSecret, folder: Path) -> None:
        self.ledger, self.clock, bus = ledger, clock, EventBus()
        self.raised: list[AlertRaised] = []
        bus.on(AlertRaised, self.raised.append)
        alerts = Alerts(bus, NodeDirectory(bus, clock), clock)
        licensing = Licensing(LicenceCodes(secret), TIERS, clock)
        self.licences = KilledLicences(ledger=ledger, licensing=licensing, bus=bus, clock=clock, guesses=Guesses(clock))
        self.settings = Settings(
            home=folder,
            state_dir=folder,
            database=DatabaseSettings(url=Secret("sqlite://")),
            identity=IdentitySettings(
                bots_base_path=folder, template_path=folder, guild_id=5, master_secret=Secret(b"")
            ),
            shop=ShopSettings(
                port=free_port(),
                products=PRODUCTS,
                stripe_secret=Secret(STRIPE_SECRET),
                kofi_token=Secret(KOFI_TOKEN),
            ),
        )
        self.shops = Shops(
            ledger=ledger,
            licences=self.licences,
            alerts=alerts,
            port=None,
            settings=lambda: self.settings,
            clock=clock,
        )
        self.intake = ShopIntake(self.settings.shop, self.shops, alerts, wall_clock=clock)

    @property
    def port(self) -> int:
        return self.settings.shop.port

    @property
    def alerts(self) -> list[str]:
        return [alert.title for alert in self.raised]

    async def stripe(self, kind: str, content: dict[str, Any], event_id: str = "evt_1", **header: str) -> Answer:
        body = stripe_event(kind, content, event_id)
        signed = {"Stripe-Signature": signature(body, at_s=self.clock()), **header}
        return await self.post("/hooks/licence/stripe", body, **signed)

    async def kofi(self, body: bytes) -> Answer:
        return await self.post("/hooks/licence/kofi", body)

    async def post(self, path: str, body: bytes, *, method: str = "POST", **headers: str) -> Answer:
        said = {"Host": "x", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        return await send(self.port, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)

    async def history(self) -> list[str]:
        """Return what became of all licences, in the order of the alphabet."""

        def read(connection: Connection) -> list[str]:
            ids = [licence.id for licence in licences.list_matching(connection)]
            return [event.what for each in ids for event in licence_events.list_of(connection, each)]

        return sorted(await self.ledger.read(read))

    async def event(self, event_id: str, source: str = "stripe") -> ShopEvent | None:
        return await self.ledger.read(lambda c: shop_events.find(c, source, event_id))


@asynccontextmanager
async def listening(shop: Shop) -> AsyncIterator[Shop]:
    running = asyncio.create_task(shop.intake.run())
    await shop.intake.listening.wait()
    try:
        yield shop
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def shop(
    ledger: Ledger, clock: TurnableClock, master_secret: MasterSecret, tmp_path: Path
) -> AsyncIterator[Shop]:
    async with listening(Shop(ledger, clock, master_secret, tmp_path)) as made:
        yield made


async def test_who_paid_has_a_licence(shop: Shop) -> None:
    answer = await shop.stripe("checkout.session.completed", checkout())
    assert (answer.status, answer.content) == (200, {"outcome": "issued"})
    status = await shop.licences.check_person(BUYER)
    assert (status.valid, status.tier) == (True, "pro")
    assert await shop.history() == ["issued", "redeemed"]


async def test_what_is_told_twice_or_at_once_is_done_once(shop: Shop) -> None:
    told = [shop.stripe("checkout.session.completed", checkout()) for _ in range(5)]
    answers = await asyncio.gather(*told)
    assert {answer.status for answer in answers} <= {200, 503}
    assert any(answer.status == 200 for answer in answers)
    again = await shop.stripe("checkout.session.completed", checkout())
    assert (again.status, again.content) == (200, {"outcome": "issued"})
    assert await shop.history() == ["issued", "redeemed"]


async def test_a_subscription_is_renewed_from_its_end_on(shop: Shop) -> None:
    await shop.stripe("checkout.session.completed", subscribed(), "evt_1")
    first = await shop.stripe("invoice.paid", invoice(billing_reason="subscription_create"), "evt_2")
    assert first.content == {"outcome": "ignored"}
    before = (await shop.licences.check_person(BUYER)).expires_at
    shop.clock.turn(29 * 86_400)
    for _ in range(2):
        answer = await shop.stripe("invoice.paid", invoice(), "evt_3")
        assert answer.content == {"outcome": "renewed"}
    after = (await shop.licences.check_person(BUYER)).expires_at
    assert before is not None
    assert after == before + 30 * 86_400


async def test_a_refund_takes_the_licence_back(shop: Shop) -> None:
    await shop.stripe("checkout.session.completed", checkout(), "evt_1")
    part = await shop.stripe("charge.refunded", refund(refunded=False), "evt_2")
    assert part.content == {"outcome": "ignored"}
    assert (await shop.licences.check_person(BUYER)).valid
    for event_id in ("evt_3", "evt_3", "evt_4"):
        assert (await shop.stripe("charge.refunded", refund(), event_id)).content == {"outcome": "revoked"}
    assert (await shop.licences.check_person(BUYER)).reason == "revoked"
    # A payment for what was revoked is a question for a person.
    assert (await shop.stripe("charge.refunded", refund(payment_intent="pi_other"), "evt_5")).content == {
        "outcome": "revoked"
    }
    assert shop.alerts == ["What Stripe sold needs you"]


async def test_a_membership_of_kofi_is_issued_and_renewed(shop: Shop) -> None:
    first = await shop.kofi(kofi_membership(first=True, message_id="m1"))
    assert first.content == {"outcome": "issued"}
    assert (await shop.licences.check_person(BUYER)).tier == "gold"
    again = await shop.kofi(kofi_membership(first=False, message_id="m2", message=None))
    assert again.content == {"outcome": "renewed"}
    assert await shop.history() == ["issued", "redeemed", "renewed"]
    assert (await shop.kofi(kofi_payment())).content == {"outcome": "issued"}, "of the shop, by its item's code"


@pytest.mark.parametrize("step", ["issue", "redeem"])
async def test_a_master_that_is_killed_during_a_sale_goes_on_where_it_was(shop: Shop, step: str) -> None:
    shop.licences.dies_after = step
    with pytest.raises(Ended):
        await shop.shops.take(_sale("checkout.session.completed", subscribed()))
    event = await shop.event("evt_1")
    assert event is not None
    assert event.outcome == "taken"
    shop.licences.dies_after = ""
    assert (await shop.stripe("checkout.session.completed", subscribed())).content == {"outcome": "issued"}
    assert await shop.history() == ["issued", "redeemed"]


async def test_a_master_that_is_killed_during_a_renewal_renews_once(shop: Shop) -> None:
    await shop.stripe("checkout.session.completed", subscribed(), "evt_1")
    before = (await shop.licences.check_person(BUYER)).expires_at
    shop.licences.dies_after = "change"
    with pytest.raises(Ended):
        await shop.shops.take(_sale("invoice.paid", invoice(), "evt_2"))
    shop.licences.dies_after = ""
    assert (await shop.stripe("invoice.paid", invoice(), "evt_2")).content == {"outcome": "renewed"}
    after = (await shop.licences.check_person(BUYER)).expires_at
    assert before is not None
    assert after == before + 30 * 86_400
    assert await shop.history() == ["issued", "redeemed", "renewed"]


async def test_a_sale_to_nobody_known_is_told_to_the_operator(shop: Shop) -> None:
    answer = await shop.stripe("checkout.session.completed", checkout(metadata={}))
    assert (answer.status, answer.content) == (200, {"outcome": "refused"}), "told again it would be the same"
    (alert,) = shop.raised
    assert "`fleet licence issue pro`" in alert.text
    assert "`discord_id`" in alert.text
    assert dict(alert.fields)["Event"] == "evt_1"


async def test_a_product_that_is_no_licence_is_passed_over_and_said_once(shop: Shop) -> None:
    for number in range(3):
        sold = checkout(payment_link="plink_Mug")
        answer = await shop.stripe("checkout.session.completed", sold, f"evt_{number}")
        assert answer.content == {"outcome": "ignored"}
    assert shop.alerts == ["Stripe sold what is no licence"]
    assert "`plink_Mug`" in shop.raised[0].text


async def test_while_the_ledger_is_away_the_shop_is_asked_to_tell_it_again(
    sqlite_settings: DatabaseSettings, clock: TurnableClock, master_secret: MasterSecret, tmp_path: Path
) -> None:
    impatient = structs.replace(sqlite_settings, statement_timeout_s=0.02)
    ledger = await Ledger.open(impatient)
    async with listening(Shop(ledger, clock, master_secret, tmp_path)) as shop:
        with locked(sqlite_settings):
            answer = await shop.stripe("checkout.session.completed", checkout())
            assert (answer.status, answer.headers["retry-after"]) == (503, "60")
        await ledger.wait_available()
        assert (await shop.stripe("checkout.session.completed", checkout())).content == {"outcome": "issued"}
    await ledger.close()


async def test_what_is_not_the_shops_is_refused_without_a_word_of_why(shop: Shop) -> None:
    body = stripe_event("checkout.session.completed", checkout())
    signed = signature(body, at_s=shop.clock())
    for headers in ({}, {"Stripe-Signature": signature(body, "whsec_other", at_s=shop.clock())}):
        answer = await shop.post("/hooks/licence/stripe", body, **headers)
        assert (answer.status, answer.content) == (403, {"detail": "not signed as it should be"})
    assert (await shop.kofi(kofi_payment(verification_token="x"))).content == answer.content
    assert (await shop.post("/hooks/licence/stripe", body + b" ", **{"Stripe-Signature": signed})).status == 403
    shop.clock.turn(301)
    assert (await shop.post("/hooks/licence/stripe", body, **{"Stripe-Signature": signed})).status == 403
    assert (await shop.licences.check_person(BUYER)).reason == "not_found"
    assert shop.alerts == [
        "Stripe's webhook was called without a valid signature",
        "Ko-fi's webhook was called without a valid signature",
    ]
    assert STRIPE_SECRET not in shop.raised[0].text


async def test_other_requests_are_answered_and_do_nothing(shop: Shop) -> None:
    assert (await shop.post("/hooks/licence/paypal", b"{}")).status == 404
    assert (await shop.post("/", b"")).status == 404
    assert (await shop.post("/hooks/licence/stripe", b"", method="GET")).status == 405
    assert (await shop.stripe("checkout.session.completed", {"id": 5})).status == 400
    too_large = b"x" * (MAX_SALE_BYTES + 1)
    assert (await shop.post("/hooks/licence/kofi", too_large)).status == 413
    more = {"Content-Length": str(MAX_BODY_BYTES + 1)}
    assert (await shop.post("/hooks/licence/kofi", b"", **more)).status == 413


async def test_a_shop_without_its_secret_is_off(shop: Shop) -> None:
    shop.intake._settings = ShopSettings(port=shop.port, stripe_secret=Secret(STRIPE_SECRET))
    assert (await shop.kofi(kofi_payment(verification_token=""))).status == 404


async def test_many_idle_connections_do_not_keep_a_shop_out(shop: Shop) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", shop.port) for _ in range(60)]
    assert (await shop.stripe("checkout.session.completed", checkout())).content == {"outcome": "issued"}
    for _, writer in idle:
        writer.close()


def _sale(kind: str, content: dict[str, Any], event_id: str = "evt_1") -> Sale:
    return stripe_sales.read_sale(stripe_event(kind, content, event_id))
