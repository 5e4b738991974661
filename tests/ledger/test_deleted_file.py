"""A SQLite ledger whose file is deleted, replaced or moved away under a running master loses nothing, and says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection

from master.bus import EventBus
from master.configuration.settings import DatabaseSettings
from master.errors import FleetError
from master.events import Event, LedgerAway, LedgerReturned, LedgerRewritten
from master.ledger import file_place
from master.ledger.database import Ledger
from master.ledger.rows import handshake_events
from master.ledger.writer.entries import HandshakeOutcome
from tests.conftest import TurnableClock
from tests.ledger.samples import an_event

WITHIN_S = 20.0


class Opened:
    def __init__(self, ledger: Ledger, bus: EventBus, path: Path) -> None:
        self.ledger = ledger
        self.bus = bus
        self.path = path
        self.heard: list[Event] = []
        self._number = 0
        for kind in (LedgerRewritten, LedgerAway, LedgerReturned):
            bus.on(kind, self.heard.append)

    async def write(self, count: int = 1) -> None:
        """Write that many events, each acknowledged as durable."""
        for _ in range(count):
            self._number += 1
            event = replace(an_event(self._number, "", at=TurnableClock().now()), node_id=None)
            await self.ledger.write_durable(HandshakeOutcome(event=event))

    def on_disk(self) -> int:
        """Return how many events the file at the path holds, for whoever opens it."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (count,) = connection.execute("SELECT count(*) FROM handshake_events").fetchone()
        return int(count)

    async def has_heard(self, kind: type[Event]) -> Event:
        async with asyncio.timeout(WITHIN_S):
            while True:
                for event in self.heard:
                    if isinstance(event, kind):
                        return event
                await asyncio.sleep(0.01)


@pytest.fixture
async def opened(sqlite_settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Opened]:
    bus = EventBus()
    ledger = await Ledger.open(sqlite_settings, spool_dir=tmp_path / "spool", bus=bus)
    yield Opened(ledger, bus, tmp_path / "ledger.db")
    await ledger.close()


def remove(path: Path, how: str) -> None:
    """Do what may happen to a file."""
    everything = [path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm"))]
    if how == "all of it":
        for name in everything:
            name.unlink(missing_ok=True)
    elif how == "without its log":
        path.unlink()
    elif how == "moved away":
        path.rename(path.with_name("moved.db"))
    elif how == "an empty file instead":
        path.unlink()
        path.touch()
    elif how == "its folder moved away":
        path.parent.rename(path.parent.with_name("moved"))
        path.parent.mkdir()


@pytest.mark.parametrize(
    "how", ["all of it", "without its log", "moved away", "an empty file instead", "its folder moved away"]
)
async def test_nothing_that_was_acknowledged_is_lost(
    sqlite_settings: DatabaseSettings, tmp_path: Path, how: str, empty_ledger: Path
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    path = folder / "ledger.db"
    shutil.copy(empty_ledger, path)
    settings = DatabaseSettings(url=type(sqlite_settings.url)(f"sqlite:///{path}"))
    bus = EventBus()
    opened = Opened(await Ledger.open(settings, spool_dir=tmp_path / "spool", bus=bus), bus, path)
    await opened.write(20)
    await opened.ledger.read(handshake_events.recent)  # the reader has it open too
    remove(path, how)
    await opened.write(5)
    assert opened.on_disk() == 25
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(await opened.ledger.read(lambda c: handshake_events.recent(c, limit=100))) == 25
    told = await opened.has_heard(LedgerRewritten)
    assert isinstance(told, LedgerRewritten)
    assert str(path) in told.detail
    await opened.write(5)
    await opened.ledger.close()
    assert opened.on_disk() == 30
    assert [type(event) for event in opened.heard] == [LedgerRewritten]


async def test_a_quiet_ledger_is_looked_after_too(opened: Opened) -> None:
    await opened.write(3)
    remove(opened.path, "all of it")
    await opened.ledger.look_for_file()
    assert opened.on_disk() == 3
    assert opened.ledger.away is None
    opened.heard.clear()
    await opened.ledger.look_for_file()
    assert opened.heard == []


async def test_a_ledger_that_was_only_read_is_written_again_too(opened: Opened) -> None:
    assert await opened.ledger.read(handshake_events.recent) == []
    opened.ledger._engine.dispose()
    remove(opened.path, "all of it")
    await opened.ledger.look_for_file()
    assert opened.on_disk() == 0
    await opened.write()
    assert opened.on_disk() == 1


async def test_another_ledger_in_its_place_is_kept_beside_it(opened: Opened, empty_ledger: Path) -> None:
    await opened.write(3)
    other = opened.path.with_name("other.db")
    shutil.copy(empty_ledger, other)
    other.replace(opened.path)
    await opened.write()
    assert opened.on_disk() == 4
    told = await opened.has_heard(LedgerRewritten)
    assert isinstance(told, LedgerRewritten)
    assert "replaced by another" in told.detail
    (kept,) = opened.path.parent.glob("ledger.db.found-*[0-9]")
    assert str(kept) in told.detail
    assert kept.read_bytes()[:16] == empty_ledger.read_bytes()[:16]


async def test_while_it_cannot_be_written_again_writes_wait_on_disk(opened: Opened) -> None:
    await opened.write(3)
    remove(opened.path, "all of it")
    in_its_way = opened.path.with_name("ledger.db.again")
    in_its_way.mkdir()
    await opened.write(2)
    away = await opened.has_heard(LedgerAway)
    assert isinstance(away, LedgerAway)
    assert "was deleted, and cannot be written again" in away.why
    assert "do not stop the master" in away.hint
    assert not opened.path.exists()
    in_its_way.rmdir()
    await opened.has_heard(LedgerReturned)
    assert opened.on_disk() == 5


async def test_what_is_open_no_more_is_said_plainly_and_no_empty_ledger_is_made(opened: Opened) -> None:
    await opened.write(3)
    for engine in (opened.ledger._engine, opened.ledger._reader_engine):
        engine.dispose()
    remove(opened.path, "all of it")
    await opened.write(2)
    away = await opened.has_heard(LedgerAway)
    assert isinstance(away, LedgerAway)
    assert "is open no more" in away.why
    assert "fleet restore" in away.hint
    with pytest.raises(FleetError):
        await opened.ledger.write(lambda connection: connection.info)
    assert not opened.path.exists()
    assert opened.ledger.spooled.records == 2


async def test_a_long_read_ends_before_the_file_is_written_again(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_place, "READERS_TIMEOUT_S", 0.2)
    await opened.write(3)
    reading, read_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def read_slowly(connection: Connection) -> int:
        count = len(handshake_events.recent(connection))
        loop.call_soon_threadsafe(reading.set)
        asyncio.run_coroutine_threadsafe(read_on.wait(), loop).result()
        return count

    snapshot = asyncio.create_task(opened.ledger.snapshot(read_slowly))
    await reading.wait()
    remove(opened.path, "all of it")
    await opened.write()
    away = await opened.has_heard(LedgerAway)
    assert isinstance(away, LedgerAway)
    assert "it is being read" in away.why
    read_on.set()
    assert await snapshot == 3
    await opened.has_heard(LedgerReturned)
    assert opened.on_disk() == 4
    assert os.path.exists(opened.path)
