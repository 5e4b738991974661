"""Nodes that did not run while several patches were rolled out, or while a key was revoked."""

from __future__ import annotations

import pytest

from master.ledger.rows import patch_keys
from tests.services.patches.authors import Author
from tests.services.patches.living.conftest import COG
from tests.services.patches.living.test_rolling_out_to_nodes import ACTOR, NEW, OLD, bundle, deploy, texts, until
from tests.services.repair.actions.conftest import LivingHouse

NEWER = COG.format(version=3, setup="pass")


@pytest.mark.slow
async def test_a_stopped_node_gets_every_patch_that_it_missed(living: LivingHouse, author: Author) -> None:
    services = living.house.services
    await living.clone("atlas")
    vega = await living.clone("vega")
    await services.fleet.stop(vega)
    first = await deploy(living, author, NEW)
    assert {view.node: view.state for view in first.nodes} == {"atlas": "good", "vega": "absent"}
    path = bundle(living, author, NEWER, version=2, old=NEW)
    received = await services.patches.receive(path, actor=ACTOR)
    await services.patches.deploy(received.id, actor=ACTOR)
    await until(living, received.id, "done", "failed", "rolled_back")
    await services.fleet.start(vega)
    found = await until(living, received.id, "done", node=("vega", "good"))
    assert texts(living) == [NEWER, NEWER]
    assert found.patch.counts == {"good": 2}
    # Both came to the template, the second while the first was still being brought to it.
    await until(living, received.id, "done", template="patched")
    assert (living.settings.identity.template_path / "cogs" / "ranks.py").read_text() == NEWER


@pytest.mark.slow
async def test_a_stopped_node_does_not_get_what_a_revoked_key_signed(living: LivingHouse, author: Author) -> None:
    services = living.house.services
    await living.clone("atlas")
    vega = await living.clone("vega")
    await services.fleet.stop(vega)
    done = await deploy(living, author, NEW)
    key_id, at = author.key().id, services.clock.now()
    await services.ledger.write(lambda c: patch_keys.revoke(c, key_id, at=at, by="cli:root", why="stolen"))
    await services.fleet.start(vega)
    found = await until(living, done.patch.id, "done", node=("vega", "skipped"))
    assert texts(living) == [NEW, OLD]
    assert "revoked" in next(view.detail for view in found.nodes if view.node == "vega")
