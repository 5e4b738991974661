"""A disk without room: what is written down waits in memory, in order, and is there once when there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from master.bus import EventBus
from master.configuration.settings import DatabaseSettings
from master.events import LedgerAway, LedgerReturned
from master.ledger.database import Ledger
from master.ledger.errors import LedgerDiskFull, LedgerUnavailable
from master.ledger.rows import audit, nodes
from master.ledger.rows.audit import AuditChain
from master.ledger.writer import probe, queue
from master.ledger.writer.spool import SpoolFailed
from tests.ledger.test_database import a_node
from tests.ledger.writer.test_spool import action, refusal


class FullDisk:
    """A ledger whose file may not grow (SQLite's own error for a full disk), and a spool that cannot be written."""

    def __init__(self, ledger: Ledger, spool_dir: Path, bus: EventBus) -> None:
        self.ledger, self.spool_dir, self.bus, self.is_full = ledger, spool_dir, bus, False
        event.listen(ledger._engine, "connect", self._limit)

    def _limit(self, connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={1 if self.is_full else 2**30}")

    def fill(self) -> None:
        self.is_full = True
        self.ledger._engine.dispose()
        self.spool_dir.write_text("no folder")

    def free(self) -> None:
        self.is_full = False
        self.ledger._engine.dispose()
        self.spool_dir.unlink()

    async def write_until_full(self) -> int:
        """Return how many rows the pages that are there took."""
        for number in range(200):
            if not await self.ledger.write_durable(action(number)):
                return number
        raise AssertionError("it never was full")


@pytest.fixture
async def disk(
    sqlite_settings: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FullDisk]:
    monkeypatch.setattr(probe, "PROBE_DELAYS_S", (0.05,))
    spool_dir, bus = tmp_path / "spool", EventBus()
    ledger = await Ledger.open(sqlite_settings, chain=AuditChain(b"k" * 32), spool_dir=spool_dir, bus=bus)
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    yield FullDisk(ledger, spool_dir, bus)
    await ledger.close()


async def test_what_a_full_disk_does_not_take_is_there_once_and_in_order_when_there_is_room(disk: FullDisk) -> None:
    ledger = disk.ledger
    with disk.bus.subscribe(LedgerAway, LedgerReturned) as told:
        disk.fill()
        written = await disk.write_until_full()
        away = await told.get()
        assert isinstance(away, LedgerAway)
        assert (away.disk_full, away.why) == (True, "the disk of the ledger is full")
        for number in range(written + 1, written + 40):
            assert not await ledger.write_durable(action(number))
        ledger.write_soon(refusal(1))
        # What has to be carried out at once is refused, with the reason; reading goes on.
        with pytest.raises(LedgerUnavailable, match="full"):
            await ledger.write(lambda c: nodes.insert(c, a_node("01B", "b", 2)))
        assert len(await ledger.read(nodes.list_active)) == 1
        assert ledger.statistics.held == 41
        disk.free()
        returned = await told.get()
        assert isinstance(returned, LedgerReturned)
        assert returned.disk_full
    rows = await ledger.read(lambda c: audit.search(c, limit=500))
    assert [row.detail for row in reversed(rows)] == [str(number) for number in range(written + 40)]
    assert await ledger.read(ledger.chain.verify) is None
    assert ledger.statistics.held == 0
    assert await ledger.write_durable(action(999))


async def test_memory_is_bounded_too(disk: FullDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_HELD_BYTES", 1_000)
    disk.fill()
    await disk.write_until_full()

    async def write_on() -> None:
        for number in range(20):
            await disk.ledger.write_durable(action(number))

    with pytest.raises(SpoolFailed):
        await write_on()


async def test_a_master_that_ends_on_a_full_disk_says_what_is_lost(
    disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.fill()
    number = await disk.write_until_full()
    await disk.ledger.close()
    lost = [record.__dict__.get("entry", "") for record in caplog.records]
    assert any(f'"detail":"{number}"' in entry for entry in lost)
    disk.free()


async def test_what_waits_goes_to_the_spool_when_only_that_has_room(
    disk: FullDisk, sqlite_settings: DatabaseSettings
) -> None:
    disk.fill()
    number = await disk.write_until_full()
    disk.spool_dir.unlink()
    assert await disk.ledger.write_durable(action(number + 1))
    assert disk.ledger.statistics.held == 0
    assert disk.ledger.away is not None
    await disk.ledger.close()
    again = await Ledger.open(sqlite_settings, chain=AuditChain(b"k" * 32), spool_dir=disk.spool_dir)
    rows = await again.read(audit.search)
    assert [row.detail for row in rows][:2] == [str(number + 1), str(number)]
    await again.close()


async def test_a_full_disk_that_answers_is_not_taken_for_one_with_room(disk: FullDisk) -> None:
    disk.fill()
    await disk.write_until_full()
    with disk.bus.subscribe(LedgerReturned) as returned, pytest.raises(TimeoutError):
        await asyncio.wait_for(returned.get(), 0.5)
    with pytest.raises(LedgerUnavailable):
        await disk.ledger.write(lambda c: nodes.insert(c, a_node("01B", "b", 2)))
    assert disk.ledger.away is not None
    assert LedgerDiskFull.code == "disk_full"
