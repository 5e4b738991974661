"""Pruning of old events, by table and in small batches."""

from __future__ import annotations

import asyncio
import functools
import logging
from datetime import timedelta

from master.configuration.settings import RetentionSettings
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows.retention import BATCH_ROWS, PRUNABLE, prune
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

FIRST_AFTER_S, EVERY_S, BETWEEN_BATCHES_S = 60.0, 3600.0, 0.1
DAY_S = 86_400.0


class Retention:
    """Delete rows that are older than the config allows."""

    def __init__(self, ledger: Ledger, settings: RetentionSettings, clock: Clock) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._offset_s = self._wall_offset_s()
        self._not_before = float("-inf")

    def update_settings(self, settings: RetentionSettings) -> None:
        """Apply changed settings from the next pruning on."""
        self._settings = settings

    async def run(self) -> None:
        """Prune every hour, until cancelled; failures are retried in the next hour."""
        delay_s = FIRST_AFTER_S
        while True:
            await asyncio.sleep(delay_s)
            delay_s = EVERY_S
            if not self.trusts_clock():
                continue
            try:
                removed = await self.prune_all()
            except LedgerError as error:
                log.warning("old events could not be pruned", extra={"why": error.message})
                continue
            if any(removed.values()):
                log.info("old events pruned", extra={name: count for name, count in removed.items() if count})

    def _wall_offset_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def trusts_clock(self) -> bool:
        """Tell whether to prune now: not in the day after the clock was set forward by more than a day.

        What a wrong date makes old is not brought back by the right one; an operator has been told of the step.
        """
        now, offset_s = self._clock.monotonic(), self._wall_offset_s()
        if offset_s - self._offset_s > DAY_S:
            self._not_before = now + DAY_S
            log.warning("nothing is pruned for a day: the clock was set forward by more than one")
        self._offset_s = offset_s
        return now >= self._not_before

    async def prune_all(self) -> dict[str, int]:
        """Prune every table; returns the rows removed from each.

        Raises
        ------
        LedgerError
        """
        removed = {}
        for name in PRUNABLE:
            days = self._settings.days_of(name)
            if days:
                removed[name] = await self._prune_table(name, days)
        return removed

    async def _prune_table(self, name: str, days: int) -> int:
        before, total = self._clock.now() - timedelta(days=days), 0
        batch = functools.partial(prune, name=name, before=before)
        while True:
            count = await self._ledger.write(batch)
            total += count
            if count < BATCH_ROWS:
                return total
            # Waiting writers go first.
            await asyncio.sleep(BETWEEN_BATCHES_S)
