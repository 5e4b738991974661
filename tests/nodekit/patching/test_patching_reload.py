"""Patches that are taken without leaving the gateway: loaded anew in the running process, or everything as it was."""

from __future__ import annotations

import pytest

from master.services.trust.orders import OrderFailed
from master.supervision.states import NodeState
from tests.nodekit.patching.patched_nodes import COG, FILES, PatchedNode, bundle_of

pytestmark = pytest.mark.timeout(60)

GOOD = {"cogs/ranks.py": COG.format(version=2), "helpers/levels.py": "LEVEL = 2\n"}
FORWARD = ["received", "staged", "applied", "healthy"]


async def test_a_cog_and_the_module_that_it_uses_are_new_and_the_process_is_the_same(patched: PatchedNode) -> None:
    supervisor = patched.living.house.services.supervisor
    pid = supervisor.pid_of(patched.node.id)
    digest = patched.publish(bundle_of(patched.folder, GOOD, reload=["ranks"]))
    assert await patched.order(digest) == "begun"
    healthy = await patched.until("healthy")
    assert patched.words == FORWARD
    assert healthy.release == 1
    assert patched.log == ["cog 1 with level 1", "cog 2 with level 2"]
    assert supervisor.pid_of(patched.node.id) == pid
    logged = patched.living.house.services.tools.launcher.logs.paths(patched.node.name)[1].read_text()
    assert "in a fork" in logged
    print(*(line for line in logged.splitlines() if "import check" in line), sep="\n")
    print("staged, applied, healthy after ms:", [round(1000 * (one - patched.times[0])) for one in patched.times[1:]])

    # Good when it is told to, once; the order may come again.
    await patched.order(digest, kind="patch_good")
    assert (await patched.until("good")).release == 1
    await patched.order(digest)
    await patched.until("good", count=2)
    assert patched.words == [*FORWARD, "good", "good"]

    # And back, without leaving the gateway either.
    await patched.order(digest, kind="patch_back")
    back = await patched.until("rolled_back")
    assert (back.release, back.detail) == (0, "loaded anew: cogs.ranks")
    assert patched.log[-1] == "cog 1 with level 1"
    assert {path: (patched.folder / path).read_text() for path in FILES} == FILES
    assert supervisor.pid_of(patched.node.id) == pid


@pytest.mark.slow
async def test_a_patch_is_good_by_itself_once_the_node_has_worked_with_it(patched: PatchedNode) -> None:
    digest = patched.publish(bundle_of(patched.folder, {"helpers/levels.py": "LEVEL = 7\n"}, reload=["ranks"]))
    await patched.order(digest, good_after_s=0.1)
    await patched.until("good")
    assert patched.words == [*FORWARD, "good"]
    # The cog did not change, and is loaded anew with the module that did.
    assert patched.log == ["cog 1 with level 1", "cog 1 with level 7"]


NOT_IMPORTED = {
    "import nothing_of_that_name\n": "ModuleNotFoundError: No module named 'nothing_of_that_name'",
    "def broken(:\n": "SyntaxError",
    "raise SystemExit(3)\n": "SystemExit: 3",
    "import os\nos._exit(0)\n": "the import check ended without a result",
    "from helpers.levels import GONE\n": "ImportError: cannot import name 'GONE'",
}


async def test_a_module_that_cannot_be_imported_changes_nothing(patched: PatchedNode) -> None:
    pid = patched.living.house.services.supervisor.pid_of(patched.node.id)
    for number, (text, why) in enumerate(NOT_IMPORTED.items(), 1):
        digest = patched.publish(bundle_of(patched.folder, {"cogs/ranks.py": text}, reload=["ranks"]))
        await patched.order(digest, patch_id=f"P{number}")
        failed = await patched.until("failed", count=number)
        assert why in failed.detail
        assert (patched.words[-3:], failed.release) == (["received", "staged", "failed"], 0)
    assert {path: (patched.folder / path).read_text() for path in FILES} == FILES
    assert patched.log == ["cog 1 with level 1"]
    assert patched.living.house.services.supervisor.pid_of(patched.node.id) == pid


