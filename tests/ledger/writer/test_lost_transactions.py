"""A database that rolls a transaction back without saying so: what is acknowledged is there all the same."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import Engine, create_engine, event

from master.configuration.settings import DatabaseSettings
from master.ledger.errors import LedgerError
from master.ledger.rows import nodes
from master.ledger.rows.records import DesiredState, ErrorEvent, ProcessRecord
from master.ledger.writer.entries import DesiredStateSet, Entry, ErrorCounted, ProcessStep
from master.ledger.writer.queue import Away, Writer
from master.ledger.writer.spool import Spool
from tests.hostile.effort import rounds
from tests.ledger.test_database import NOW, a_node
from tests.ledger.writer.test_spool import CHAIN, action


class Treachery:
    """Rolls back at one statement, or at each that matches; the client hears nothing."""

    def __init__(self) -> None:
        self.at = 0
        """Which statement from now on; 0 for none."""
        self.at_text = ""
        """Each statement that begins with this."""
        self.begins_anew = False
        """Whether what follows is in a new transaction, as with implicit transactions; else each is committed."""
        self.count = 0
        """How many statements were executed."""
        self.sprung = 0

    def pull(self, connection: sqlite3.Connection, statement: str) -> None:
        self.count += 1
        at_this = bool(self.at_text) and statement.startswith(self.at_text)
        if not (at_this or self.count == self.at) or not connection.in_transaction:
            return
        self.sprung += 1
        sqlite3.Cursor(connection).execute("ROLLBACK")
        if self.begins_anew:
            sqlite3.Cursor(connection).execute("BEGIN IMMEDIATE")


class _Cursor(sqlite3.Cursor):
    treachery: Treachery

    def execute(self, statement: str, parameters: Any = ()) -> Self:
        self.treachery.pull(self.connection, statement)
        return super().execute(statement, parameters)

    def executemany(self, statement: str, parameters: Any) -> Self:
        self.treachery.pull(self.connection, statement)
        return super().executemany(statement, parameters)


@pytest.fixture
def treachery() -> Treachery:
    return Treachery()


@pytest.fixture
def engine(sqlite_settings: DatabaseSettings, treachery: Treachery) -> Iterator[Engine]:
    cursor_class = type("_OwnCursor", (_Cursor,), {"treachery": treachery})

    class _Connection(sqlite3.Connection):
        def cursor(self, factory: Any = cursor_class) -> Any:
            return super().cursor(factory)

    made = create_engine(sqlite_settings.url.reveal(), connect_args={"factory": _Connection})

    @event.listens_for(made, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=OFF")

    @event.listens_for(made, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    yield made
    made.dispose()


class Running:
    """A writer on that database."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.changes: list[Away | None] = []
        self.spool = Spool(folder / "spool", "01SESSION")
        self.writer = Writer(
            engine,
            session_id="01SESSION",
            spool=self.spool,
            chain=CHAIN,
            prepare=lambda: None,
            on_change=self.changes.append,
        )
        self.writer.start()

    async def keep(self, *entries: Entry) -> None:
        await asyncio.wait_for(asyncio.wrap_future(self.writer.submit_entries(entries, urgent=True)), 30)

    async def back(self) -> None:
        while self.writer.away is not None:  # noqa: ASYNC110 - the writer's thread has no event for it
            await asyncio.sleep(0.01)


@pytest.fixture
def running(engine: Engine, tmp_path: Path) -> Iterator[Running]:
    made = Running(engine, tmp_path)
    made.writer.submit(lambda c: nodes.insert(c, a_node())).result(20)
    yield made
    made.writer.stop(20.0)
    made.writer.close_worker()


def an_outage(number: int) -> tuple[Entry, ...]:
    """Return entries that write to four tables, with values that are NULL."""
    seen = ErrorEvent(id=f"E{number}", at=NOW, node_id="01A", source="event", fingerprint=f"f{number}", summary="s")
    ended = ProcessRecord(id=f"P{number:05}", at=NOW, node_id="01A", kind="exited", pid=None, detail=str(number))
    wanted = DesiredState.RUNNING if number % 2 else DesiredState.STOPPED
    return (
        ProcessStep(record=ended, moved=True),
        ErrorCounted(event=seen),
        DesiredStateSet(node_id="01A", desired=wanted, at=NOW),
        action(number),
    )


