"""Attacks on roll-outs: lying nodes, revoked keys, second persons that are none, clocks that jump, what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import ValidationError, json
from msgspec.structs import replace

from handshake.errors import Refused
from handshake.messages import PatchStatus
from master.configuration.settings import Settings
from master.errors import FleetError
from master.ledger.errors import LedgerTimedOut, LedgerUnavailable
from master.ledger.rows import patch_keys, patch_tracking, patches
from master.services.patches.folder_patching import FolderPatching
from master.services.patches.judging import Scene as Facts
from master.services.patches.judging import Watched, judge_scene
from master.services.patches.progress import MAX_CHARACTERS
from master.services.patches.statuses import MOST_STATUSES
from master.services.patches.verdict import Outcome, Verdict
from master.services.trust.source import Source
from tests.hostile.effort import rounds
from tests.services.patches.test_judging import AT, GROUPS, PLAN, SOAK_S, before, now, seen
from tests.services.patches.test_rollouts import (
    OPERATOR,
    SECOND,
    Scene,
    a_message,
    a_scene,
    eventually,
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


async def revoke(scene: Scene) -> None:
    key_id, at = scene.author.key().id, scene.clock.now()
    await scene.ledger.write(lambda c: patch_keys.revoke(c, key_id, at=at, by="cli:root", why="stolen"))


async def test_an_approval_does_not_begin_what_a_revoked_key_signed(scene: Scene) -> None:
    scene.settings = replace(scene.settings, patches=replace(scene.settings.patches, approvals=2))
    patch_id = await scene.deploy()
    await revoke(scene)
    with pytest.raises(FleetError, match="revoked"):
        await scene.patches.approve(patch_id, actor=SECOND)
    await asyncio.sleep(0.1)
    assert patched(scene) == []


async def test_a_roll_out_stops_when_its_key_is_revoked(scene: Scene) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    await revoke(scene)
    await scene.turn(61, patch_id)
    await scene.until(patch_id, "paused", "soaking", "rolling")
    await asyncio.sleep(0.3)
    assert patched(scene) == ["atlas"]


@pytest.mark.parametrize("taken_up", ["resume", "retry"])
async def test_what_was_stopped_does_not_go_on_with_a_revoked_key(scene: Scene, taken_up: str) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    if taken_up == "resume":
        await scene.patches.pause(patch_id, actor=OPERATOR)
    else:
        await scene.patches.abort(patch_id, actor=OPERATOR)
    await revoke(scene)
    with pytest.raises(FleetError, match="revoked"):
        await getattr(scene.patches, taken_up)(patch_id, actor=OPERATOR)


async def test_a_bad_patch_does_not_come_back_by_abort_and_retry(scene: Scene) -> None:
    scene.played.script["vega"] = "stuck"
    patch_id = await scene.deploy(canary=0, soak_s=0, urgent=True)
    await scene.until(patch_id, "done")
    await scene.patches.rollback(patch_id, actor=OPERATOR, why="it steals")
    await scene.patches.abort(patch_id, actor=OPERATOR)
    before = len(patched(scene))
    await scene.patches.retry(patch_id, actor=OPERATOR)
    await scene.until(patch_id, "rolled_back", "failed", "done")
    assert len(patched(scene)) == before


async def test_a_bad_patch_does_not_come_back_when_the_last_node_went_back_late(scene: Scene) -> None:
    patch_id = await scene.deploy(canary=0, soak_s=0, urgent=True)
    await scene.until(patch_id, "done")
    scene.played.script["vega"] = "stuck"
    await scene.patches.rollback(patch_id, actor=OPERATOR, why="it steals")
    await scene.until(patch_id, "failed")
    vega = scene.directory.find("vega")
    late = PatchStatus(patch_id=patch_id, status="rolled_back")
    await scene.statuses.handle(vega, late, a_message(vega), LOCAL)
    before = len(patched(scene))
    await scene.patches.retry(patch_id, actor=OPERATOR)
    await scene.until(patch_id, "rolled_back", "done", "soaking")
    assert len(patched(scene)) == before


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
async def test_a_clock_that_is_set_neither_ends_a_soak_nor_makes_it_endless(scene: Scene, jump_s: float) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    scene.clock.set(by=jump_s)
    await scene.turn(11, patch_id)
    await asyncio.sleep(0.1)
    assert patched(scene) == ["atlas"]
    await scene.turn(50, patch_id)
    await eventually(lambda: len(patched(scene)) == 4)


def test_nothing_is_good_that_seems_to_be_older_than_the_patch() -> None:
    set_back_s = 86_400.0
    errors = {"e1": seen(first_at=AT - set_back_s + 20, last_at=AT - set_back_s + 200)}
    one = Watched(before=before(), now=now(at=AT - set_back_s + SOAK_S, errors=errors))
    verdict = judge_scene(Facts(watched=[one], groups=GROUPS), PLAN, SOAK_S)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "set back" in verdict.reason


async def test_a_node_that_says_more_and_more_holds_nothing_up(scene: Scene) -> None:
    scene.played.holding = asyncio.Event()
    patch_id = await scene.deploy()
    await eventually(lambda: bool(patched(scene)))
    await scene.until(patch_id, "rolling")
    atlas = scene.directory.find("atlas")
    for number in range(20):
        for detail in ("restart", f"soon {number}"):
            status = PatchStatus(patch_id=patch_id, status="applied", detail=detail)
            await scene.statuses.handle(atlas, status, a_message(atlas), LOCAL)
        await scene.turn(5, patch_id)
        await asyncio.sleep(0.01)
    await scene.until(patch_id, "rolling_back", "rolled_back", "failed")


async def test_a_flood_of_statuses_fills_neither_ledger_nor_loop(scene: Scene) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    atlas, refused = scene.directory.find("atlas"), 0
    for number in range(rounds(300)):
        status = PatchStatus(patch_id=patch_id, status="staged", detail=f"{number} " + "x" * 2_000)
        try:
            await scene.statuses.handle(atlas, status, a_message(atlas), LOCAL)
        except Refused:
            refused += 1
    tracks = await scene.ledger.read(lambda c: patch_tracking.of_patch(c, patch_id, limit=100_000))
    print(f"{rounds(300)} statuses of one node: {len(tracks)} rows, {refused} refused")
    assert (len(tracks), refused) == (MOST_STATUSES, rounds(300) - MOST_STATUSES)
    # The others are heard, and so is it a minute later.
    await scene.turn(61, patch_id)
    await eventually(lambda: len(patched(scene)) == 4)
    await scene.statuses.handle(atlas, status, a_message(atlas), LOCAL)


async def test_a_token_in_a_traceback_is_not_shown(scene: Scene) -> None:
    token = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GhIjKl.abcdefghijklmnopqrstuvwxyz0123456789AB"
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    atlas = scene.directory.find("atlas")
    status = PatchStatus(patch_id=patch_id, status="failed", detail=f"Traceback:\n  x\nLoginFailure: {token}")
    await scene.statuses.handle(atlas, status, a_message(atlas), LOCAL)
    await scene.until(patch_id, "rolled_back", "rolling_back")
    shown = await scene.patches.show(patch_id)
    assert token not in str(shown)
    assert token not in str(scene.alerts)
    tracks = await scene.ledger.read(lambda c: patch_tracking.of_patch(c, patch_id))
    assert token not in str(tracks)


async def test_what_is_below_another_patch_is_not_called_gone(scene: Scene) -> None:
    first = await scene.deploy(canary=0, soak_s=0, urgent=True)
    await scene.until(first, "done")
    scene.clock.turn(1.0)
    view = await scene.patches.receive(scene.bundle(), actor=OPERATOR)
    await scene.patches.deploy(view.id, actor=OPERATOR, urgent=True, soak_s=0)
    await scene.until(view.id, "done")
    with pytest.raises(FleetError, match="ranks 2"):
        await scene.patches.rollback(first, actor=OPERATOR)
    await scene.patches.rollback(view.id, actor=OPERATOR)
    await scene.until(view.id, "rolled_back")
    await scene.patches.rollback(first, actor=OPERATOR)
    await scene.until(first, "rolled_back")


async def test_the_plan_of_very_many_chosen_nodes_fits_its_column(scene: Scene) -> None:
    view = await scene.patches.receive(scene.bundle(), actor=OPERATOR)
    ids = tuple(f"{number:026d}" for number in range(8, 208))
    for node_id in ids:
        scene.directory.put(replace(scene.directory.find("vega"), id=node_id, name=f"n{node_id}"))
    with pytest.raises(FleetError, match="200 nodes are too many"):
        await scene.patches.deploy(view.id, actor=OPERATOR, nodes=ids)
    await scene.patches.deploy(view.id, actor=OPERATOR, nodes=("atlas",) * 300)
    found = await scene.ledger.read(lambda c: patches.get(c, view.id))
    assert found is not None
    assert len(found.rollout_plan) < MAX_CHARACTERS


def test_a_release_of_a_lying_node_fits_its_column() -> None:
    # On SQL Server the column has 32 bits; a row that is refused would hold up those of all patches.
    for release in (2**31, 2**53):
        with pytest.raises(ValidationError):
            json.decode(json.encode({"patch_id": "x", "status": "good", "release": release}), type=PatchStatus)


async def test_a_bundle_that_was_damaged_in_its_place_is_mended_when_it_is_handed_in_again(scene: Scene) -> None:
    path = scene.bundle()
    view = await scene.patches.receive(path, actor=OPERATOR)
    (kept,) = scene.settings.patches_dir.iterdir()
    content = kept.read_bytes()
    for damage in (content[:100], b"", content + b"x"):
        kept.write_bytes(damage)
        assert (await scene.patches.receive(path, actor=OPERATOR)).id == view.id
        assert kept.read_bytes() == content


@pytest.mark.slow
async def test_an_outage_of_the_ledger_while_a_wave_is_judged_is_no_defect(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scene.judge.judge
    gone = [LedgerTimedOut("the ledger did not answer within 10 s"), LedgerUnavailable("the ledger is away")]

    async def judge(*given: Any) -> Verdict:
        if gone:
            raise gone.pop()
        return await real(*given)

    monkeypatch.setattr(scene.judge, "judge", judge)
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    await eventually(lambda: len(gone) == 1)
    await scene.turn(61, patch_id)
    await eventually(lambda: not gone)
    await eventually(lambda: len(patched(scene)) == 4)
    assert scene.alerts == []


async def test_an_aborted_patch_stays_on_the_nodes_that_have_it(scene: Scene) -> None:
    # Without a soak no node calls it good by itself, and what is not good goes with the next start.
    scene.played.script["vega"] = "silent"
    patch_id = await scene.deploy(canary=0, soak_s=0, urgent=True)
    await eventually(lambda: len(scene.played.has_it) == 7)
    await eventually(lambda: sum(row.state == "healthy" for row in scene.book.nodes(patch_id)) == 7)
    await scene.patches.abort(patch_id, actor=OPERATOR)
    await eventually(lambda: sum(kind == "good" for kind, _ in scene.played.orders) == 7)
    await scene.book.flush()
    await scene.until(patch_id, "aborted")
    states = await scene.states(patch_id)
    assert {name for name, state in states.items() if state == "good"} == scene.played.has_it


async def test_what_a_node_wrote_into_its_releases_does_not_flood_the_master(
    tmp_path: Path, house_settings: Settings
) -> None:
    many, folder = 12, tmp_path / "liar"
    changes = [{"path": f"{'a' * 190}{number:04d}"} for number in range(1_000)]
    for number in range(1, many + 1):
        place = folder / ".releases" / str(number)
        place.mkdir(parents=True)
        release = {"number": number, "parent": number - 1, "patch_id": "x", "name": "x", "version": 1, "at": 1}
        (place / "release.json").write_bytes(json.encode({**release, "changes": changes}))
    index = {"current": many, "last": many, "releases": {str(n): {"state": "good"} for n in range(1, many + 1)}}
    (folder / ".releases" / "current").write_bytes(json.encode(index))
    folders = FolderPatching(lambda: house_settings)
    with pytest.raises(FleetError, match="too much to be true"):
        await folders.back(folder, "another")


async def test_a_node_with_a_patch_on_trial_does_not_spoil_the_next_one(scene: Scene) -> None:
    first = await scene.deploy(canary=0, soak_s=0, urgent=True)
    await scene.until(first, "done")
    # It has started since, with what it had missed, and nobody has called it good.
    row = scene.book.node(first, scene.directory.find("atlas").id)
    if row is None:  # The book has forgotten what is over.
        await scene.book.load(first)
        row = scene.book.node(first, scene.directory.find("atlas").id)
    assert row is not None
    scene.book.put_node(replace(row, state="healthy"))
    await scene.book.flush()
    view = await scene.patches.receive(scene.bundle(), actor=OPERATOR)
    await scene.patches.deploy(view.id, actor=OPERATOR, soak_s=0)
    done = await scene.until(view.id, "done", "rolled_back")
    assert done.state == "done"
    assert (await scene.states(view.id))["atlas"] == "absent"
    assert patched(scene).count("atlas") == 1
    # The canary is one that can take it.
    assert patched(scene)[8] == "deneb"