async def test_a_cog_whose_setup_raises_goes_back_with_all_that_came_with_it(patched: PatchedNode) -> None:
    broken = COG.format(version=2).replace(
        "    await bot.add_cog", "    raise RuntimeError('no ranks')\n    await bot.add_cog"
    )
    files = {"cogs/ranks.py": broken, "helpers/levels.py": "LEVEL = 2\n", "cogs/new.py": "async def setup(bot): pass\n"}
    digest = patched.publish(bundle_of(patched.folder, files, reload=["ranks", "new"]))
    await patched.order(digest)
    failed = await patched.until("failed")
    assert "RuntimeError: no ranks" in failed.detail
    assert "cog ranks could not be loaded" in failed.detail
    assert (failed.release, patched.words) == (0, ["received", "staged", "failed"])
    assert {path: (patched.folder / path).read_text() for path in FILES} == FILES
    assert not (patched.folder / "cogs/new.py").exists()
    # The last one is the old cog with the old module.
    assert patched.log[-1] == "cog 1 with level 1"


async def test_what_is_not_as_the_patch_expects_is_left_alone(patched: PatchedNode) -> None:
    bundle = bundle_of(patched.folder, GOOD, reload=["ranks"])
    (patched.folder / "cogs/ranks.py").write_text(FILES["cogs/ranks.py"] + "# edited\n")
    await patched.order(patched.publish(bundle))
    failed = await patched.until("failed")
    assert "cogs/ranks.py" in failed.detail
    assert patched.words == ["received", "failed"]
    await patched.order("0" * 64, patch_id="P2")
    assert "the bundle cannot be read: No such file" in (await patched.until("failed", count=2)).detail
    await patched.order(patched.publish(bundle_of(patched.folder, GOOD, reload=["fun"])), patch_id="P3")
    assert "there is no cog cogs.fun to load anew" in (await patched.until("failed", count=3)).detail


@pytest.mark.slow
async def test_a_package_that_came_since_the_node_began_can_be_imported_by_its_cogs(patched: PatchedNode) -> None:
    text = "import new_words\n" + COG.format(version="new_words.VERSION")
    bundle = bundle_of(patched.folder, {"cogs/ranks.py": text}, reload=["ranks"], requirements=["new-words==1.2.0"])
    await patched.order(patched.publish(bundle))
    assert (await patched.until("failed")).detail == "new-words==1.2.0 is not installed for this node"
    package = patched.living.settings.packages_dir / patched.node.id / "new-words==1.2.0"
    package.mkdir(parents=True)
    (package / "new_words.py").write_text("VERSION = 12\n")
    await patched.order(patched.publish(bundle))
    await patched.until("healthy")
    assert patched.log[-1] == "cog 12 with level 1"
    # The next process has it too.
    await patched.order(patched.publish(bundle), kind="patch_good")
    await patched.until("good")
    await patched.living.house.services.supervisor.restart(patched.node.id)
    await patched.living.reach(patched.node, NodeState.READY)
    assert patched.log == ["cog 1 with level 1", "cog 12 with level 1", "cog 12 with level 1"]


async def test_a_cog_that_is_taken_away_is_gone_and_comes_back(patched: PatchedNode) -> None:
    supervisor = patched.living.house.services.supervisor
    bundle = bundle_of(
        patched.folder, {"helpers/levels.py": "LEVEL = 2\n"}, removed=["cogs/ranks.py"], reload=["ranks"]
    )
    digest = patched.publish(bundle)
    await patched.order(digest)
    await patched.until("healthy")
    assert not (patched.folder / "cogs/ranks.py").exists()
    with pytest.raises(OrderFailed, match="there is no cog 'ranks'"):
        await patched.living.house.services.tools.orders.send(patched.node, "reload_cog", "ranks")
    await patched.order(digest, kind="patch_back")
    await patched.until("rolled_back")
    assert patched.log == ["cog 1 with level 1", "cog 1 with level 1"]
    assert supervisor.view(patched.node.id).cogs_failed == ()
