"""The pyodbc path on a real ODBC stack: unixODBC, with a SQLite driver where a database is needed, Microsoft's and
FreeTDS's where a connection is refused. Skipped where pyodbc, unixODBC or a driver is missing; .ci/run installs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import types
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from sqlalchemy import Connection, DateTime, Engine, event, select, text
from sqlalchemy.connectors.pyodbc import PyODBCConnector
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings
from master.ledger.database import Ledger
from master.ledger.engine import explain, make_engine, make_pool
from master.ledger.errors import LedgerError, LedgerRetryable, LedgerUnavailable
from master.ledger.odbc import check_driver, installed_driver, wheel_folder
from master.ledger.rows import audit, handshake_events, nodes, tokens
from master.ledger.rows.records import HandshakeEvent
from master.ledger.schema.tables import nodes as nodes_table
from master.ledger.writer.entries import apply
from master.ledger.writer.queue import Away, Writer
from master.ledger.writer.spool import Spool
from tests.ledger.test_database import NOW, a_node
from tests.ledger.writer.test_spool import CHAIN, action, refusal, step

pyodbc = pytest.importorskip("pyodbc", reason="pyodbc or unixODBC is not installed", exc_type=ImportError)


class _Moment(DateTime):
    """Read as datetimes, as pyodbc does; SQLite's own driver uses text."""


@contextlib.contextmanager
def with_sql_states() -> Iterator[None]:
    """Set the SQLSTATE of a refused row to what every other driver says: libsqliteodbc knows HY000 alone."""
    try:
        yield
    except pyodbc.Error as error:
        if "constraint failed" in str(error):
            raise pyodbc.IntegrityError("23000", str(error.args[1])) from error
        raise


class SQLiteOverOdbc(PyODBCConnector, SQLiteDialect):
    """SQLite's statements through pyodbc, so that a ledger runs on an ODBC stack without a server."""

    driver = "pyodbc"
    supports_statement_cache = True
    colspecs = {**SQLiteDialect.colspecs, DateTime: _Moment}  # noqa: RUF012 - as in the class that it extends
    # libsqliteodbc supports neither.
    default_isolation_level = "SERIALIZABLE"
    insert_returning = update_returning = delete_returning = False
    use_insertmanyvalues = False

    def __init__(self, **options: Any) -> None:
        super().__init__(use_setinputsizes=True, **options)

    def do_execute(self, *given: Any) -> None:
        with with_sql_states():
            super().do_execute(*given)  # type: ignore[no-untyped-call]

    def do_executemany(self, *given: Any) -> None:
        with with_sql_states():
            super().do_executemany(*given)  # type: ignore[no-untyped-call]

    @classmethod
    def import_dbapi(cls) -> Any:
        # The dialect asks the driver for SQLite's version, which pyodbc does not know.
        return types.SimpleNamespace(**vars(pyodbc), sqlite_version_info=(3, 40, 0))

    def _get_server_version_info(self, _connection: Any) -> tuple[int, ...]:
        return (3, 40)

    def get_isolation_level(self, _connection: Any) -> Any:
        return "SERIALIZABLE"


registry.register("sqlite.pyodbc", __name__, "SQLiteOverOdbc")


