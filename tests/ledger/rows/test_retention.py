"""Old events are pruned in batches; new, referenced and audit rows stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from master.configuration.settings import RetentionSettings
from master.ledger.database import Ledger
from master.ledger.rows import nodes
from master.ledger.rows.inspection import count_rows
from master.ledger.rows.retention import prune
from master.services.upkeep.retention import Retention
from tests.conftest import TurnableClock
from tests.ledger.samples import events
from tests.ledger.test_database import a_node


async def test_rows_older_than_the_configured_retention_are_pruned(ledger: Ledger) -> None:
    clock = TurnableClock(datetime(2026, 11, 21, tzinfo=UTC).timestamp())
    node = a_node()
    await ledger.write(lambda c: nodes.insert(c, node))
    for days, count in ((100, 1_200), (10, 30)):
        await ledger.write(events(count, node.id, at=clock.now() - timedelta(days=days)))
    retention = Retention(ledger, RetentionSettings(handshake_events=90, process_events=0), clock)
    removed = await retention.prune_all()
    assert removed["handshake_events"] == 1_200
    assert "process_events" not in removed
    assert (await ledger.read(count_rows))["handshake_events"] == 30
    assert (await retention.prune_all())["handshake_events"] == 0


async def test_a_batch_is_bounded(ledger: Ledger) -> None:
    node, old = a_node(), datetime(2020, 1, 1, tzinfo=UTC)
    await ledger.write(lambda c: nodes.insert(c, node))

    await ledger.write(events(20, node.id, at=old))
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert await ledger.write(lambda c: prune(c, "handshake_events", now, limit=8)) == 8
    assert (await ledger.read(count_rows))["handshake_events"] == 12


class SetClock(TurnableClock):
    """A clock whose date is set apart from what it measures."""

    set_by_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.set_by_s)


async def test_a_clock_that_was_set_forward_by_years_does_not_prune_what_is_new(ledger: Ledger) -> None:
    clock = SetClock()
    retention = Retention(ledger, RetentionSettings(), clock)
    assert retention.trusts_clock()
    clock.set_by_s = 10 * 365 * 86_400.0
    assert not retention.trusts_clock()
    clock.turn(3_600)
    clock.set_by_s = 0.0
    assert not retention.trusts_clock()
    clock.turn(86_400)
    assert retention.trusts_clock()
    for step in (3_600.0, -86_400.0 * 900):
        clock.set_by_s += step
        assert retention.trusts_clock()
