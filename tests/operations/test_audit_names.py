"""`fleet audit show` says of whom it tells: nodes by name, removed ones too."""

from __future__ import annotations

import pytest

from master.operations import changing, ledger, nodes
from master.operations.parameters import AuditParams, NamesParams, RemoveParams
from master.services.core.errors import NoSuchNode
from master.services.onboarding.saga import CloneRequest
from tests.services.conftest import OPERATOR, House


async def test_a_row_names_its_node_and_a_name_finds_removed_ones(house: House) -> None:
    for _ in range(2):
        await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas"), start=False))
        await house.operations.run(nodes.stop, OPERATOR, NamesParams(names=("atlas",)))
        await house.operations.run(changing.remove, OPERATOR, RemoveParams(names=("atlas",), fate="purge"))
    rows = await house.operations.run(ledger.audit, OPERATOR, AuditParams(node="Atlas"))
    assert {row.node for row in rows} == {"atlas"}
    assert len({row.node_id for row in rows}) == 2
    assert {row.action for row in rows} >= {"stop", "remove"}
    everything = await house.operations.run(ledger.audit, OPERATOR, AuditParams())
    assert all(bool(row.node) == (row.node_id is not None) for row in everything)
    with pytest.raises(NoSuchNode):
        await house.operations.run(ledger.audit, OPERATOR, AuditParams(node="borealis"))
