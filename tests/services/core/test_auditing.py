"""The audit log: one row for each action, whatever happens after it was committed."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from master.errors import FleetError
from master.ledger.rows import audit
from master.ledger.rows.records import Outcome
from tests.services.conftest import OPERATOR, House


async def test_an_action_that_fails_after_its_row_was_committed_has_no_second_row(house: House) -> None:
    services = house.services

    async def act() -> None:
        async with services.auditor.action(OPERATOR, "register") as entry:
            await services.ledger.write(entry.append)
            entry.written = True
            raise FleetError("it does not start")

    with pytest.raises(FleetError):
        await act()
    (row,) = await services.ledger.read(audit.search)
    assert row.outcome is Outcome.DONE


async def test_an_action_whose_transaction_was_rolled_back_is_recorded_as_failed(house: House) -> None:
    services = house.services

    def write(connection: Connection) -> None:
        entry.append(connection)
        raise FleetError("refused")

    with pytest.raises(FleetError):
        async with services.auditor.action(OPERATOR, "register") as entry:
            await services.ledger.write(write)
    (row,) = await services.ledger.read(audit.search)
    assert (row.outcome, row.detail) == (Outcome.FAILED, "fleet_error: refused")
