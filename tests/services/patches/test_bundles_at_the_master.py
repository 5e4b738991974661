"""Bundles and keys at a master's services: what a key may, what a revocation ends, and two that come at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from master.ledger.rows import audit, patch_versions
from master.operations import patch_keys, patches
from master.operations.parameters import PatchKeyAddParams, PatchKeyRevokeParams, PatchReceiveParams
from master.services.core.patch_views import PatchView
from master.services.patches.errors import PatchRefused, Refusal
from tests.services.conftest import OPERATOR
from tests.services.patches.authors import Author
from tests.services.patches.conftest import Bench


def receive(bench: Bench, path: str) -> Coroutine[Any, Any, PatchView]:
    return bench.house.operations.run(patches.receive, OPERATOR, PatchReceiveParams(path=path))


async def refusal(bench: Bench, path: str) -> Refusal:
    with pytest.raises(PatchRefused) as found:
        await receive(bench, path)
    return found.value.reason


async def trust(bench: Bench, author: Author) -> None:
    await bench.house.operations.run(
        patch_keys.add, OPERATOR, PatchKeyAddParams(line=author.key().public, name=author.name)
    )


async def test_each_key_has_versions_of_its_own_and_a_revoked_one_has_none(bench: Bench) -> None:
    new = Author("new")
    assert (await receive(bench, bench.bundle(version=99))).version == 99
    assert await refusal(bench, bench.bundle(version=98)) is Refusal.OLD_VERSION
    stolen, bench.author = bench.author, new
    assert await refusal(bench, bench.bundle(version=3)) is Refusal.UNKNOWN_KEY
    await trust(bench, new)
    assert (await receive(bench, bench.bundle(version=3))).version == 3
    revoked = PatchKeyRevokeParams(key=stolen.key().id, why="stolen")
    await bench.house.operations.run(patch_keys.revoke, OPERATOR, revoked)
    bench.author = stolen
    assert await refusal(bench, bench.bundle(version=100)) is Refusal.REVOKED_KEY
    rows = await bench.house.services.ledger.read(lambda c: audit.search(c, action="patch_key_revoke"))
    assert rows[0].detail == f"ada: {stolen.key().id}: stolen"


async def test_of_two_with_one_version_that_come_at_once_one_is_accepted(bench: Bench) -> None:
    first, second = bench.bundle(b"x = 2\n", version=7), bench.bundle(b"x = 3\n", version=7)
    found = await asyncio.gather(receive(bench, first), receive(bench, second), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["PatchRefused", "PatchView"]
    services = bench.house.services
    assert await services.ledger.read(patch_versions.list_all) == {(bench.author.key().id, "main"): 7}


async def test_what_is_refused_leaves_nothing_behind(bench: Bench) -> None:
    forged = Path(bench.bundle())
    forged.write_bytes(forged.read_bytes().replace(b"cogs/one.py", b"cogs/two.py"))
    assert await refusal(bench, str(forged)) is Refusal.BAD_SIGNATURE
    folder = bench.house.services.settings.patches_dir
    assert not folder.exists() or not list(folder.iterdir())
    assert await bench.house.services.ledger.read(patch_versions.list_all) == {}
