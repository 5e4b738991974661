"""What all tests share: real clocks that can be turned, secrets made for the moment, a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handshake.redaction import Secret
from master.demonstration.stage import EventTap, Stage
from master.ledger.database import Ledger
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from master.settings import DatabaseSettings
from sandbox import Sandbox


class TurnableClock:
    """A clock that goes on only when it is told to."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.seconds = start

    def __call__(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=self.seconds)

    def turn(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def master_secret() -> MasterSecret:
    return MasterSecret(Secret(check_master_secret(new_master_secret())))


@pytest.fixture
def ledger_settings(tmp_path: Path) -> DatabaseSettings:
    return DatabaseSettings(url=Secret(f"sqlite:///{tmp_path / 'ledger.db'}"))


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
async def stage() -> AsyncIterator[Stage]:
    """A real master and real nodes as processes, on a sandbox."""
    async with Stage(pulse_s=0.5) as up:
        await up.start_master()
        yield up
        if up.sandbox.conformance is not None:
            assert up.sandbox.conformance.violations == []
            assert up.sandbox.conformance.checked > 0


@pytest.fixture
async def tap(stage: Stage) -> AsyncIterator[EventTap]:
    """The events of the stage's master."""
    async with stage.listen() as listening:
        yield listening
