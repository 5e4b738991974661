"""A real master is killed in each state of a roll-out, with real nodes connected: the next one ends it rightly.

``FLEET_FUZZ=10`` kills ten times as often.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from master.operations import patches
from master.operations.parameters import PatchParams, PatchStopParams
from master.services.core.patch_views import PatchDetails, PatchView
from tests.hostile.effort import rounds
from tests.journeys.patched_fleet import ENDED, GOOD, KNOWN, NAMES, Fleet, open_fleet, states

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]

PATCHES = 'PATCHES = {"MOST_SOAK_S": 0.5, "ANSWER_WITHIN_S": 20, "WAVES": [100]}\n'


class Kill(NamedTuple):
    """When the master is killed, and how the roll-out ends all the same."""

    state: str
    """Of the patch, or of it on a node."""
    on_node: bool = False
    restarts: bool = False
    soak_s: float = 0.0
    ends: str = "done"


KILLS = (
    Kill("approved"),
    Kill("ordered", on_node=True),
    Kill("received", on_node=True),
    Kill("staged", on_node=True),
    Kill("applied", on_node=True),
    Kill("applied", on_node=True, restarts=True),
    Kill("soaking", soak_s=0.3),
    Kill("asking", soak_s=0.3),
    Kill("rolling_back", ends="rolled_back"),
    Kill("rolling_back", on_node=True, restarts=True, ends="rolled_back"),
)


@pytest.fixture
async def fleet(empty_ledger: Path) -> AsyncIterator[Fleet]:
    async with open_fleet(empty_ledger, PATCHES) as opened:
        yield opened


async def test_the_next_master_comes_to_the_right_end_wherever_one_was_killed(fleet: Fleet) -> None:
    identified, said = fleet.identifies(), ""
    for number in range(rounds(len(KILLS))):
        kill = KILLS[number % len(KILLS)]
        patch = await until_kill(fleet, kill, GOOD.format(text=f"news {number}"))
        await fleet.kill_master()
        await fleet.start_master()
        shown = await ended(fleet, patch)
        assert shown.patch.state == kill.ends, (kill, shown)
        assert set(states(shown)) == set(NAMES), (kill, shown)
        assert set(states(shown).values()) <= set(KNOWN), (kill, shown)
        if kill.ends == "done":
            said = f"news {number}"
        assert fleet.texts() == [GOOD.format(text=said)] * len(NAMES), (kill, shown)
        await fleet.until_ready()
        assert await fleet.answers() == [said] * len(NAMES), kill
    assert fleet.identifies() == identified
    print(f"{rounds(len(KILLS))} masters killed")


async def until_kill(fleet: Fleet, kill: Kill, text: str) -> PatchView:
    """Roll a patch out, and back where that is wanted, until the state in which the master is killed."""
    reload = () if kill.restarts else ("news",)
    patch = await fleet.deploy(text, canary=1 if kill.soak_s else 0, soak_s=kill.soak_s, reload=reload)
    if kill.ends == "rolled_back":
        await fleet.until_told(patch, "done")
        await fleet.run(patches.rollback, PatchStopParams(patch=patch.id))
    if kill.on_node:
        await fleet.until_told_on_any(patch, kill.state)
    else:
        await fleet.until_told(patch, kill.state)
    return patch


async def ended(fleet: Fleet, patch: PatchView) -> PatchDetails:
    """Return a patch once its roll-out ended; where it asks, it is to go on."""
    while (shown := await fleet.until_in(patch, "asking", *ENDED)).patch.state == "asking":
        await fleet.run(patches.resume, PatchParams(patch.id))
    return shown
