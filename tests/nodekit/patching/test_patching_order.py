"""Patches above each other: the one below does not go back alone, and is not called gone while its code is there."""

from __future__ import annotations

import pytest

from tests.nodekit.patching.patched_nodes import COG, PatchedNode, bundle_of

pytestmark = pytest.mark.timeout(60)


async def test_a_patch_below_another_is_not_called_gone(patched: PatchedNode) -> None:
    for number in (2, 3):
        text = {"cogs/ranks.py": COG.format(version=number)}
        digest = patched.publish(bundle_of(patched.folder, text, reload=["ranks"], name=f"ranks{number}"))
        await patched.order(digest, patch_id=f"P{number}")
        await patched.until("healthy", count=number - 1)
        await patched.order(digest, patch_id=f"P{number}", kind="patch_good")
        await patched.until("good", count=number - 1)
    await patched.order(digest, patch_id="P2", kind="patch_back")
    failed = await patched.until("rollback_failed")
    assert failed.detail == "ranks3 2 was put on top of it: that one goes back first"
    for number in (3, 2):
        await patched.order(digest, patch_id=f"P{number}", kind="patch_back")
        await patched.until("rolled_back", count=4 - number)
    assert (patched.folder / "cogs/ranks.py").read_text() == COG.format(version=1)
