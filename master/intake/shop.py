"""The webhooks of shops: a server on the loopback address, behind the operator's own web server, which has the TLS."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from handshake.rare_log import RareLog
from master.configuration.settings import ShopSettings
from master.events import AlertLevel
from master.intake.connections import Connections
from master.intake.requests import MAX_HEAD_BYTES, Head, RequestRefused, read_body, read_head, send_answer, too_large
from master.ledger.errors import LedgerError
from master.services.core.alerts import Alerts
from master.services.people import kofi_sales, stripe_sales
from master.services.people.sales import NotFromTheShop, Sale, SaleUnreadable
from master.services.people.shops import SHOP_NAMES, SaleInWork, Shops

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
PATHS = {"/hooks/licence/stripe": "stripe", "/hooks/licence/kofi": "kofi"}
MAX_CONNECTIONS = 16
MAX_SALE_BYTES = 262_144
"""Stripe's largest events have some 100 KB."""
TRY_AGAIN_S = 15.0
_AGAIN = {"Retry-After": "60"}


class ShopIntake:
    """Take what shops tell.

    Parameters
    ----------
    settings
        The port, and what the shops sign with.
    wall_clock
        Unix seconds, as signatures carry them.
    """

    def __init__(
        self, settings: ShopSettings, shops: Shops, alerts: Alerts, *, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._shops = shops
        self._alerts = alerts
        self._wall_clock = wall_clock
        self._connections = Connections(self._converse, who="a shop", most=MAX_CONNECTIONS, one_each=False)
        self._refused = RareLog(log, "what a shop sent was refused")
        self._strange = RareLog(log, "a webhook was called by somebody who is not the shop")
        self._warned: set[str] = set()
        self.listening = asyncio.Event()
        """Set once it listens."""

    async def run(self) -> None:
        """Listen until cancelled; while the port is taken, try again."""
        server = await self._listen()
        try:
            # Not serve_forever(), which waits for every connection to end.
            await asyncio.Event().wait()
        finally:
            server.close()
            await self._connections.end()
            await self._shops.end()

    async def _listen(self) -> asyncio.Server:
        port, told = self._settings.port, False
        while True:
            try:
                server = await asyncio.start_server(
                    self._connections.serve, LOOPBACK, port, limit=MAX_HEAD_BYTES, backlog=MAX_CONNECTIONS
                )
            except OSError as error:
                if not told:
                    told = True
                    why = error.strerror or str(error)
                    log.error("the shop's webhook cannot listen", extra={"port": port, "why": why})
                    self._alerts.raise_alert(
                        AlertLevel.ERROR,
                        "The shop's webhook cannot listen",
                        key="shop:down",
                        text=f"{LOOPBACK}:{port}: {why}. It is tried again every {TRY_AGAIN_S:g} s, and shops tell "
                        "again what nobody took. PORT of SHOP names another port; `ss -ltnp` shows who has it.",
                    )
                await asyncio.sleep(TRY_AGAIN_S)
                continue
            log.info("the shop's webhook listens", extra={"port": port})
            self.listening.set()
            return server

    # A connection

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        try:
            head = await read_head(reader)
            if head is None:
                return
            sale = await self._read(reader, writer, head)
            # Genuine: strangers make room first.
            self._connections.crowd.prove(task)
            outcome = await self._shops.take(sale)
        except RequestRefused as refusal:
            self._refused(status=refusal.status.value, why=refusal.reason)
            await send_answer(reader, writer, refusal.status, {"detail": refusal.reason}, refusal.headers)
        except (LedgerError, SaleInWork) as error:
            log.warning("a shop's event waits until it is told again", extra={"why": error.message})
            status = HTTPStatus.SERVICE_UNAVAILABLE
            await send_answer(reader, writer, status, {"detail": "not now: tell it again"}, _AGAIN)
        except (OSError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("a shop's event failed")
            await send_answer(reader, writer, HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": "see the master's log"})
        else:
            await send_answer(reader, writer, HTTPStatus.OK, {"outcome": outcome})

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head) -> Sale:
        """Read a request.

        Raises
        ------
        RequestRefused
            It is for something else, too large, unsigned or malformed. Who is no shop is not told what was wrong.
        """
        shop = PATHS.get(head.path)
        secret = {"stripe": self._settings.stripe_secret, "kofi": self._settings.kofi_token}.get(shop or "")
        if shop is None or not secret:
            raise RequestRefused(HTTPStatus.NOT_FOUND, "no such resource")
        if head.method != "POST":
            raise RequestRefused(HTTPStatus.METHOD_NOT_ALLOWED, "POST is taken alone", {"Allow": "POST"})
        body = await read_body(reader, writer, head)
        if len(body) > MAX_SALE_BYTES:
            raise too_large(f"{len(body)} bytes")
        try:
            if shop == "kofi":
                return kofi_sales.read_sale(body, secret.reveal())
            signature = head.headers.get("stripe-signature", "")
            stripe_sales.check_signature(signature, body, secret.reveal(), now_s=self._wall_clock())
            return stripe_sales.read_sale(body)
        except NotFromTheShop as error:
            self._warn_of_stranger(shop, error)
            raise RequestRefused(HTTPStatus.FORBIDDEN, "not signed as it should be") from None
        except SaleUnreadable as error:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, error.message) from None

    def _warn_of_stranger(self, shop: str, error: NotFromTheShop) -> None:
        """Say that something is unsigned: an attempt, or a secret that was mistyped, which loses sales."""
        self._strange(shop=shop, why=error.message, hint=error.hint)
        if shop in self._warned:
            return
        self._warned.add(shop)
        self._alerts.raise_alert(
            AlertLevel.WARNING,
            f"{SHOP_NAMES[shop]}'s webhook was called without a valid signature",
            key=f"shop:strange:{shop}",
            text=f"{error.message[:1].upper()}{error.message[1:]}: {error.hint}. If it was not the shop, there is "
            "nothing to do. It is said once until the master starts anew; the log counts them.",
            is_security=True,
        )
