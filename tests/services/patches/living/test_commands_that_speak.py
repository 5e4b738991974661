"""A bot that speaks the protocol and is run by a COMMAND: nobody but the master settles its folder."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from master.configuration.settings import NodeSettings, Settings
from tests.services.patches.authors import Author
from tests.services.patches.living.conftest import living_settings as rolling_settings  # noqa: F401 - a fixture
from tests.services.patches.living.test_rolling_out_to_nodes import ACTOR, ENDED, NEW, OLD, bundle, deploy, texts, until
from tests.services.repair.actions.conftest import LivingHouse


@pytest.fixture
def living_settings(rolling_settings: Settings) -> Settings:  # noqa: F811
    root = Path(__file__).parents[4]
    run = NodeSettings(command=f"{sys.executable} -u bot.py", env={"PYTHONPATH": str(root)}, readable=(root,))
    return replace(rolling_settings, nodes={"atlas": run})


@pytest.mark.slow
async def test_a_patch_that_restarts_it_takes_effect_and_is_good(living: LivingHouse, author: Author) -> None:
    await living.clone("atlas")
    done = await deploy(living, author, NEW, reload=())
    assert (done.patch.state, [view.state for view in done.nodes]) == ("done", ["good"])
    assert texts(living) == [NEW]


@pytest.mark.slow
async def test_one_that_is_killed_on_trial_starts_with_what_it_ran_before(living: LivingHouse, author: Author) -> None:
    node = await living.clone("atlas")
    services = living.house.services
    received = await services.patches.receive(bundle(living, author, NEW, reload=()), actor=ACTOR)
    await services.patches.deploy(received.id, actor=ACTOR, soak_s=600.0)
    await until(living, received.id, "soaking")
    os.kill(services.supervisor.view(node.id).pid or 0, signal.SIGKILL)
    ended = await until(living, received.id, *ENDED)
    assert ended.patch.state == "rolled_back"
    assert "ended before the release was good" in ended.patch.reason
    assert texts(living) == [OLD]
