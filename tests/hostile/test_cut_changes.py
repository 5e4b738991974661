"""Changes of nodes that are cut off at any moment: the node is there, whole, or it is gone, whole.

The caller hangs up in the middle. What the next master makes of a dead one's files is tested step by step in
tests/services/onboarding.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from handshake.manifest import read_manifest
from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings, Settings
from master.ledger.rows import licences, nodes, tokens
from master.ledger.rows.records import Lifecycle, Node
from master.operations import changing
from master.operations.parameters import EditParams, RemoveParams, RenameParams
from master.services.onboarding.saga import CloneRequest
from sandbox import Sandbox
from tests.hostile.effort import rounds
from tests.services.conftest import OPERATOR, House, open_house

pytestmark = pytest.mark.timeout(3600 if os.environ.get("FLEET_FUZZ") else 120)


async def change(house: House, kind: str) -> None:
    if kind == "rename":
        await house.operations.run(changing.rename, OPERATOR, RenameParams(name="atlas", new_name="sol"))
    elif kind == "edit":
        await house.operations.run(changing.edit, OPERATOR, EditParams(name="atlas", folder="other"))
    else:
        params = RemoveParams(names=("atlas",), fate=kind)  # type: ignore[arg-type]
        await house.operations.run(changing.remove, OPERATOR, params)


async def assert_whole(house: House, settings: Settings, node_id: str, what: object) -> str:
    """Check that a node is there with all that it has, or gone with all of it; returns what it is."""
    ledger = house.services.ledger
    row = await ledger.read(lambda connection: nodes.get(connection, node_id))
    assert row is not None
    token = await ledger.read(lambda connection: tokens.load(connection, node_id))
    revoked = await ledger.read(lambda connection: licences.is_revoked(connection, node_id))
    known = house.services.directory.get(node_id)
    if row.lifecycle is Lifecycle.REMOVED:
        assert (token, revoked, known) == (None, True, None), what
    else:
        assert (token is not None, revoked) == (True, False), what
        assert known is not None, what
        assert (known.name, known.folder) == (row.name, row.folder), what
        assert_files(house, settings, row, what)
    assert list(settings.changes_dir.glob("*")) == [], what
    assert [path for path in house.base.glob(".removing-*")] == [], what
    return f"{row.lifecycle.value} {row.name} {row.folder}"


def assert_files(house: House, settings: Settings, row: Node, what: object) -> None:
    folder = house.base / row.folder
    manifest = read_manifest(folder)
    assert (manifest.node_id, manifest.name) == (row.id, row.name), what
    assert (folder / "bot.py").exists(), what
    others = [path.parent.name for path in house.base.glob("*/node.json")]
    assert others == [row.folder], what
    assert (settings.logs_dir / f"{row.name}.err.log").read_text() == "a line\n", what


async def begin(house: House, settings: Settings) -> Node:
    await house.clone(OPERATOR, CloneRequest(name="atlas", token=Secret(house.bot("atlas").token), start=False))
    shutil.copytree(house.base / "atlas", house.base / "other", ignore=shutil.ignore_patterns("node.json"))
    settings.logs_dir.mkdir(exist_ok=True)
    (settings.logs_dir / "atlas.err.log").write_text("a line\n")
    return house.services.directory.find("atlas")


def beside(settings: Settings, folder: Path) -> Settings:
    """Return the settings of the same fleet, copied to another place as a dead master left it."""
    shutil.copytree(settings.home, folder, symlinks=True)
    state = folder / "state"
    return replace(
        settings,
        home=folder,
        state_dir=state,
        database=DatabaseSettings(url=Secret(f"sqlite:///{state / 'ledger.db'}")),
        identity=replace(settings.identity, bots_base_path=folder / "bots", template_path=folder / "template"),
    )


@pytest.mark.parametrize("kind", ["keep", "archive", "purge", "rename", "edit"])
async def test_a_change_whose_caller_hangs_up_is_done_or_not(
    house_settings: Settings, sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    chance = random.Random(kind)  # noqa: S311 - the moments of the cuts
    seen: dict[str, int] = {}
    for number in range(rounds(2)):
        settings = beside(house_settings, tmp_path.parent / f"{tmp_path.name}-{number}")
        async with open_house(settings, sandbox) as house:
            node = await begin(house, settings)
            changing_it = asyncio.create_task(change(house, kind))
            delay = chance.uniform(0, 0.03)
            await asyncio.wait({changing_it}, timeout=delay)
            changing_it.cancel()
            await asyncio.gather(changing_it, return_exceptions=True)
            await settle(house)
            found = await assert_whole(house, settings, node.id, (kind, delay))
            seen[found] = seen.get(found, 0) + 1
        shutil.rmtree(settings.home)
    print(f"{kind}: {sum(seen.values())} cut off: {seen}")


async def settle(house: House) -> None:
    """Wait for what goes on although its caller is gone."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    going_on = [task for task in others if "_finish" in getattr(task.get_coro(), "__qualname__", "")]
    if going_on:
        await asyncio.wait(going_on, timeout=20)
