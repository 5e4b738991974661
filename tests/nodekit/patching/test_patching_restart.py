"""Patches that need a restart, and nodes that die while they are patched: wholly old or wholly new, and which."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from master.supervision.states import NodeState
from tests.nodekit.patching.patched_nodes import COG, FILES, PatchedNode, bundle_of

pytestmark = pytest.mark.timeout(60)

GOOD = {"cogs/ranks.py": COG.format(version=2), "helpers/levels.py": "LEVEL = 2\n"}


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not happened():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)


def kill(patched: PatchedNode) -> None:
    pid = patched.living.house.services.supervisor.pid_of(patched.node.id)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_a_restart_resumes_with_the_new_code_and_what_was_said_meanwhile_is_heard_once(
    patched: PatchedNode,
) -> None:
    services, gateway = patched.living.house.services, patched.living.house.sandbox.gateway
    channel = patched.living.guild.create_channel("general")
    user, bob = patched.node.bot_user_id, patched.living.house.sandbox.create_human("bob")
    patched.living.guild.add_member(bob)
    before = gateway.identifies[user], gateway.resumes.get(user, 0)
    digest = patched.publish(bundle_of(patched.folder, GOOD))
    await patched.order(digest, good_after_s=0.1)
    assert (await patched.until("applied")).detail == "restart"
    # It runs as before until the master restarts it.
    assert patched.log == ["cog 1 with level 1"]
    restarting = asyncio.create_task(services.supervisor.restart(patched.node.id))
    sent = []
    while not restarting.done() or "healthy" not in patched.words:
        sent.append((await bob.sends(channel, "hello")).id)
        await asyncio.sleep(0.02)
    await restarting
    await patched.until("good")
    assert patched.words == ["received", "staged", "applied", "applied", "healthy", "good"]
    assert [status.release for status in patched.statuses] == [0, 0, 1, 1, 1, 1]
    await until(lambda: len(patched.heard) >= len(sent))
    assert patched.heard == sent
    assert patched.log == ["cog 1 with level 1", "cog 2 with level 2"]
    assert (gateway.identifies[user], gateway.resumes[user]) == (before[0], before[1] + 1)


async def test_a_node_that_dies_before_its_release_is_good_begins_anew_with_the_old_one(patched: PatchedNode) -> None:
    digest = patched.publish(bundle_of(patched.folder, GOOD, reload=["ranks"]))
    await patched.order(digest)
    await patched.until("healthy")
    kill(patched)
    back = await patched.until("rolled_back")
    assert (back.patch_id, back.release) == ("P1", 0)
    assert back.detail == "the process ended before the release was good"
    assert {path: (patched.folder / path).read_text() for path in FILES} == FILES
    assert patched.log == ["cog 1 with level 1", "cog 2 with level 2", "cog 1 with level 1"]


@pytest.mark.slow
async def test_a_release_that_ends_its_process_is_taken_back_by_the_next_start(patched: PatchedNode) -> None:
    crashing = COG.format(version=2).replace(
        "    await bot.add_cog", "    import os\n    os._exit(7)\n    await bot.add_cog"
    )
    await patched.order(patched.publish(bundle_of(patched.folder, {"cogs/ranks.py": crashing})))
    await patched.until("applied")
    await patched.living.house.services.supervisor.restart(patched.node.id)
    assert (await patched.until("rolled_back")).release == 0
    assert patched.words == ["received", "staged", "applied", "rolled_back"]
    assert patched.log == ["cog 1 with level 1", "cog 2 with level 1", "cog 1 with level 1"]


@pytest.mark.slow
async def test_a_node_that_is_killed_between_staging_and_switching_is_as_it_was(patched: PatchedNode) -> None:
    hanging = {"cogs/ranks.py": "import time\ntime.sleep(60)\n"}
    await patched.order(patched.publish(bundle_of(patched.folder, hanging, reload=["ranks"])))
    await patched.until("staged")
    kill(patched)
    await until(lambda: patched.log == 2 * ["cog 1 with level 1"])
    await patched.living.reach(patched.node, NodeState.READY)
    assert {path: (patched.folder / path).read_text() for path in FILES} == FILES
    # And it takes the next one.
    await patched.order(patched.publish(bundle_of(patched.folder, GOOD, reload=["ranks"])), patch_id="P2")
    assert (await patched.until("healthy")).patch_id == "P2"
    assert "failed" not in patched.words
