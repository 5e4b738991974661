"""ODBC: choice of the driver, translation of its errors, retries."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from master.configuration.settings import DatabaseSettings
from master.ledger.database import Ledger
from master.ledger.errors import (
    Conflict,
    LedgerError,
    LedgerReadOnly,
    LedgerRetryable,
    LedgerUnavailable,
    RowRefused,
)
from master.ledger.odbc import MICROSOFT, explain_odbc, find_driver, sql_state_of
from master.ledger.rows import nodes
from tests.ledger.test_database import a_node


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Return a folder laid out like the package that contains Microsoft's driver."""
    for family in ("alpine", "debian_ubuntu", "rhel"):
        library = tmp_path / "wheel" / "libs" / "linux" / family / "x86_64" / "lib" / "libmsodbcsql-18.6.so.1.1"
        library.parent.mkdir(parents=True)
        library.touch()
    return tmp_path / "wheel"


def test_microsofts_newest_comes_first_then_the_wheel_then_freetds(wheel: Path) -> None:
    newest, older = MICROSOFT
    installed = ["SQLite3", older, newest, "FreeTDS"]
    for expected in (newest, older):
        found = find_driver(installed, wheel)
        assert found is not None
        assert found.connection_value == "{" + expected + "}"
        installed.remove(expected)
    found = find_driver(installed, wheel)
    assert found is not None
    assert found.connection_value == str(
        wheel / "libs" / "linux" / "debian_ubuntu" / "x86_64" / "lib" / "libmsodbcsql-18.6.so.1.1"
    )
    found = find_driver(installed)
    assert found is not None
    assert found.name == "FreeTDS"
    assert find_driver(["SQLite3"]) is None
    assert find_driver([], wheel.parent) is None


@pytest.mark.parametrize(
    ("state", "message", "kind", "words"),
    [
        (
            "IM002",
            "[IM002] [unixODBC][Driver Manager]Data source name not found",
            LedgerUnavailable,
            "is not installed",
        ),
        (
            "28000",
            "[28000] [Microsoft][ODBC Driver 18 for SQL Server]Login failed for user 'x'. (18456) (SQLDriverConnect)",
            LedgerUnavailable,
            "refuses the login",
        ),
        (
            "42000",
            "[42000] Cannot open database (4060) (SQLDriverConnect)",
            LedgerUnavailable,
            "the database does not exist",
        ),
        ("08001", "[08001] TCP Provider: Error code 0x2749 (10057) (SQLDriverConnect)", LedgerUnavailable, "reached"),
        (
            "08001",
            "[08001] SSL Provider: certificate verify failed (-1) (SQLDriverConnect)",
            LedgerUnavailable,
            "trusted",
        ),
        ("HYT00", "[HYT00] Login timeout expired (0) (SQLDriverConnect)", LedgerUnavailable, "in time"),
        ("40001", "[40001] Transaction was deadlocked (1205) (SQLExecDirectW)", LedgerRetryable, "transient error"),
        ("42000", "[42000] deadlocked, as FreeTDS says it (1205) (SQLExecDirectW)", LedgerRetryable, "transient error"),
        (
            "25000",
            "[25000] no corresponding BEGIN TRANSACTION. (3903) (SQLEndTran)",
            LedgerRetryable,
            "transient error",
        ),
        ("08S01", "[08S01] Communication link failure (0) (SQLExecDirectW)", LedgerRetryable, "was lost"),
        (
            "42000",
            "[42000] The INSERT permission was denied (229) (SQLExecDirectW)",
            LedgerReadOnly,
            "lacks a permission",
        ),
        (
            "42000",
            "[42000] Incorrect syntax (102) (SQLExecDirectW)",
            LedgerUnavailable,
            "refused a statement (42000, 102)",
        ),
        (
            "42000",
            "[42000] The log for x is full (9002) (SQLExecDirectW)",
            LedgerUnavailable,
            "transaction log is full",
        ),
        ("42000", "[42000] Could not allocate space (1105) (SQLExecDirectW)", LedgerUnavailable, "has no room"),
        ("25000", "[25000] x is read-only. (3906) (SQLExecDirectW)", LedgerReadOnly, "read-only"),
        ("HY000", "[HY000] x is read-only. (3906) (SQLExecDirectW)", LedgerReadOnly, "read-only"),
        ("23000", "[23000] Violation of UNIQUE KEY 'x' (2627) (SQLExecDirectW)", Conflict, "refused a row"),
        ("HY000", "[HY000] as an old driver says it 'x' (547) (SQLExecDirectW)", Conflict, "refused a row"),
        ("22001", "[22001] would be truncated (8152) (SQLExecDirectW)", RowRefused, "refused a value"),
        ("42000", "[42000] truncated, as FreeTDS says it (2628) (SQLExecDirectW)", RowRefused, "refused a value"),
    ],
)
def test_an_error_says_what_to_do_and_nothing_secret(
    state: str, message: str, kind: type[LedgerError], words: str
) -> None:
    found = explain_odbc(state, message)
    assert type(found) is kind
    assert words in found.message
    assert "'x'" not in str(found)
    assert sql_state_of(message) == state


def test_only_classes_22_and_23_are_the_rows_fault() -> None:
    known = {"515", "547", "2601", "2627", "220", "241", "242", "245", "2628", "8114", "8115", "8152"}
    blamed = set()
    for number in range(1, 50_000):
        for state in ("42000", "HY000", "01000", "S1000"):
            if isinstance(explain_odbc(state, f"[{state}] something 'x' ({number}) (SQLExecDirectW)"), RowRefused):
                blamed.add(str(number))
    assert blamed == known
    for state in ("08S01", "25000", "28000", "40001", "42S02", "42S22", "HYT00", "HYC00", "HY010", "IM002", ""):
        found = explain_odbc(state, f"[{state}] something without a number")
        assert isinstance(found, LedgerUnavailable), state
    for state in ("22000", "22001", "22018", "23000", "23505"):
        assert isinstance(explain_odbc(state, f"[{state}] x"), RowRefused), state


async def test_a_write_to_a_ledger_that_is_locked_for_a_while_is_retried(sqlite_settings: DatabaseSettings) -> None:
    settings = DatabaseSettings(url=sqlite_settings.url, statement_timeout_s=0.05)
    ledger = await Ledger.open(settings)
    other = sqlite3.connect(sqlite_settings.url.reveal().removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(ledger.write(lambda c: nodes.insert(c, a_node())))
    while not ledger.statistics.retries:  # noqa: ASYNC110 - the writer's thread has no event for it
        await asyncio.sleep(0.005)
    other.execute("ROLLBACK")
    other.close()
    await asyncio.wait_for(writing, 10)
    assert [node.name for node in await ledger.read(nodes.list_active)] == ["Atlas"]
    assert ledger.statistics.failures == 0
    await ledger.close()


async def test_a_ledger_that_stays_locked_is_reported_and_nothing_is_written(
    sqlite_settings: DatabaseSettings,
) -> None:
    settings = DatabaseSettings(url=sqlite_settings.url, statement_timeout_s=0.02)
    ledger = await Ledger.open(settings)
    other = sqlite3.connect(sqlite_settings.url.reveal().removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerRetryable, match="locked"):
        await ledger.write(lambda c: nodes.insert(c, a_node()))
    other.execute("ROLLBACK")
    other.close()
    assert await ledger.read(nodes.list_active) == []
    await ledger.close()
