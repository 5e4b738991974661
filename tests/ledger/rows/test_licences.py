"""Rows of licences: whose are revoked."""

from __future__ import annotations

from functools import partial

import pytest

from master.ledger.database import Ledger
from master.ledger.rows import licences, nodes
from master.ledger.rows.records import Licence, LicenceState
from tests.ledger.test_database import NOW, a_node

ACTIVE, REVOKED = LicenceState.ACTIVE, LicenceState.REVOKED


@pytest.mark.parametrize(
    ("states", "is_revoked"),
    [((), False), ((ACTIVE,), False), ((REVOKED,), True), ((REVOKED, REVOKED), True)]
    + [((REVOKED, other), False) for other in LicenceState if other is not REVOKED],
)
async def test_of_one_node_and_of_all_the_same_is_said(
    ledger: Ledger, states: tuple[LicenceState, ...], is_revoked: bool
) -> None:
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    for number, state in enumerate(states):
        licence = Licence(
            id=f"L{number}",
            node_id="01A",
            tier="standard",
            state=state,
            code_hash=bytes([number]) * 32,
            issued_at=NOW,
            expires_at=None,
        )
        await ledger.write(partial(licences.insert, licence=licence))
    assert await ledger.read(lambda c: licences.is_revoked(c, "01A")) is is_revoked
    assert await ledger.read(licences.list_revoked) == ({"01A"} if is_revoked else frozenset())
