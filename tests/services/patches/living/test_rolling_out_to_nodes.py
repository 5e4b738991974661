"""Roll-outs to real nodes: by a reload, by a restart, back, and of what does not load."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from handshake.patch_document import PatchedFile
from master.events import Event, NodeSpawned
from master.services.core.patch_views import PatchDetails
from tests.services.patches.authors import Author, document_of, zipped
from tests.services.patches.living.conftest import COG
from tests.services.repair.actions.conftest import LivingHouse

OLD = COG.format(version=1, setup="pass")
NEW = COG.format(version=2, setup="pass")
BAD = COG.format(version=2, setup="raise TypeError('no ranks')")
ENDED = ("done", "rolled_back", "failed", "aborted")
ACTOR = "cli:ada"


def bundle(living: LivingHouse, author: Author, new: str, *, old: str = OLD, **fields: Any) -> str:
    now, files = int(time.time()), {"cogs/ranks.py": new.encode()}
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in (old, new)]
    file = PatchedFile(path="cogs/ranks.py", sha256=digests[1], length=len(new), base=digests[0])
    archive = zipped(files)
    document = document_of(files, archive, **{"created": now - 60, "expires": now + 600, **fields})
    path = living.house.base / f"{fields.get('version', 1)}.fleetpatch"
    path.write_bytes(author.sign(msgspec.json.encode(replace(document, files=(file,))), archive))
    return str(path)


async def until(
    living: LivingHouse, patch_id: str, *states: str, template: str = "", node: tuple[str, str] = ("", "")
) -> PatchDetails:
    """Return a patch once it is in one of these states; each change is an event."""
    services = living.house.services
    with services.bus.subscribe(Event) as events:
        while True:
            found = await services.patches.show(patch_id)
            is_so = template in ("", found.patch.template) and node in (
                ("", ""),
                *((v.node, v.state) for v in found.nodes),
            )
            if found.patch.state in states and is_so:
                return found
            try:
                async with asyncio.timeout(30):
                    await events.get()
            except TimeoutError:
                pytest.fail(f"nothing happens: {found}")


async def deploy(living: LivingHouse, author: Author, new: str, **fields: Any) -> PatchDetails:
    patches = living.house.services.patches
    received = await patches.receive(bundle(living, author, new, **fields), actor=ACTOR)
    await patches.deploy(received.id, actor=ACTOR)
    return await until(living, received.id, *ENDED)


def texts(living: LivingHouse) -> list[str]:
    nodes = living.house.services.directory
    return [(living.folder(node) / "cogs" / "ranks.py").read_text() for node in nodes]


@pytest.mark.slow
async def test_cogs_are_reloaded_in_nodes_that_stay_and_the_template_is_patched_too(
    living: LivingHouse, author: Author
) -> None:
    for name in ("atlas", "vega"):
        await living.clone(name)
    spawned = list[NodeSpawned]()
    living.house.services.bus.on(NodeSpawned, spawned.append)
    done = await deploy(living, author, NEW)
    assert done.patch.state == "done"
    done = await until(living, done.patch.id, "done", template="patched")
    assert [view.state for view in done.nodes] == ["good", "good"]
    assert texts(living) == [NEW, NEW]
    assert (living.settings.identity.template_path / "cogs" / "ranks.py").read_text() == NEW
    patches = living.house.services.patches
    await patches.rollback(done.patch.id, actor=ACTOR, why="")
    back = await until(living, done.patch.id, "rolled_back", "failed")
    assert back.patch.state == "rolled_back"
    await until(living, done.patch.id, "rolled_back", template="rolled back")
    assert texts(living) == [OLD, OLD]
    assert spawned == []


@pytest.mark.slow
async def test_nodes_restart_for_a_patch_that_names_no_cogs_and_to_go_back(living: LivingHouse, author: Author) -> None:
    await living.clone("atlas")
    spawned = list[NodeSpawned]()
    living.house.services.bus.on(NodeSpawned, spawned.append)
    done = await deploy(living, author, NEW, reload=())
    assert [view.state for view in done.nodes] == ["good"]
    assert len(spawned) == 1
    await living.house.services.patches.rollback(done.patch.id, actor=ACTOR, why="")
    back = await until(living, done.patch.id, "rolled_back", "failed")
    assert back.patch.state == "rolled_back"
    assert texts(living) == [OLD]
    assert len(spawned) == 2


async def test_a_cog_that_does_not_load_stays_on_the_canary_and_goes_back(living: LivingHouse, author: Author) -> None:
    for name in ("atlas", "vega"):
        await living.clone(name)
    ended = await deploy(living, author, BAD)
    assert ended.patch.state == "rolled_back"
    assert "no ranks" in ended.patch.reason
    assert texts(living) == [OLD, OLD]
    states = sorted((view.state, "TypeError: no ranks" in view.detail) for view in ended.nodes)
    assert states == [("failed", True), ("skipped", False)]


@pytest.mark.slow
async def test_a_stopped_node_is_patched_before_it_starts(living: LivingHouse, author: Author) -> None:
    services = living.house.services
    await living.clone("atlas")
    vega = await living.clone("vega")
    await services.fleet.stop(vega)
    done = await deploy(living, author, NEW)
    assert {view.node: view.state for view in done.nodes} == {"atlas": "good", "vega": "absent"}
    assert texts(living) == [NEW, OLD]
    await services.fleet.start(vega)
    found = await until(living, done.patch.id, "done", node=("vega", "good"))
    assert texts(living) == [NEW, NEW]
    assert found.patch.counts == {"good": 2}
