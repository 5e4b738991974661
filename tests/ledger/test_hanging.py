"""A database that hangs: nobody waits for long, and what was answered is what is written."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from master.configuration.settings import DatabaseSettings
from master.ledger import database
from master.ledger.database import Ledger
from master.ledger.errors import LedgerHangs, LedgerTimedOut, LedgerUnavailable
from master.ledger.rows import audit, nodes
from master.ledger.rows.records import DesiredState
from master.ledger.worker import MOST_HUNG, Abandoned, Worker, beat
from master.ledger.writer.entries import DesiredStateSet
from tests.ledger.test_database import NOW, a_node
from tests.ledger.writer.test_spool import CHAIN, action


class Hanging:
    """Lets statements of a ledger hang, in the driver and beyond any time-out, until they are let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.let_go.set()
        self.hangs = threading.Event()
        self.at: Callable[[str], bool] = lambda _statement: False

    def wait(self, statement: str) -> int:
        if self.at(statement) and not self.let_go.is_set():
            self.hangs.set()
            self.let_go.wait(60)
        return 0

    def begin(self, at: Callable[[str], bool]) -> None:
        self.at = at
        self.hangs.clear()
        self.let_go.clear()

    def attach(self, ledger: Ledger) -> None:
        """Make SQLite itself wait at the beginning of a statement, where it calls back to trace it."""
        for engine in (ledger._engine, ledger._reader_engine):
            event.listen(engine, "connect", lambda connection, _record: self.watch(connection))
            engine.dispose()

    def watch(self, connection: Any) -> None:
        connection.set_trace_callback(self.wait)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.let_go.set()


@pytest.fixture
async def ledger(
    sqlite_settings: DatabaseSettings, tmp_path: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setattr(database, "STALL_GRACE_S", 0.2)
    settings = DatabaseSettings(url=sqlite_settings.url, statement_timeout_s=0.1, connect_timeout_s=0.1)
    opened = await Ledger.open(settings, chain=CHAIN, spool_dir=tmp_path / "spool")
    hanging.attach(opened)
    await opened.write(lambda c: nodes.insert(c, a_node()))
    yield opened
    hanging.let_go.set()
    await opened.close()


def rows(tmp_path: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(tmp_path / "ledger.db") as found:
        return found.execute(query).fetchall()


HANGS_AT = {
    "the first statement": lambda statement: statement.startswith("UPDATE applied_writes"),
    "an insert": lambda statement: statement.startswith("INSERT INTO audit_log"),
    "the commit": lambda statement: statement.startswith("COMMIT"),
    "the beginning": lambda statement: statement.startswith("BEGIN"),
}


@pytest.mark.parametrize("where", HANGS_AT)
@pytest.mark.slow
async def test_entries_are_spooled_within_a_moment_and_applied_once_when_the_statement_comes_back(
    ledger: Ledger, hanging: Hanging, tmp_path: Path, where: str
) -> None:
    await ledger.write_durable(action(1))
    hanging.begin(HANGS_AT[where])
    # Acknowledged though the driver never came back: nobody waits for it.
    await asyncio.wait_for(ledger.write_durable(action(2)), 10)
    assert hanging.hangs.is_set()
    assert ledger.away is not None
    assert "hangs" in ledger.away.why
    await asyncio.wait_for(ledger.write_durable(action(3)), 2)
    with pytest.raises(LedgerUnavailable):
        await ledger.write(lambda c: nodes.insert(c, a_node("01B", "Borealis", 5)))
    hanging.at = lambda _statement: False
    hanging.let_go.set()
    await asyncio.wait_for(ledger.wait_available(), 30)
    # Whether the statement that hung was carried out in the end or not: each is there once.
    assert rows(tmp_path, "SELECT detail FROM audit_log ORDER BY sequence") == [("1",), ("2",), ("3",)]
    assert await ledger.read(CHAIN.verify) is None
    assert [node.id for node in await ledger.read(nodes.list_active)] == ["01A"]


async def test_an_entry_is_written_though_its_caller_is_cancelled(
    ledger: Ledger, hanging: Hanging, tmp_path: Path
) -> None:
    hanging.begin(HANGS_AT["an insert"])
    first = asyncio.create_task(ledger.write_durable(action(1)))
    await asyncio.to_thread(hanging.hangs.wait, 10)
    queued = asyncio.create_task(ledger.write_durable(action(2)))
    await asyncio.sleep(0)
    for task in (first, queued):
        task.cancel()
    outcomes = await asyncio.gather(first, queued, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
    hanging.let_go.set()
    await ledger.write_durable(action(3))
    await asyncio.wait_for(ledger.wait_available(), 30)
    assert rows(tmp_path, "SELECT detail FROM audit_log ORDER BY sequence") == [("1",), ("2",), ("3",)]


async def test_what_is_refused_for_the_time_it_takes_is_never_written_later(
    ledger: Ledger, hanging: Hanging, tmp_path: Path
) -> None:
    hanging.begin(HANGS_AT["an insert"])
    running = asyncio.create_task(ledger.write_durable(action(1)))
    await asyncio.to_thread(hanging.hangs.wait, 10)
    stop = DesiredStateSet(node_id="01A", desired=DesiredState.RUNNING, at=NOW)
    with pytest.raises(LedgerTimedOut, match="nothing of it is written"):
        await ledger.write_durable(stop, timeout_s=0.01)
    with pytest.raises(LedgerTimedOut):
        await ledger.write(lambda c: nodes.insert(c, a_node("01B", "Borealis", 5)), timeout_s=0.01)
    hanging.let_go.set()
    await running
    await ledger.flush()
    await asyncio.wait_for(ledger.wait_available(), 30)
    assert rows(tmp_path, "SELECT desired_state FROM nodes") == [("stopped",)]
    assert rows(tmp_path, "SELECT detail FROM audit_log") == [("1",)]


async def test_a_read_that_hangs_costs_the_next_one_nothing(ledger: Ledger, hanging: Hanging) -> None:
    hanging.begin(lambda statement: "FROM audit_log" in statement)
    with pytest.raises(LedgerTimedOut):
        await ledger.read(audit.search, timeout_s=0.1)
    assert [node.id for node in await ledger.read(nodes.list_active, timeout_s=5)] == ["01A"]


def test_a_call_that_never_begins_hangs_too() -> None:
    worker, let_go, began = Worker("test"), threading.Event(), threading.Event()

    def first() -> None:
        began.set()
        let_go.wait(30)

    worker.submit(first)
    began.wait(10)
    with pytest.raises(LedgerHangs):
        worker.run(lambda: 7, stall_s=0.01)
    let_go.set()
    assert worker.run(lambda: 8, stall_s=5) == 8
    worker.close(5)


def test_threads_that_hang_are_bounded_and_come_back() -> None:
    worker, let_go, after = Worker("test"), threading.Event(), []

    def hang(connection: Connection | None = None) -> None:
        let_go.wait(30)
        try:
            beat()
        except Abandoned:
            after.append("abandoned")
            raise

    # On a busy machine one may not have begun, and then does not hang.
    while worker._hung < MOST_HUNG:
        with pytest.raises(LedgerHangs):
            worker.run(hang, stall_s=0.01)
    with pytest.raises(LedgerHangs):
        worker.submit(hang)
    let_go.set()
    while True:
        try:
            assert worker.run(lambda: 7, stall_s=5) == 7
            break
        except LedgerHangs:
            continue
    for thread in threading.enumerate():
        if thread.name == "test":
            worker.close(5)
    assert 1 <= len(after) <= MOST_HUNG
