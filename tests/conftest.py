"""Fixtures of all tests: a manual clock, fresh secrets, ledgers, a sandbox, a stage."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings
from master.demonstration.stage import EventTap, Stage
from master.ledger.database import Ledger
from master.ledger.engine import make_engine
from master.ledger.schema.migrations import migrate
from master.ledger.schema.tables import metadata
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from sandbox import Sandbox


class TurnableClock:
    """A clock that advances only with :meth:`turn`."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.seconds = start
        self.set_by = 0.0

    def __call__(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=self.seconds + self.set_by)

    def turn(self, seconds: float) -> None:
        self.seconds += seconds

    def set(self, by: float) -> None:
        """Set the time of day, as NTP does after a long time without it; no time passes."""
        self.set_by += by


@pytest.fixture(scope="session", autouse=True)
def own_settings_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the command line away from what this user's `fleet home` remembers, and from his service."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("xdg")))
        yield


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def master_secret() -> MasterSecret:
    return MasterSecret(Secret(check_master_secret(new_master_secret())))


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger file at the newest revision; shared, because migrating one takes a second."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    migrate(make_url(f"sqlite:///{path}"))
    path.chmod(0o600)
    return path


SERVER_URL = os.environ.get("FLEET_TEST_SQLSERVER_URL", "")
"""URL of a T-SQL server (mssql+pyodbc://...) for the ledger's tests. Each test empties its tables."""


@pytest.fixture
def sqlite_settings(tmp_path: Path, empty_ledger: Path) -> DatabaseSettings:
    """Return an empty SQLite ledger, even when a server is configured."""
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    return DatabaseSettings(url=Secret(f"sqlite:///{tmp_path / 'ledger.db'}"))


@pytest.fixture(scope="session")
def migrated_server() -> DatabaseSettings:
    """Return the server's ledger at the newest revision."""
    migrate(make_url(SERVER_URL))
    return DatabaseSettings(url=Secret(SERVER_URL))


@pytest.fixture
def ledger_settings(request: pytest.FixtureRequest) -> Iterator[DatabaseSettings]:
    """Yield an empty ledger: the server's when one is configured, a SQLite file otherwise."""
    if not SERVER_URL:
        yield request.getfixturevalue("sqlite_settings")
        return
    # All workers share one database: a lock gives each test exclusive access.
    with (Path(tempfile.gettempdir()) / "fleet-test-server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        settings: DatabaseSettings = request.getfixturevalue("migrated_server")
        engine = make_engine(make_url(SERVER_URL), settings)
        with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        engine.dispose()
        yield settings


@pytest.fixture
async def ledger(ledger_settings: DatabaseSettings) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(ledger_settings)
    yield opened
    await opened.close()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running
        if running.conformance is not None:
            assert running.conformance.violations == []


@pytest.fixture
async def stage(empty_ledger: Path) -> AsyncIterator[Stage]:
    """Yield a real master on a sandbox; nodes are real processes too."""
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as up:
        await up.start_master()
        yield up
        if up.sandbox.conformance is not None:
            assert up.sandbox.conformance.violations == []
            assert up.sandbox.conformance.checked > 0


@pytest.fixture
async def tap(stage: Stage) -> AsyncIterator[EventTap]:
    """Yield a subscription to the events of the stage's master."""
    async with stage.listen() as listening:
        yield listening
