"""Revoking a licence: the node stops, is believed no more, and starts no more until it is reinstated."""

from __future__ import annotations

import pytest

from handshake.messages import Acknowledgement, Heartbeat, VerificationResponse
from master.configuration.settings import Settings
from master.ledger.rows import audit, licences
from master.ledger.rows.records import DesiredState, LicenceState, Outcome
from master.operations import nodes
from master.operations.operation import Operation
from master.operations.parameters import NamesParams, NodeParams, RollParams
from master.services.container import Services
from master.services.core.ledger_cache import load_cached_ledger
from master.services.core.views import ActionResult
from master.services.onboarding.saga import CloneRequest
from master.services.trust.revocation import NothingRevoked
from sandbox import Sandbox
from tests.services.conftest import OPERATOR, House, open_house
from tests.services.trust.test_verification import Caller


@pytest.fixture
async def atlas(house: House) -> Caller:
    """A node that has proved itself."""
    caller = Caller(house, await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas"))))
    await caller.says(caller.request())
    return caller


async def state_of(caller: Caller) -> LicenceState:
    code_hash = caller.house.services.licensing.hash_of(caller.registered.licence)
    assert code_hash is not None
    found = await caller.house.services.ledger.read(lambda connection: licences.find_by_hash(connection, code_hash))
    assert found is not None
    return found.state


async def test_a_revoked_node_is_stopped_and_starts_no_more(house: House, atlas: Caller) -> None:
    done = await house.operations.run(nodes.revoke, OPERATOR, NodeParams(name="atlas"))
    assert (done.ok, done.state) == (True, "stopped")
    assert house.services.directory.find("atlas").desired_state is DesiredState.STOPPED
    assert await state_of(atlas) is LicenceState.REVOKED
    for operation in (nodes.start, nodes.restart):
        refused = await house.act(OPERATOR, operation, "atlas")
        assert (refused.ok, refused.code, refused.exit_code) == (False, "licence_revoked", 4)
        assert "fleet reinstate atlas" in refused.hint
    assert house.services.supervisor.pid_of(atlas.node.id) is None
    rows = await house.services.ledger.read(lambda connection: audit.search(connection, action="revoke"))
    assert [(row.node_id, row.outcome, row.detail) for row in rows] == [(atlas.node.id, Outcome.DONE, "atlas")]
    with pytest.raises(NothingRevoked):
        await house.operations.run(nodes.revoke, OPERATOR, NodeParams(name="atlas"))


async def test_a_process_that_runs_on_is_believed_no_more_at_its_next_word(house: House, atlas: Caller) -> None:
    """Also with the licence remembered from before, as it is for a ledger that is away."""
    await house.services.revocation.revoke(atlas.node)
    order = await atlas.says(Heartbeat(uptime_s=1.0))
    assert order is not None
    assert isinstance(order.body, Acknowledgement)
    assert order.body.order == "verify_again"
    answer = await atlas.says(atlas.request())
    assert answer is not None
    assert isinstance(answer.body, VerificationResponse)
    assert (answer.body.accepted, answer.body.reason) == (False, "the licence is revoked")


async def test_a_reinstated_node_starts_and_is_believed_again(house: House, atlas: Caller) -> None:
    with pytest.raises(NothingRevoked):
        await house.operations.run(nodes.reinstate, OPERATOR, NodeParams(name="atlas"))
    await house.operations.run(nodes.revoke, OPERATOR, NodeParams(name="atlas"))
    done = await house.operations.run(nodes.reinstate, OPERATOR, NodeParams(name="atlas"))
    assert done.state == "stopped"
    assert await state_of(atlas) is LicenceState.ACTIVE
    assert (await house.act(OPERATOR, nodes.start, "atlas")).ok
    answer = await atlas.says(atlas.request())
    assert answer is not None
    assert isinstance(answer.body, VerificationResponse)
    assert answer.body.accepted


async def test_the_status_says_that_a_licence_is_revoked_and_what_gives_it_back_also_to_later_masters(
    house: House, atlas: Caller, house_settings: Settings, sandbox: Sandbox
) -> None:
    await house.clone(OPERATOR, CloneRequest(name="borealis", token=house.token("borealis")))

    async def revoked_in(seen: House) -> list[str]:
        found = await seen.services.overview.status()
        return [node.name for node in found.nodes if node.licence_revoked]

    assert await revoked_in(house) == []
    await house.operations.run(nodes.revoke, OPERATOR, NodeParams(name="atlas"))
    assert await revoked_in(house) == ["atlas"]
    await house.services.ledger_cache.save()
    remembered = await load_cached_ledger(house_settings.ledger_cache_path)
    assert remembered is not None
    assert remembered.revoked == {atlas.node.id}  # for a start without the ledger
    async with open_house(house_settings, sandbox) as later:
        await later.services.opening.load()
        assert await revoked_in(later) == ["atlas"]
        await later.operations.run(nodes.reinstate, OPERATOR, NodeParams(name="atlas"))
        assert await revoked_in(later) == []
    async with open_house(house_settings, sandbox) as last:
        await last.services.opening.load()
        assert await revoked_in(last) == []


@pytest.mark.parametrize("rolling", [False, True], ids=["at once", "rolling"])
@pytest.mark.parametrize("ended", [nodes.stop, nodes.kill], ids=["stopped", "killed"])
async def test_restarting_all_leaves_stopped_nodes_stopped_and_says_so(
    house: House, rolling: bool, ended: Operation[NamesParams, list[ActionResult], Services]
) -> None:
    for name in ("atlas", "borealis"):
        await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name)))
    await house.act(OPERATOR, ended, "atlas")
    first = house.services.supervisor.pid_of(house.services.directory.find("borealis").id)
    if rolling:
        await house.act(OPERATOR, ended, "borealis")
        results = await house.operations.run(nodes.roll, OPERATOR, RollParams(all=True))
    else:
        results = await house.operations.run(nodes.restart, OPERATOR, NamesParams(all=True))
    told = {result.node: result for result in results}
    assert set(told) == {"atlas", "borealis"}
    assert (told["atlas"].ok, told["atlas"].state, told["atlas"].detail) == (True, "stopped", "left as it is: stopped")
    node = house.services.directory.find("atlas")
    assert node.desired_state is DesiredState.STOPPED
    assert house.services.supervisor.pid_of(node.id) is None
    if not rolling:
        assert house.services.supervisor.pid_of(house.services.directory.find("borealis").id) not in (None, first)
    assert (await house.act(OPERATOR, nodes.restart, "atlas")).state != "stopped"