def read_back(path: Path) -> tuple[list[str], list[str], list[tuple[str, int]]]:
    with sqlite3.connect(path) as found:
        audited = [row[0] for row in found.execute("SELECT detail FROM audit_log ORDER BY sequence")]
        ended = [row[0] for row in found.execute("SELECT detail FROM process_events ORDER BY id")]
        counted = found.execute("SELECT fingerprint, count FROM error_events ORDER BY length(id), id").fetchall()
    return audited, ended, counted


async def test_a_rollback_at_any_statement_loses_and_doubles_nothing(
    running: Running, engine: Engine, treachery: Treachery, tmp_path: Path
) -> None:
    treachery.begins_anew = True
    before = treachery.count
    await running.keep(*an_outage(0))
    statements = treachery.count - before
    number = 0
    for _ in range(rounds(1)):
        for at in range(2, statements + 1):
            number += 1
            treachery.at = treachery.count + at
            await running.keep(*an_outage(number))
    # BEGIN is the first statement, which nothing can be lost before.
    assert treachery.sprung == number
    numbers = [str(each) for each in range(number + 1)]
    audited, ended, counted = read_back(tmp_path / "ledger.db")
    assert audited == numbers
    assert ended == numbers
    assert counted == [(f"f{each}", 1) for each in numbers]
    with engine.connect() as connection:
        assert CHAIN.verify(connection) is None
        node = nodes.get(connection, "01A")
    assert node is not None
    assert node.desired_state is (DesiredState.RUNNING if number % 2 else DesiredState.STOPPED)
    # One of them came before the transaction's first write: there was nothing to lose.
    assert running.writer.statistics.retries == number - rounds(1)
    print(f"{number} rollbacks behind the writer's back: nothing lost, nothing doubled")


async def test_a_rollback_after_which_each_statement_is_committed_loses_nothing(
    running: Running, engine: Engine, treachery: Treachery, tmp_path: Path
) -> None:
    # What followed the rollback is there already when it is noticed: it may be doubled, and is never lost.
    for number in range(1, 12):
        treachery.at = treachery.count + number
        await running.keep(*an_outage(number))
        await running.back()
    treachery.at = 0
    assert treachery.sprung == 9
    audited, ended, counted = read_back(tmp_path / "ledger.db")
    assert ended == [str(number) for number in range(1, 12)]
    assert {str(number) for number in range(1, 12)} <= set(audited)
    assert {f"f{number}" for number in range(1, 12)} <= {name for name, _ in counted}
    with engine.connect() as connection:
        assert CHAIN.verify(connection) is None


async def test_writes_wait_while_every_transaction_is_lost(
    running: Running, engine: Engine, treachery: Treachery, tmp_path: Path
) -> None:
    treachery.begins_anew, treachery.at_text = True, "UPDATE nodes"
    await asyncio.gather(*(running.keep(*an_outage(number)) for number in range(20)))
    assert running.changes
    assert running.changes[0] is not None
    assert "without saying so" in running.changes[0].why
    assert running.spool.statistics.records == 20
    with pytest.raises(LedgerError):
        await asyncio.wrap_future(running.writer.submit(lambda c: nodes.insert(c, a_node("01B", "Borealis", 5))))
    assert read_back(tmp_path / "ledger.db") == ([], [], [])
    treachery.at_text = ""
    await running.back()
    audited, ended, counted = read_back(tmp_path / "ledger.db")
    assert audited == ended == [str(number) for number in range(20)]
    assert [count for _, count in counted] == [1] * 20
    assert running.spool.statistics.records == 0
    with engine.connect() as connection:
        assert CHAIN.verify(connection) is None


async def test_a_saga_is_told_the_truth(running: Running, engine: Engine, treachery: Treachery) -> None:
    treachery.begins_anew = True
    treachery.at = treachery.count + 3
    await asyncio.wrap_future(running.writer.submit(lambda c: nodes.insert(c, a_node("01B", "Borealis", 5))))
    with engine.connect() as connection:
        assert [node.name for node in nodes.list_active(connection)] == ["Atlas", "Borealis"]
    assert treachery.sprung == 1
