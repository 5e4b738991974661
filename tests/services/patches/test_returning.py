"""A repair takes a patch back from one node, and the lineage of the node has all of it."""

from __future__ import annotations

import pytest

from master.events import NodePatched
from master.ledger.rows import patch_nodes
from master.ledger.rows.records import Node
from master.operations import lineage, patches, telling
from master.operations.parameters import NodeParams, PatchDeployParams, PatchReceiveParams
from master.services.patches.errors import PatchNotNow
from master.services.repair.errors import ActionSkipped
from tests.services.conftest import OPERATOR, House
from tests.services.patches.conftest import NEW, OLD, Bench
from tests.services.patches.test_silent_programs import register, rolling, until
from tests.services.repair.acting import act


async def state_of(house: House, node: Node) -> str:
    (row,) = await house.services.ledger.read(lambda connection: patch_nodes.of_node(connection, node.id))
    return row.state


@pytest.mark.slow
async def test_a_program_goes_back_from_a_patch_that_was_rolled_out(bench: Bench) -> None:
    house, services = bench.house, bench.house.services
    folder = await register(house, "atlas")
    await services.lineage_keeper.catch_up()
    node = services.directory.find("atlas")
    with pytest.raises(ActionSkipped, match="runs no patch"):
        await act(house, node, "rollback_patch")
    async with rolling(bench):
        received = await house.operations.run(patches.receive, OPERATOR, PatchReceiveParams(path=bench.bundle()))
        with services.bus.subscribe(NodePatched) as moves:
            await house.operations.run(patches.deploy, OPERATOR, PatchDeployParams(patch=received.id))
            await until(bench, received.id, "done")
            while await state_of(house, node) != "good":
                await anext(aiter(moves))
        await services.lineage_keeper.catch_up()
        assert (folder / "cogs" / "one.py").read_bytes() == NEW
        described = await house.operations.run(telling.describe, OPERATOR, NodeParams(name="atlas"))
        assert described.release == f"{received.label} (release 1, good)"
        with pytest.raises(PatchNotNow, match="on atlas for longer than -1 s"):
            await services.tools.returning.take_back(node, within_s=-1.0, why="")
        pid = services.supervisor.pid_of(node.id)
        done = await act(house, node, "rollback_patch")
    assert done.detail == f"{received.label} taken back: what it was before any patch is in force"
    assert (folder / "cogs" / "one.py").read_bytes() == OLD
    assert services.supervisor.pid_of(node.id) != pid
    assert await state_of(house, node) == "rolled_back"
    await services.lineage_keeper.catch_up()
    shown = await house.operations.run(lineage.lineage, OPERATOR, NodeParams(name="atlas"))
    assert [(one.cause, one.release, one.signature) for one in shown.generations] == [
        ("registered", 0, "holds"),
        ("patched", 1, "holds"),
        ("rolled_back", 0, "holds"),
    ]


@pytest.mark.slow
async def test_a_roll_out_that_goes_on_ends_when_a_repair_takes_its_node_back(bench: Bench) -> None:
    house, services = bench.house, bench.house.services
    folder = await register(house, "atlas")
    node = services.directory.find("atlas")
    async with rolling(bench):
        received = await house.operations.run(patches.receive, OPERATOR, PatchReceiveParams(path=bench.bundle()))
        wanted = PatchDeployParams(patch=received.id, soak_s=600.0)
        await house.operations.run(patches.deploy, OPERATOR, wanted)
        await until(bench, received.id, "soaking")
        await act(house, node, "rollback_patch")
        found = await until(bench, received.id, "rolled_back")
    assert "it failed on atlas: A test" in found.patch.reason
    assert (folder / "cogs" / "one.py").read_bytes() == OLD
