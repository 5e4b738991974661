"""A desk at which licences are issued and redeemed; a server with masters that come and go, for giveaways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.ledger.database import Ledger
from master.security.derivation import MasterSecret
from sandbox import Sandbox
from tests.conftest import TurnableClock
from tests.services.people.desk import Desk
from tests.services.people.giveaway_scene import GiveawayScene, open_giveaway_scene


@pytest.fixture
def desk(ledger: Ledger, master_secret: MasterSecret, clock: TurnableClock) -> Desk:
    return Desk(ledger, master_secret, clock)


@pytest.fixture
async def fair(
    tmp_path: Path, sandbox: Sandbox, empty_ledger: Path, clock: TurnableClock
) -> AsyncIterator[GiveawayScene]:
    async with open_giveaway_scene(tmp_path, sandbox, empty_ledger, clock) as scene:
        yield scene
