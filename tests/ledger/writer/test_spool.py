"""The spool: in order, exactly once, bounded, across crashes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, event

from master.bus import EventBus
from master.configuration.settings import DatabaseSettings
from master.events import LedgerAway, LedgerReturned
from master.ledger.database import Ledger
from master.ledger.errors import LedgerUnavailable
from master.ledger.identifiers import ulid_of
from master.ledger.rows import applied_writes, audit, error_events, handshake_events, nodes, process_events
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.inspection import count_rows
from master.ledger.rows.records import (
    DesiredState,
    ErrorEvent,
    HandshakeEvent,
    Outcome,
    ProcessRecord,
    PulseSnapshot,
)
from master.ledger.writer.entries import (
    Audited,
    DesiredStateSet,
    Entry,
    ErrorCounted,
    HandshakeOutcome,
    ProcessStep,
    PulsesSampled,
    apply,
)
from master.ledger.writer.queue import Away, Writer
from master.ledger.writer.spool import Record, Spool, SpoolFull
from tests.ledger.test_database import NOW, a_node

CHAIN = AuditChain(b"k" * 32)


def step(number: int) -> ProcessStep:
    record = ProcessRecord(id=f"P{number:05}", at=NOW, node_id="01A", kind="spawned", pid=number, detail="x" * 60)
    return ProcessStep(record=record)


def refusal(number: int) -> HandshakeOutcome:
    found = HandshakeEvent(
        id=f"H{number:05}", at=NOW, node_id="01A", message_type="heartbeat", outcome="replayed", transport="local"
    )
    return HandshakeOutcome(event=found, flag=True)


def pulses(number: int) -> PulsesSampled:
    row = PulseSnapshot(
        id=f"S{number:05}", at=NOW, node_id="01A", state="ready", latency_ms=40, guilds=3, memory_bytes=9
    )
    return PulsesSampled(snapshots=(row,))


def action(number: int) -> Audited:
    return Audited(
        at=NOW + timedelta(seconds=number),
        actor="cli:ada",
        face="cli",
        action="stop",
        node_id="01A",
        outcome=Outcome.DONE,
        detail=str(number),
    )


@contextmanager
def locked(settings: DatabaseSettings) -> Iterator[None]:
    """Lock the ledger's file, so that every write times out."""
    other = sqlite3.connect(settings.url.reveal().removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@pytest.fixture
def short_timeout(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    return DatabaseSettings(url=sqlite_settings.url, statement_timeout_s=0.02)


async def open_spooling(settings: DatabaseSettings, tmp_path: Path) -> Ledger:
    return await Ledger.open(settings, chain=CHAIN, spool_dir=tmp_path / "spool")


async def test_entries_are_spooled_during_an_outage_and_applied_in_order(
    short_timeout: DatabaseSettings, tmp_path: Path
) -> None:
    changes: list[str] = []
    bus = EventBus()
    bus.on(LedgerAway, lambda away: changes.append(away.why))
    bus.on(LedgerReturned, lambda _back: changes.append("back"))
    ledger = await Ledger.open(short_timeout, chain=CHAIN, spool_dir=tmp_path / "spool", bus=bus)
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    with locked(short_timeout):
        await ledger.write_durable(DesiredStateSet(node_id="01A", desired=DesiredState.RUNNING, at=NOW), action(1))
        assert ledger.away is not None
        assert "locked" in ledger.away.why
        for number in range(2, 40):
            await ledger.write_durable(action(number))
        ledger.write_soon(step(1))
        await ledger.flush()
        assert ledger.spooled.records == 40
        (file,) = (tmp_path / "spool").glob("*.spool")
        assert file.stat().st_mode & 0o777 == 0o600
        # A write that cannot be spooled fails at once, without another time-out.
        with pytest.raises(LedgerUnavailable, match="away"):
            await ledger.write(lambda c: nodes.insert(c, a_node("01B", "Borealis", 5)))
    await asyncio.wait_for(ledger.wait_available(), 20)
    assert changes == ["the ledger is locked", "back"]
    assert ledger.spooled.records == ledger.spooled.bytes == 0
    assert list((tmp_path / "spool").glob("*.spool")) == []
    rows = await ledger.read(lambda c: audit.search(c, limit=100))
    assert [row.detail for row in reversed(rows)] == [str(number) for number in range(1, 40)]
    assert await ledger.read(CHAIN.verify) is None
    found = await ledger.read(lambda c: nodes.get(c, "01A"))
    assert found is not None
    assert found.desired_state is DesiredState.RUNNING
    # And writes go straight to the database again.
    await ledger.write_durable(action(40))
    assert ledger.statistics.spooled == 40
    await ledger.close()


async def test_the_spool_survives_the_master_and_is_applied_before_the_next_one_reads(
    short_timeout: DatabaseSettings, tmp_path: Path
) -> None:
    ledger = await open_spooling(short_timeout, tmp_path)
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    with locked(short_timeout):
        await ledger.write_durable(DesiredStateSet(node_id="01A", desired=DesiredState.STOPPED, at=NOW), action(1))
        await ledger.close()
        # A master that starts during the outage knows that its reads are stale.
        second = await open_spooling(short_timeout, tmp_path)
        assert second.away is not None
        await second.write_durable(action(2))
        await second.close()
        assert len(list((tmp_path / "spool").glob("*.spool"))) == 2
    third = await open_spooling(short_timeout, tmp_path)
    assert third.away is None
    rows = await third.read(audit.search)
    assert [row.detail for row in rows] == ["2", "1"]
    assert list((tmp_path / "spool").iterdir()) == []
    await third.close()
    assert (await _count(short_timeout))["applied_writes"] == 0


async def _count(settings: DatabaseSettings) -> dict[str, int]:
    ledger = await Ledger.open(settings)
    try:
        return await ledger.read(count_rows)
    finally:
        await ledger.close()


async def test_a_replay_after_a_crash_is_idempotent(short_timeout: DatabaseSettings, tmp_path: Path) -> None:
    plain = await Ledger.open(short_timeout)
    await plain.write(lambda c: nodes.insert(c, a_node()))

    def apply_half(connection: Any) -> None:
        chain = AuditChain(b"k" * 32)
        for number in range(1, 4):
            apply(connection, [action(number)], chain)
        applied_writes.advance(connection, "01SESSION", 3, after=0, at=NOW)

    await plain.write(apply_half)
    await plain.close()
    spool = Spool(tmp_path / "spool", "01SESSION")
    spool.append([Record(number, (action(number),)) for number in range(1, 8)])
    spool.close()
    ledger = await open_spooling(short_timeout, tmp_path)
    rows = await ledger.read(audit.search)
    assert [row.detail for row in rows] == ["7", "6", "5", "4", "3", "2", "1"]
    assert await ledger.read(CHAIN.verify) is None
    await ledger.close()


class _LosesCommitAnswer(sqlite3.Connection):
    """Commits, and then reports a lost connection, as a network failure may."""

    lost = 0

    def commit(self) -> None:
        waiting = self.in_transaction
        super().commit()
        if waiting and _LosesCommitAnswer.lost:
            _LosesCommitAnswer.lost -= 1
            raise sqlite3.OperationalError("database is locked")


@pytest.mark.parametrize("lost", [1, 4])
async def test_a_commit_whose_answer_was_lost_is_not_repeated(
    sqlite_settings: DatabaseSettings, tmp_path: Path, lost: int
) -> None:
    path = sqlite_settings.url.reveal().removeprefix("sqlite:///")
    engine = create_engine(sqlite_settings.url.reveal(), connect_args={"factory": _LosesCommitAnswer})

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    changes: list[Away | None] = []
    spool = Spool(tmp_path / "spool", "01SESSION")
    writer = Writer(
        engine,
        session_id="01SESSION",
        spool=spool,
        chain=AuditChain(b"k" * 32),
        prepare=lambda: None,
        on_change=changes.append,
    )
    await asyncio.to_thread(writer.start)
    await asyncio.wrap_future(writer.submit(lambda c: nodes.insert(c, a_node())))
    _LosesCommitAnswer.lost = lost
    seen = ErrorEvent(id="E1", at=NOW, node_id="01A", source="event", fingerprint="f", summary="s")
    # Not idempotent by itself: applied twice, it would count twice.
    await asyncio.wrap_future(writer.submit_entries((ErrorCounted(event=seen), action(1)), urgent=True))
    _LosesCommitAnswer.lost = 0
    while writer.away is not None:  # noqa: ASYNC110 - the writer's thread has no event for it
        await asyncio.sleep(0.02)
    await asyncio.to_thread(writer.stop, 10.0)
    engine.dispose()
    with sqlite3.connect(path) as found:
        assert found.execute("SELECT count FROM error_events").fetchall() == [(1,)]
        assert found.execute("SELECT count(*) FROM audit_log").fetchall() == [(1,)]
    assert writer.statistics.retries == min(lost, 3)
    assert len(changes) == (2 if lost == 4 else 0)


OF_THE_VERSION_BEFORE = (
    {
        "type": "process",
        "record": {"id": "P1", "at": NOW, "node_id": "01A", "kind": "spawned", "pid": 7},
        "moved": True,
        "pid_started_at": 1.5,
    },
    {"type": "wanted", "node_id": "01A", "desired": "running", "at": NOW},
    {"type": "unflag", "node_id": "01A", "at": NOW},
    {
        "type": "handshake",
        "event": {
            "id": "H1",
            "at": NOW,
            "node_id": "01A",
            "message_type": "heartbeat",
            "outcome": "replayed",
            "transport": "local",
        },
        "flag": True,
    },
)
"""Entries as revision 0003 spooled them: they name no host."""


async def test_what_the_version_before_spooled_is_applied_to_the_masters_own_nodes(ledger: Ledger) -> None:
    written = msgspec.msgpack.encode(OF_THE_VERSION_BEFORE)
    entries = msgspec.msgpack.decode(written, type=tuple[Entry, ...])
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    await ledger.write_durable(*entries)
    found = await ledger.read(lambda c: nodes.get(c, "01A"))
    assert found is not None
    assert (found.host, found.pid, found.pid_started_at) == ("", 7, 1.5)
    assert (found.desired_state, found.flag_reason) == (DesiredState.RUNNING, "replayed")


def test_a_record_cut_short_by_a_crash_is_cut_off_and_what_follows_is_readable(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "01A")
    spool.append([Record(1, (action(1),)), Record(2, (action(2),))])
    spool.close()
    file = tmp_path / "01A.spool"
    whole = file.read_bytes()
    for cut in range(1, len(whole) // 2):
        file.write_bytes(whole[:-cut])
        again = Spool(tmp_path, "01B")
        again.open()
        assert [record.sequence for record in again.records_of("01A")] == [1]
        assert again.statistics.records == 1
        assert again.statistics.bytes == file.stat().st_size
    again = Spool(tmp_path, "01A")
    again.open()
    again.append([Record(3, (action(3),))])
    again.close()
    assert [record.sequence for record in again.records_of("01A")] == [1, 3]


async def test_a_damaged_record_is_skipped_and_its_file_kept(
    sqlite_settings: DatabaseSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path / "spool", "01A")
    spool.append([Record(number, (action(number),)) for number in range(1, 5)])
    spool.close()
    file = tmp_path / "spool" / "01A.spool"
    content = bytearray(file.read_bytes())
    content[len(content) * 5 // 8] ^= 1
    file.write_bytes(content)
    ledger = await open_spooling(sqlite_settings, tmp_path)
    assert [row.detail for row in await ledger.read(audit.search)] == ["4", "2", "1"]
    assert "a spool is damaged" in caplog.text
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["01A.damaged"]
    assert (ledger.spooled.records, ledger.spooled.bytes) == (0, 0)
    await ledger.close()


async def test_a_record_of_another_version_blocks_nothing(
    sqlite_settings: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", "01A")
    # No other version exists to write it, so only its encoding is replaced.
    with monkeypatch.context() as later:
        later.setattr(
            "master.ledger.writer.spool._encode", lambda _entries: msgspec.msgpack.encode([{"type": "unheard of"}])
        )
        spool.append([Record(1, (action(1),))])
    spool.append([Record(2, (action(2),))])
    spool.close()
    ledger = await open_spooling(sqlite_settings, tmp_path)
    assert ledger.away is None
    assert [row.detail for row in await ledger.read(audit.search)] == ["2"]
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["01A.damaged"]
    await ledger.close()


def kinds_in(spool: Spool) -> list[type[Entry]]:
    return [
        type(entry) for session in spool.sessions() for record in spool.records_of(session) for entry in record.entries
    ]


def test_a_full_spool_drops_snapshots_first_then_history_and_security_never(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "01A", max_bytes=14_000)
    number = 0
    for _ in range(40):
        for make in (pulses, step, refusal):
            number += 1
            spool.append([Record(number, (make(number),))])
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 14_000
    assert spool.statistics.bytes == sum(file.stat().st_size for file in tmp_path.glob("*.spool"))
    found = kinds_in(spool)
    assert found.count(HandshakeOutcome) == 40
    assert spool.statistics.dropped["snapshot"] > 0
    assert found.count(PulsesSampled) == 40 - spool.statistics.dropped["snapshot"]
    # History is dropped only when no snapshot is left, oldest first.

    def fill(number: int) -> None:
        while True:
            spool.append([Record(number, (refusal(number),))])
            number += 1

    with pytest.raises(SpoolFull, match="none of them may be dropped"):
        fill(number)
    assert set(kinds_in(spool)) == {HandshakeOutcome}
    assert spool.statistics.dropped["snapshot"] == 40
    assert spool.statistics.dropped["history"] == 40
    # What is of less priority than all that waits is dropped and counted, and nobody is told that it is safe.
    spool.append([Record(10_000, (pulses(1),))])
    assert spool.statistics.dropped["snapshot"] == 41
    numbers = [record.sequence for record in spool.records_of("01A")]
    assert numbers == sorted(numbers)


def test_history_of_an_earlier_session_is_dropped_before_that_of_this_one(tmp_path: Path) -> None:
    earlier = Spool(tmp_path, "01A", max_bytes=10_000)
    earlier.append([Record(number, (step(number),)) for number in range(1, 21)])
    earlier.close()
    spool = Spool(tmp_path, "01B", max_bytes=10_000)
    spool.open()
    before = spool.statistics.records
    for number in range(1, 40):
        spool.append([Record(number, (refusal(number),))])
    assert before == 20
    assert len(list(spool.records_of("01B"))) == 39
    kept = [record.sequence for record in spool.records_of("01A")]
    assert kept == list(range(21 - len(kept), 21))


async def test_what_cannot_be_spooled_waits_in_memory_and_the_caller_is_told(
    short_timeout: DatabaseSettings, tmp_path: Path
) -> None:
    ledger = await open_spooling(short_timeout, tmp_path)
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    (tmp_path / "spool").write_text("a file where the folder should be")
    with locked(short_timeout):
        assert not await ledger.write_durable(action(1))
    (tmp_path / "spool").unlink()
    await asyncio.wait_for(ledger.wait_available(), 20)
    assert await ledger.write_durable(action(2))
    assert [row.detail for row in await ledger.read(audit.search)] == ["2", "1"]
    await ledger.close()


async def test_an_entry_that_the_database_always_refuses_is_saved_and_blocks_nothing(
    short_timeout: DatabaseSettings, tmp_path: Path
) -> None:
    ledger = await open_spooling(short_timeout, tmp_path)
    with locked(short_timeout):
        await ledger.write_durable(step(1))  # of a node that the ledger does not know
        await ledger.write_durable(action(1))
    await asyncio.wait_for(ledger.wait_available(), 20)
    assert [row.detail for row in await ledger.read(audit.search)] == ["1"]
    assert await ledger.read(lambda c: process_events.recent(c, "01A")) == []
    (line,) = (tmp_path / "spool" / "refused.jsonl").read_text().splitlines()
    assert msgspec.json.decode(line)["entries"][0]["record"]["id"] == "P00001"
    await ledger.close()


async def test_every_kind_of_entry_survives_a_round_trip_through_the_spool(
    short_timeout: DatabaseSettings, tmp_path: Path
) -> None:
    ledger = await open_spooling(short_timeout, tmp_path)
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    seen = ErrorEvent(id="E1", at=NOW, node_id="01A", source="event", fingerprint="f", summary="Grüße 🛰", count=3)
    with locked(short_timeout):
        await ledger.write_durable(step(1), refusal(1), pulses(1), action(1), ErrorCounted(event=seen))
    await asyncio.wait_for(ledger.wait_available(), 20)
    assert await ledger.read(error_events.recent) == [replace(seen, last_at=NOW)]
    assert await ledger.read(handshake_events.recent) == [refusal(1).event]
    assert await ledger.read(lambda c: process_events.recent(c, "01A")) == [step(1).record]
    await ledger.close()


async def test_a_session_that_begins_with_a_clock_years_back_comes_after_those_before_it(
    short_timeout: DatabaseSettings, tmp_path: Path
) -> None:
    plain = await Ledger.open(short_timeout)
    await plain.write(lambda c: nodes.insert(c, a_node()))
    await plain.close()
    # A session of the future, as a clock that was set back makes them.
    spool = Spool(tmp_path / "spool", ulid_of(datetime.now(UTC) + timedelta(days=3650)))
    spool.append([Record(1, (action(1),))])
    spool.close()
    with locked(short_timeout):
        ledger = await open_spooling(short_timeout, tmp_path)
        await ledger.write_durable(action(2))
        await ledger.close()
    ledger = await open_spooling(short_timeout, tmp_path)
    assert [row.detail for row in await ledger.read(audit.search)] == ["2", "1"]
    await ledger.close()
