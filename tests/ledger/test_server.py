"""Tests that need a real server; run with FLEET_TEST_SQLSERVER_URL=mssql+pyodbc://user:password@host:port/database?..."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings
from master.ledger.archive import check_archive
from master.ledger.database import Ledger
from master.ledger.engine import explain, with_driver
from master.ledger.errors import LedgerUnavailable
from master.ledger.rows import audit, nodes
from master.ledger.rows.inspection import count_rows
from master.ledger.schema.migrations import HEAD_REVISION, SCRIPTS_DIR, current_revision
from master.services.core.keys import master_secret_of
from master.services.upkeep.restoring import import_into
from tests.conftest import SERVER_URL, TurnableClock
from tests.ledger.test_archive import archive, ledger_admin, secret, settings_at
from tests.ledger.test_database import a_node
from tests.ledger.writer.test_spool import CHAIN, action

__all__ = ["archive", "secret"]  # fixtures

pytestmark = pytest.mark.skipif(not SERVER_URL, reason="FLEET_TEST_SQLSERVER_URL names no server")


async def test_a_fleet_moves_to_the_server_and_back(
    archive: Path, tmp_path: Path, secret: str, clock: TurnableClock, ledger_settings: DatabaseSettings
) -> None:
    settings = structs.replace(settings_at(tmp_path, secret), database=ledger_settings)
    moved = await asyncio.to_thread(import_into, settings, archive)
    ledger = await Ledger.open(ledger_settings)
    books = ledger_admin(settings, ledger, clock)
    assert (await books.verify()).ok
    again = await books.back_up(str(tmp_path / "again.zip"))
    await ledger.close()
    key = master_secret_of(settings.identity).derive("archive")
    assert check_archive(Path(again.path), key=key).tables == check_archive(archive, key=key).tables
    assert moved.tables["handshake_events"] == 700


class Relay:
    """A TCP relay between ledger and server that can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._far_port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def connect(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._far_port)
        ends = {writer, far_writer}
        self._open |= ends
        try:
            await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.timeout(120)
async def test_spooled_writes_are_applied_once_after_the_connection_was_cut(
    ledger_settings: DatabaseSettings, tmp_path: Path
) -> None:
    url: URL = make_url(ledger_settings.url.reveal())
    if url.host is None:
        pytest.skip("the server is not named by host and port")
    relay = Relay(url.host, url.port or 1433)
    await relay.connect()
    through = url.set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
    settings = DatabaseSettings(url=Secret(through), connect_timeout_s=3.0, statement_timeout_s=5.0)
    ledger = await Ledger.open(settings, chain=CHAIN, spool_dir=tmp_path / "spool")
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    await relay.cut()
    await asyncio.gather(*(ledger.write_durable(action(number), timeout_s=60.0) for number in range(50)))
    assert ledger.away is not None
    with pytest.raises(LedgerUnavailable):
        await ledger.read(nodes.list_active)
    await relay.connect()
    await ledger.wait_available()
    rows = await ledger.read(lambda c: audit.search(c, limit=100))
    assert [row.detail for row in reversed(rows)] == [str(number) for number in range(50)]
    assert await ledger.read(CHAIN.verify) is None
    await ledger.close()


SCRIPTS = ("schema.sqlserver.sql", "roles.sqlserver.sql")
SCRATCH = "fleet_scripts_test"


def run_script(url: URL, name: str, *, whole: bool) -> None:
    """Run one of the scripts for a DBA, as one batch or statement by statement."""
    text = (SCRIPTS_DIR / name).read_text("utf-8")
    engine = create_engine(with_driver(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        with engine.connect() as connection:
            cursor = connection.connection.cursor()
            for part in [text] if whole else text.split("\n\n"):
                cursor.execute(part)
                while cursor.nextset():
                    pass
    finally:
        engine.dispose()


@pytest.mark.timeout(300)
def test_the_scripts_run_twice_on_an_empty_database(ledger_settings: DatabaseSettings) -> None:
    url = make_url(ledger_settings.url.reveal())
    if url.database is None:
        pytest.skip("the database is not named in the URL")
    engine = create_engine(with_driver(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {SCRATCH}")
            connection.exec_driver_sql(f"CREATE DATABASE {SCRATCH}")
    except DBAPIError as error:
        pytest.skip(f"this login may not make a database: {explain(error).message}")
    scratch = url.set(database=SCRATCH)
    try:
        for whole in (False, True):
            for name in SCRIPTS:
                run_script(scratch, name, whole=whole)
        found = create_engine(with_driver(scratch), poolclass=NullPool)
        assert current_revision(found) == HEAD_REVISION
        with found.connect() as connection:
            assert set(count_rows(connection).values()) == {0}
        found.dispose()
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {SCRATCH}")
        engine.dispose()
