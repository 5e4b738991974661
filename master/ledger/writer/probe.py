"""Probes a database that is away, more and more seldom, until it answers."""

from __future__ import annotations

import logging
import time

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from master.ledger.engine import explain
from master.ledger.errors import LedgerUnavailable
from master.ledger.worker import Call, Worker

log = logging.getLogger(__name__)

PROBE_DELAYS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Delays between probes of a database that is away; the last one repeats."""


class Probe:
    """Probes a database that is away, in the worker's thread, until it answers."""

    def __init__(self, engine: Engine, worker: Worker, stall_s: float) -> None:
        self._engine = engine
        self._worker = worker
        self._stall_s = stall_s
        self._attempt = 0
        self._next_at = time.monotonic() + PROBE_DELAYS_S[0]
        self._pinging: Call[None] | None = None

    def poll_delay_s(self) -> float:
        """Return the seconds until the next :meth:`poll`."""
        if self._pinging is not None:
            return 0.05
        return max(self._next_at - time.monotonic(), 0.01)

    def hasten(self) -> None:
        """Have the next probe be due now: whoever calls has a reason to think that the database is back."""
        self._attempt, self._next_at = 0, time.monotonic()

    def poll(self) -> bool:
        """Tell whether the database answered; starts the next probe when one is due."""
        if self._pinging is not None:
            return self._take_answer(self._pinging)
        if time.monotonic() >= self._next_at:
            try:
                self._pinging = self._worker.submit(self._ping)
            except LedgerUnavailable as error:
                self._put_off(error.message)
        return False

    def _take_answer(self, pinging: Call[None]) -> bool:
        if time.monotonic() - pinging.beat_at > self._stall_s:
            self._worker.abandon(pinging)
            self._engine.dispose(close=False)
        if not pinging.done.done():
            return False
        self._pinging = None
        error = pinging.done.exception()
        # Applying the spool may still fail: the next probe comes later.
        self._put_off("" if error is None else str(error))
        return error is None

    def _put_off(self, why: str) -> None:
        if why:
            log.debug("the database is still away", extra={"why": why})
        self._attempt += 1
        self._next_at = time.monotonic() + PROBE_DELAYS_S[min(self._attempt, len(PROBE_DELAYS_S) - 1)]

    def _ping(self) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            raise explain(error) from error