@pytest.fixture
def odbc_settings(tmp_path: Path, sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    if "SQLite3" not in pyodbc.drivers():
        pytest.skip("libsqliteodbc is not installed")
    path = sqlite_settings.url.reveal().removeprefix("sqlite:///")
    # Without BigInt=1 this driver cuts snowflakes to 32 bits.
    connect = f"DRIVER=SQLite3;Database={path};BigInt=1;FKSupport=1;Timeout=2000;NoTXN=0"
    return DatabaseSettings(url=Secret(f"sqlite+pyodbc:///?odbc_connect={quote_plus(connect)}"), connect_timeout_s=2)


@pytest.fixture
def engine(odbc_settings: DatabaseSettings) -> Iterator[Engine]:
    made = make_pool(make_url(odbc_settings.url.reveal()), odbc_settings)
    yield made
    made.dispose()


class RunningWriter:
    """A writer over ODBC."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        # Each test has a ledger of its own, and a chain compares the end of the log with what it appended last.
        CHAIN.head = None
        CHAIN.discard_pending()
        # Shared by tests, each of which has a log of its own.
        CHAIN.head = None
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

    async def write(self, work: Callable[[Connection], Any]) -> Any:
        return await asyncio.wait_for(asyncio.wrap_future(self.writer.submit(work)), 20)


@pytest.fixture
def running(engine: Engine, tmp_path: Path) -> Iterator[RunningWriter]:
    made = RunningWriter(engine, tmp_path)
    yield made
    made.writer.stop(10.0)


async def test_rows_come_back_through_odbc_as_they_were(running: RunningWriter, engine: Engine) -> None:
    await running.write(lambda c: nodes.insert(c, a_node(bot_user_id=2**63 - 1)))
    await running.write(lambda c: tokens.store(c, "01A", b"\x00\xff sealed", at=NOW))
    for number in range(3):
        await running.write(lambda c, number=number: apply(c, [action(number)], CHAIN))  # type: ignore[misc]
    with engine.connect() as connection:
        assert nodes.get(connection, "01A") == a_node(bot_user_id=2**63 - 1)
        assert tokens.load(connection, "01A") == b"\x00\xff sealed"
        assert CHAIN.verify(connection) is None
        assert [row.detail for row in audit.search(connection)] == ["2", "1", "0"]


async def test_a_write_that_fails_fails_alone(running: RunningWriter, engine: Engine) -> None:
    outcomes = await asyncio.gather(
        running.write(lambda c: nodes.insert(c, a_node("01A", "one", 1))),
        running.write(lambda c: nodes.insert(c, a_node("01B", "ONE", 2))),
        running.write(lambda c: nodes.insert(c, a_node("01C", "two", 3))),
        return_exceptions=True,
    )
    assert [isinstance(outcome, LedgerError) for outcome in outcomes] == [False, True, False]
    with engine.connect() as connection:
        assert [node.name for node in nodes.list_active(connection)] == ["one", "two"]


async def test_many_threads_submit_and_one_connection_writes(running: RunningWriter, engine: Engine) -> None:
    used: set[int] = set()
    event.listen(engine, "begin", lambda connection: used.add(id(connection.connection.dbapi_connection)))
    await running.write(lambda c: nodes.insert(c, a_node()))

    def submit(worker: int) -> None:
        for number in range(25):
            running.writer.submit_entries((refusal(worker * 100 + number),), urgent=True).result(20)

    workers = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        await asyncio.to_thread(worker.join)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM handshake_events")).scalar_one() == 200
    assert len(used) == 1
    assert running.writer.statistics.groups < 200


async def test_a_connection_that_died_in_the_pool_is_replaced(running: RunningWriter, engine: Engine) -> None:
    await running.write(lambda c: nodes.insert(c, a_node()))
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection
    assert raw is not None
    raw.close()
    await running.write(lambda c: apply(c, [action(1)], CHAIN))
    assert running.writer.statistics.failures == 0


async def test_spooled_writes_are_applied_once_after_an_outage(
    running: RunningWriter, engine: Engine, tmp_path: Path
) -> None:
    await running.write(lambda c: nodes.insert(c, a_node()))
    ledger, hidden = tmp_path / "ledger.db", tmp_path / "hidden.db"

    # A folder takes the place of the file: no connection can be made.
    engine.dispose()
    ledger.rename(hidden)
    ledger.mkdir()
    done = [running.writer.submit_entries((action(number), step(number)), urgent=True) for number in range(20)]
    for future in done:
        await asyncio.wait_for(asyncio.wrap_future(future), 20)
    assert running.changes
    with pytest.raises(LedgerUnavailable):
        await running.write(lambda c: nodes.insert(c, a_node("01B", "Borealis", 5)))
    assert running.spool.statistics.records == 20
    ledger.rmdir()
    hidden.rename(ledger)
    while running.writer.away is not None:  # noqa: ASYNC110 - the writer's thread has no event for it
        await asyncio.sleep(0.02)
    with engine.connect() as connection:
        assert [row.detail for row in audit.search(connection)] == [str(number) for number in reversed(range(20))]
        assert CHAIN.verify(connection) is None
        assert connection.execute(text("SELECT count(*) FROM process_events")).scalar_one() == 20
    assert running.changes[-1] is None


def test_statements_have_a_time_out(engine: Engine) -> None:
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        assert raw.timeout == 15
        connection.execute(select(nodes_table))


def refused(connect: str, timeout_s: float = 1.0) -> LedgerError:
    settings = DatabaseSettings(url=Secret("mssql+pyodbc:///"), connect_timeout_s=timeout_s)
    made = make_pool(make_url(f"mssql+pyodbc:///?odbc_connect={quote_plus(connect)}"), settings)
    try:
        with pytest.raises(SQLAlchemyError) as found:
            made.connect()
    finally:
        made.dispose()
    return explain(found.value)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_missing_driver_is_reported() -> None:
    with pytest.raises(LedgerError, match="ODBC Driver 99 for SQL Server, which config"):
        check_driver("ODBC Driver 99 for SQL Server")
    found = refused("DRIVER={ODBC Driver 99 for SQL Server};SERVER=localhost")
    assert "driver of DATABASE['DRIVER'] is not installed" in found.message
    assert "fleet doctor" in found.hint


@pytest.mark.skipif(wheel_folder() is None, reason="the package mssql-python-odbc is not installed")
async def test_microsofts_driver_takes_our_connection_string_and_a_closed_port_is_named(
    closed_port: int, tmp_path: Path
) -> None:
    connect = (
        f"DRIVER={{auto}};SERVER=127.0.0.1,{closed_port};DATABASE=DISCORDBOT;Encrypt=yes;TrustServerCertificate=no;"
        "UID=fleetmaster;PWD={p;w}}d}"
    )
    settings = DatabaseSettings(
        url=Secret(f"mssql+pyodbc:///?odbc_connect={quote_plus(connect)}"), connect_timeout_s=1.0
    )
    assert "msodbcsql" in installed_driver().connection_value
    with pytest.raises(LedgerUnavailable) as found:
        await Ledger.open(settings)
    assert "SERVER" in found.value.hint
    assert "p;w" not in str(found.value)
    # With a spool the ledger opens all the same, and what is written waits.
    ledger = await Ledger.open(settings, chain=CHAIN, spool_dir=tmp_path / "spool")
    assert ledger.away is not None
    began = time.monotonic()
    await ledger.write_durable(action(1))
    with pytest.raises(LedgerUnavailable):
        await ledger.read(nodes.list_active)
    assert time.monotonic() - began < 0.9  # nobody waited for a login again
    assert ledger.spooled.records == 1
    await ledger.close()


@pytest.mark.skipif("FreeTDS" not in pyodbc.drivers(), reason="FreeTDS (tdsodbc) is not installed")
def test_freetds_names_a_closed_port_too(closed_port: int) -> None:
    found = refused(f"DRIVER={{FreeTDS}};SERVER=127.0.0.1;PORT={closed_port};UID=x;PWD=secret;TDS_Version=7.4")
    assert isinstance(found, LedgerUnavailable)
    assert not isinstance(found, LedgerRetryable)
    assert "secret" not in str(found)


def test_an_unknown_driver_url_is_refused_with_what_to_do() -> None:
    settings = DatabaseSettings(url=Secret("mssql+nothing://x"))
    with pytest.raises(LedgerError, match="is not installed"):
        make_engine(make_url("mssql+nothing://x"), settings)


def test_moments_and_events_are_bound_as_odbc_takes_them(engine: Engine) -> None:
    moment = datetime(2026, 2, 28, 23, 59, 59, 999_000, tzinfo=UTC)
    with engine.begin() as connection:
        nodes.insert(connection, a_node())
        apply(connection, [refusal(1)], CHAIN)
        row = HandshakeEvent(
            id="H2", at=moment, node_id=None, message_type="x", outcome="malformed", transport="channel",
            author_id=2**62 + 1, detail="тест 🛰",
        )  # fmt: skip
        handshake_events.insert(connection, row)
        assert row in handshake_events.recent(connection)
