"""A master that ends: nothing that acts begins any more, what ran is cut off and audited, and nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from master.ledger.errors import LedgerUnavailable
from master.ledger.rows import audit
from master.ledger.rows.records import Outcome
from master.operations import nodes
from master.operations.parameters import NamesParams, StatusParams
from master.services.core.errors import MasterEnding
from master.services.core.lifecycle import Lifecycle
from master.services.onboarding.saga import CloneRequest
from tests.services.conftest import OPERATOR, STRANGER, House

DEAF_BOT = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\nwhile True: signal.pause()\n"
WITHIN_S = 5.0


@pytest.fixture
async def stopping(house: House) -> asyncio.Task[object]:
    """A stop of a node that ignores SIGTERM, under way."""
    (house.template / "bot.py").write_text(DEAF_BOT)
    await house.clone(OPERATOR, CloneRequest(name="deaf", token=house.token("deaf")))
    out, _ = house.services.overview._logs.paths("deaf")
    while not out.exists() or "deaf" not in out.read_text():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)
    task: asyncio.Task[object] = asyncio.create_task(house.act(OPERATOR, nodes.stop, "deaf"))
    while house.services.fleet.state_of(house.services.directory.find("deaf").id) != "stopping":  # noqa: ASYNC110
        await asyncio.sleep(0)
    return task


async def test_what_runs_is_cut_off_and_written_down(house: House, stopping: asyncio.Task[object]) -> None:
    await asyncio.wait_for(house.operations.end(), WITHIN_S)
    with pytest.raises(MasterEnding, match="cut off"):
        await stopping
    latest = (await house.services.ledger.read(lambda c: audit.search(c)))[0]
    assert (latest.action, latest.detail, latest.outcome) == ("stop", "CancelledError", Outcome.FAILED)


async def test_nothing_that_acts_begins_and_looking_still_works(house: House) -> None:
    await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas")))
    await house.operations.end()
    with pytest.raises(MasterEnding, match="not begun"):
        await house.operations.run(nodes.start, OPERATOR, NamesParams(names=("atlas",)))
    found = await house.operations.run(nodes.status, OPERATOR, StatusParams())
    assert [node.name for node in found.nodes] == ["atlas"]


async def test_a_caller_that_is_cancelled_by_another_gets_its_cancellation(
    house: House, stopping: asyncio.Task[object]
) -> None:
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping


def test_the_first_request_to_end_counts() -> None:
    lifecycle = Lifecycle()
    lifecycle.end(stop_nodes=True)
    lifecycle.begin_anew()
    assert (lifecycle.stop_nodes, lifecycle.again) == (True, False)


async def test_a_write_after_the_end_fails_at_once(house: House) -> None:
    await house.services.ledger.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        await asyncio.wait_for(house.operations.authorise(nodes.stop, STRANGER), WITHIN_S)
