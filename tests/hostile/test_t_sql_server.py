"""Microsoft's driver and FreeTDS against a T-SQL server that cannot be trusted: what is on the wire, and what is lost.

Skipped where pyodbc, unixODBC or a driver is missing; .ci/run installs them.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from msgspec import structs

from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError, LedgerReadOnly, LedgerUnavailable
from master.ledger.odbc import installed_driver, wheel_folder
from master.ledger.rows import audit, handshake_events, licences, nodes
from master.ledger.rows.records import HandshakeEvent, Licence, LicenceState
from master.services.upkeep.restoring import restore
from tests.conftest import TurnableClock
from tests.hostile import tds
from tests.hostile.t_sql_server import Behaviour, TSqlServer, running_server
from tests.ledger.test_archive import archive, secret, settings_at
from tests.ledger.test_database import NOW, a_node
from tests.ledger.test_t_sql import call_every_function
from tests.ledger.writer.test_lost_transactions import an_outage
from tests.ledger.writer.test_spool import CHAIN, action

__all__ = ["archive", "secret"]  # fixtures

pyodbc = pytest.importorskip("pyodbc", reason="pyodbc or unixODBC is not installed", exc_type=ImportError)

DRIVERS = ("microsoft", "freetds")


@pytest.fixture(scope="module")
def server_process() -> Iterator[TSqlServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def server(server_process: TSqlServer, empty_ledger: Path, tmp_path: Path) -> TSqlServer:
    shutil.copy(empty_ledger, tmp_path / "server.db")
    server_process.begin(tmp_path / "server.db")
    return server_process


def settings_for(server: TSqlServer, driver: str, *, encrypt: str = "no") -> DatabaseSettings:
    if driver == "microsoft" and wheel_folder() is None:
        pytest.skip("the package mssql-python-odbc is not installed")
    if driver == "freetds" and "FreeTDS" not in pyodbc.drivers():
        pytest.skip("FreeTDS (tdsodbc) is not installed")
    name = "{auto}" if driver == "microsoft" else "{FreeTDS}"
    connect = (
        f"DRIVER={name};SERVER=127.0.0.1,{server.port()};DATABASE=LEDGER;Encrypt={encrypt};TrustServerCertificate=yes;"
        "UID=fleetmaster;PWD={p;w}}d}"
    )
    url = f"mssql+pyodbc:///?odbc_connect={quote_plus(connect)}"
    return DatabaseSettings(url=Secret(url), connect_timeout_s=5.0, statement_timeout_s=10.0)


@pytest.fixture(params=DRIVERS)
def settings(request: pytest.FixtureRequest, server: TSqlServer) -> DatabaseSettings:
    return settings_for(server, request.param)


@pytest.fixture
async def ledger(settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(settings, chain=CHAIN, spool_dir=tmp_path / "spool")
    assert opened.away is None, opened.away
    yield opened
    await opened.close()


def rows_of(tmp_path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(tmp_path / "server.db") as found:
        return found.execute(query).fetchall()


async def test_no_parameter_is_ever_described_and_every_null_has_its_type(
    ledger: Ledger, server: TSqlServer, settings: DatabaseSettings
) -> None:
    def write(connection: object) -> None:
        call_every_function(connection)  # type: ignore[arg-type]

    await ledger.write(write)
    assert server.observed().described == 0
    nulls = {
        parameter.type
        for _, parameters in server.observed().statements
        for parameter in parameters
        if parameter.value is None
    }
    # Integers, texts and floats: none is sent as the VARCHAR that pyodbc takes for a NULL it knows nothing of.
    assert nulls
    assert nulls <= {0x26, 0xE7, 0x6D, 0x68, 0xA5, 0xAD, 0x38}


async def test_a_server_that_rolls_back_when_it_is_asked_to_describe_loses_nothing(
    ledger: Ledger, server: TSqlServer, tmp_path: Path
) -> None:
    server.behave(Behaviour(describing_rolls_back=True))
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    await asyncio.gather(*(ledger.write_durable(*an_outage(number)) for number in range(10)))
    assert server.observed().described == 0
    assert rows_of(tmp_path, "SELECT detail FROM audit_log ORDER BY sequence") == [(str(n),) for n in range(10)]
    assert len(rows_of(tmp_path, "SELECT id FROM process_events")) == 10
    assert await ledger.read(CHAIN.verify) is None


async def test_milliseconds_arrive_where_the_driver_finds_no_type_and_a_fresh_audit_log_verifies(
    ledger: Ledger, server: TSqlServer
) -> None:
    moment = datetime(2026, 2, 28, 23, 59, 59, 987_000, tzinfo=UTC)
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    licence = Licence(
        id="L1", node_id="01A", tier="standard", state=LicenceState.ISSUED, code_hash=b"h" * 32, issued_at=moment,
        expires_at=None,
    )  # fmt: skip
    await ledger.write(lambda c: licences.insert(c, licence))
    assert await ledger.read(lambda c: licences.find_by_hash(c, b"h" * 32)) == licence
    for number in range(5):
        await ledger.write_durable(
            structs.replace(action(number), at=moment.replace(microsecond=123_456 + number * 1000))
        )
    assert await ledger.read(CHAIN.verify) is None
    found = await ledger.read(audit.search)
    assert [row.at.microsecond for row in found] == [127_000, 126_000, 125_000, 124_000, 123_000]
    bound = [parameter for _, parameters in server.observed().statements for parameter in parameters]
    assert not [parameter for parameter in bound if isinstance(parameter.value, datetime)]


async def test_rows_come_back_over_the_wire_as_they_were(ledger: Ledger) -> None:
    event = HandshakeEvent(
        id="H1", at=NOW, node_id=None, message_type="heartbeat", outcome="malformed", transport="channel",
        author_id=2**62 + 1, detail="тест 🛰",
    )  # fmt: skip
    await ledger.write(lambda c: nodes.insert(c, a_node(bot_user_id=2**63 - 1)))
    await ledger.write(lambda c: handshake_events.insert(c, event))
    assert await ledger.read(lambda c: nodes.get(c, "01A")) == a_node(bot_user_id=2**63 - 1)
    assert await ledger.read(handshake_events.recent) == [event]


@pytest.mark.parametrize("error", [(9002, "log full"), (40999, "unheard of")])
async def test_an_error_of_the_database_itself_costs_no_entry(
    ledger: Ledger, server: TSqlServer, tmp_path: Path, error: tuple[int, str]
) -> None:
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    server.behave(Behaviour(fail_with=error))
    await ledger.write_durable(*an_outage(1))
    assert ledger.away is not None
    assert ledger.spooled.records == 1
    with pytest.raises(LedgerUnavailable):
        await ledger.write(lambda c: nodes.insert(c, a_node("01B", "Borealis", 5)))
    server.behave(Behaviour())
    await asyncio.wait_for(ledger.wait_available(), 30)
    assert rows_of(tmp_path, "SELECT detail FROM audit_log") == [("1",)]
    assert not (tmp_path / "spool" / "refused.jsonl").exists()


async def test_a_row_that_is_refused_is_refused_alone(ledger: Ledger, server: TSqlServer) -> None:
    outcomes = await asyncio.gather(
        ledger.write(lambda c: nodes.insert(c, a_node("01A", "one", 1))),
        ledger.write(lambda c: nodes.insert(c, a_node("01B", "ONE", 2))),
        ledger.write(lambda c: nodes.insert(c, a_node("01C", "two", 3))),
        return_exceptions=True,
    )
    assert [isinstance(outcome, LedgerError) for outcome in outcomes] == [False, True, False]
    assert ledger.away is None


@pytest.mark.parametrize("encrypt", ["yes", "strict", "no"])
@pytest.mark.parametrize("driver", DRIVERS)
async def test_encryption_is_asked_for_on_the_wire_and_no_login_goes_without_it(
    server: TSqlServer, driver: str, encrypt: str
) -> None:
    if (driver, encrypt) == ("microsoft", "strict"):
        pytest.skip("begins with TLS: there is no pre-login to look at")
    settings = settings_for(server, driver, encrypt=encrypt)
    if encrypt == "no":
        ledger = await Ledger.open(settings)
        await ledger.close()
        assert set(server.observed().encryption_asked) <= {tds.ENCRYPT_OFF, tds.ENCRYPT_NOT_SUPPORTED}
        return
    # The server says that it cannot encrypt, as one in the middle would.
    with pytest.raises(LedgerUnavailable):
        await Ledger.open(settings)
    assert server.observed().encryption_asked
    assert set(server.observed().encryption_asked) <= {tds.ENCRYPT_ON, tds.ENCRYPT_REQUIRED}
    assert server.observed().logins == 0


@pytest.mark.parametrize("refusal", [(18456, "Login failed for user"), (4060, "Cannot open database")])
async def test_a_login_or_database_that_is_missing_is_an_outage_that_ends(
    server: TSqlServer, settings: DatabaseSettings, tmp_path: Path, refusal: tuple[int, str]
) -> None:
    server.behave(Behaviour(refuse_login=refusal))
    # So the master begins with what it remembers.
    ledger = await Ledger.open(settings, chain=CHAIN, spool_dir=tmp_path / "spool")
    assert ledger.away is not None
    assert ("login" if refusal[0] == 18456 else "database does not exist") in ledger.away.why
    await ledger.write_durable(action(1))
    server.behave(Behaviour())
    await asyncio.wait_for(ledger.wait_available(), 30)
    assert rows_of(tmp_path, "SELECT detail FROM audit_log") == [("1",)]
    await ledger.close()


async def test_an_archive_is_restored_into_a_server_that_is_in_use(
    server: TSqlServer, tmp_path: Path, archive: Path, secret: str, clock: TurnableClock
) -> None:
    settings = structs.replace(settings_at(tmp_path, secret), database=settings_for(server, "microsoft"))
    ledger = await Ledger.open(settings.database, chain=CHAIN)
    await ledger.write(lambda c: nodes.insert(c, a_node("01Z", "Zephyr", 99)))
    await ledger.close()
    server.behave(Behaviour(fail_with=(229, "The DELETE permission was denied")))
    with pytest.raises(LedgerReadOnly, match="may not empty"):
        await asyncio.to_thread(restore, settings, archive, at=clock.now())
    server.behave(Behaviour())
    assert rows_of(tmp_path, "SELECT id FROM nodes") == [("01Z",)]
    found = await asyncio.to_thread(restore, settings, archive, at=clock.now())
    assert ("01Z",) not in rows_of(tmp_path, "SELECT id FROM nodes")
    assert len(rows_of(tmp_path, "SELECT id FROM handshake_events")) == 700
    # What was there before is an archive, from which it comes back the same way.
    again = await asyncio.to_thread(restore, settings, Path(found.kept), at=clock.now() + timedelta(seconds=1))
    assert rows_of(tmp_path, "SELECT id FROM nodes") == [("01Z",)]
    assert again.tables["handshake_events"] == 0


def test_the_driver_that_is_chosen_first_is_microsofts() -> None:
    if wheel_folder() is not None:
        assert "msodbcsql" in installed_driver().connection_value
