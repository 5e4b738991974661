"""Attacks on roll-outs: lying nodes, revoked keys, second persons that are none, clocks that jump, what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from master.configuration.settings import Settings
from master.services.trust.source import Source
from tests.services.patches.test_rollouts import (
    OPERATOR,
    SECOND,
    Scene,
    a_scene,
    patched,
)

LOCAL = Source(transport="local", pid=1)


@pytest.fixture
async def scene(tmp_path: Path, empty_ledger: Path, house_settings: Settings) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path, empty_ledger, house_settings) as opened:
        yield opened


async def test_abort_and_retry_do_not_stand_for_a_second_person(scene: Scene) -> None:
    scene.settings = replace(scene.settings, patches=replace(scene.settings.patches, approvals=2))
    patch_id = await scene.deploy()
    await scene.patches.abort(patch_id, actor=OPERATOR)
    retried = await scene.patches.retry(patch_id, actor=OPERATOR)
    assert retried.state == "received"
    await asyncio.sleep(0.1)
    assert patched(scene) == []
    await scene.patches.approve(patch_id, actor=SECOND)
    await scene.until(patch_id, "soaking")
