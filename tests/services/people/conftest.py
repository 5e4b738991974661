"""A desk at which licences are issued and redeemed."""

from __future__ import annotations

import pytest

from master.ledger.database import Ledger
from master.security.derivation import MasterSecret
from tests.conftest import TurnableClock
from tests.services.people.desk import Desk


@pytest.fixture
def desk(ledger: Ledger, master_secret: MasterSecret, clock: TurnableClock) -> Desk:
    return Desk(ledger, master_secret, clock)
