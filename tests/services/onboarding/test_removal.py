"""Removing nodes: whole, or not at all; name and bot are free again, and history stays."""

from __future__ import annotations

import asyncio
import tarfile
from pathlib import Path

import psutil
import pytest

from handshake.manifest import MANIFEST_NAME
from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.ledger.rows import audit, licences, nodes, tokens
from master.ledger.rows.records import Lifecycle, Node, Outcome
from master.operations import changing
from master.operations import nodes as operations_on_nodes
from master.operations.parameters import RemoveParams
from master.services.core.errors import NoSuchNode
from master.services.core.ledger_cache import load_cached_ledger
from master.services.core.views import RemovalView
from master.services.onboarding.file_work import FileWork
from master.services.onboarding.saga import CloneRequest, RegisterRequest
from sandbox import Sandbox
from tests.services.conftest import OPERATOR, QUIET_BOT, House, open_house


async def clone(house: House, name: str = "atlas", *, start: bool = True) -> Node:
    await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name), start=start))
    return house.services.directory.find(name)


async def remove(house: House, *names: str, **how: object) -> list[RemovalView]:
    params = RemoveParams(names=names or ("atlas",), **how)  # type: ignore[arg-type]
    return await house.operations.run(changing.remove, OPERATOR, params)


def write_traces(settings: Settings, node: Node) -> list[Path]:
    """Leave what a node leaves beside its folder."""
    traces = [
        settings.logs_dir / f"{node.name}.out.log.1",
        settings.homes_dir / node.id / "cache",
        settings.identifies_dir / str(node.bot_user_id),
        settings.sessions_dir / node.id,
        settings.temporary_dir / node.id / "x",
    ]
    for path in traces:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of the node\n")
    return traces


async def test_a_removed_node_is_stopped_and_free_again_and_its_history_stays(
    house: House, house_settings: Settings
) -> None:
    node = await clone(house)
    token = house.sandbox.create_bot("other").token
    pid = house.services.supervisor.pid_of(node.id)
    assert pid is not None
    (removed,) = await remove(house)
    assert (removed.ok, removed.fate, removed.folder) == (True, "kept", str(house.base / "atlas"))
    assert not psutil.pid_exists(pid)
    assert (house.base / "atlas" / "bot.py").exists()
    assert not (house.base / "atlas" / MANIFEST_NAME).exists()
    ledger = house.services.ledger
    row = await ledger.read(lambda connection: nodes.get(connection, node.id))
    assert row is not None
    assert row.lifecycle is Lifecycle.REMOVED
    assert await ledger.read(lambda connection: tokens.load(connection, node.id)) is None
    assert await ledger.read(lambda connection: licences.is_revoked(connection, node.id))
    rows = await ledger.read(lambda connection: audit.search(connection, node_ids=[node.id]))
    assert [(row.action, row.outcome, row.detail) for row in rows][:1] == [
        ("remove", Outcome.DONE, "atlas: folder kept")
    ]
    remembered = await load_cached_ledger(house_settings.ledger_cache_path)
    assert remembered is not None
    assert (remembered.nodes, remembered.tokens, remembered.licences) == ((), {}, {})
    assert (await house.services.overview.status()).nodes == ()
    assert not list(house_settings.changes_dir.iterdir())
    with pytest.raises(NoSuchNode):
        await remove(house)
    # The same folder comes back under its name, with another bot.
    (house.base / "atlas" / "bot.py").write_text(QUIET_BOT)
    again = await house.register(
        OPERATOR, RegisterRequest(name="atlas", token=Secret(token), folder="atlas", start=False)
    )
    assert again.node_id != node.id


async def test_an_archive_has_all_of_it_and_the_folder_goes(house: House, house_settings: Settings) -> None:
    node = await clone(house)
    traces = write_traces(house_settings, node)
    (removed,) = await remove(house, fate="archive")
    assert removed.archive.startswith(str(house_settings.removed_dir / "atlas-"))
    assert Path(removed.archive).stat().st_mode & 0o777 == 0o600
    with tarfile.open(removed.archive) as archive:
        held = set(archive.getnames())
    assert {"atlas/bot.py", "atlas/cogs/one.py", "atlas/node.json", "logs/atlas.out.log.1", "home/cache"} <= held
    assert house.folders() == []
    assert [path.name for path in traces if path.exists()] == [str(node.bot_user_id)]  # IDENTIFYs of today still count
    assert (await clone(house, "borealis")).name == "borealis"


async def test_a_purge_leaves_nothing_but_the_count_of_identifies(house: House, house_settings: Settings) -> None:
    node = await clone(house)
    traces = write_traces(house_settings, node)
    (removed,) = await remove(house, fate="purge")
    assert removed.ok
    assert house.folders() == []
    assert [path.name for path in traces if path.exists()] == [str(node.bot_user_id)]
    left = [path for path in house_settings.state_dir.rglob("*") if node.id in path.name or "atlas" in path.name]
    assert left == []


async def test_the_plan_says_what_goes_and_does_nothing(house: House) -> None:
    await clone(house)
    (plan,) = await house.operations.run(changing.plan_removal, OPERATOR, RemoveParams(names=("ATLAS",), fate="purge"))
    assert (plan.node, plan.fate) == ("atlas", "purged")
    assert str(house.base / "atlas") in plan.gone
    assert house.services.supervisor.pid_of(house.services.directory.find("atlas").id) is not None


@pytest.mark.parametrize("how", [{"fate": "archive"}, {"fate": "purge"}])
async def test_a_folder_outside_or_shared_is_never_removed_by_the_way(
    house: House, tmp_path: Path, how: dict[str, object]
) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "bot.py").write_text(QUIET_BOT)
    node = await clone(house, start=False)
    (house.base / "atlas").rename(tmp_path / "was")
    (house.base / "atlas").symlink_to(outside)
    (refused,) = await remove(house, **how)
    assert (refused.ok, refused.code) == (False, "folder_refused")
    assert "not below BOTS_BASE_PATH" in refused.detail
    assert house.services.directory.get(node.id) is not None
    (removed,) = await remove(house, fate="purge", foreign_folder=True)
    assert removed.ok
    assert not (house.base / "atlas").is_symlink()
    assert (outside / "bot.py").exists()  # it was a link that stood in the fleet's folder


async def test_a_folder_that_holds_the_fleet_is_never_removed(house: House, house_settings: Settings) -> None:
    await clone(house, start=False)
    (house.base / "atlas").rename(house.base / "was")
    (house.base / "atlas").symlink_to(house_settings.home)
    (refused,) = await remove(house, fate="purge", foreign_folder=True)
    assert "holds more than a bot" in refused.detail


async def test_one_that_cannot_be_archived_stays_a_node(house: House, house_settings: Settings) -> None:
    node = await clone(house)
    house_settings.removed_dir.write_text("in the way\n")
    (refused,) = await remove(house, fate="archive")
    assert (refused.ok, refused.code) == (False, "files_failed")
    assert "stopped" in refused.hint
    assert house.services.directory.get(node.id) is not None
    assert (house.base / "atlas" / "bot.py").exists()
    rows = await house.services.ledger.read(lambda connection: audit.search(connection, action="remove"))
    assert [row.outcome for row in rows] == [Outcome.FAILED]


async def test_several_go_at_once_and_one_twice_is_told_so(house: House) -> None:
    for name in ("atlas", "borealis"):
        await clone(house, name)
    one, other = await asyncio.gather(remove(house, "atlas", "borealis"), remove(house, "atlas"))
    outcomes = sorted((view.node, view.ok, view.code) for view in (*one, *other))
    assert outcomes == [("atlas", False, "no_such_node"), ("atlas", True, ""), ("borealis", True, "")]
    assert len(house.services.directory) == 0


@pytest.mark.parametrize("committed", [False, True])
async def test_what_a_crash_left_is_finished_or_dropped_by_the_next_master(
    house: House, house_settings: Settings, sandbox: Sandbox, committed: bool
) -> None:
    node = await clone(house, start=False)
    work = FileWork(node_id=node.id, expects=("lifecycle", "removed"), remove=(str(house.base / "atlas"),))
    await house.services.onboarding._works.note(work)
    (house_settings.removed_dir).mkdir()
    (house_settings.removed_dir / ".atlas.tar.gz.partial").write_text("half\n")
    if committed:
        at = house.services.clock.now()
        await house.services.ledger.write(lambda connection: nodes.mark_removed(connection, node.id, host="", at=at))
        await asyncio.to_thread(work.hide)  # as far as it had come
    async with open_house(house_settings, sandbox) as later:
        await later.services.onboarding.recover()
        await later.services.opening.load()
        assert [known.name for known in later.services.directory] == ([] if committed else ["atlas"])
    assert house.folders() == ([] if committed else ["atlas"])
    assert list(house_settings.changes_dir.iterdir()) == []
    assert list(house_settings.removed_dir.iterdir()) == []


async def test_a_master_starts_that_died_before_it_forgot_its_last_node(
    house: House, house_settings: Settings, sandbox: Sandbox
) -> None:
    """A ledger without the remembered nodes is taken for another database; one that has removed them is not."""
    await clone(house, start=False)
    await house.services.ledger_cache.save()
    remembered = house_settings.ledger_cache_path.read_bytes()
    await remove(house)
    house_settings.ledger_cache_path.write_bytes(remembered)
    async with open_house(house_settings, sandbox) as later:
        await later.services.opening.load()
        assert len(later.services.directory) == 0


async def test_a_node_that_is_started_while_it_is_removed_leaves_no_process(house: House) -> None:
    node = await clone(house)
    removing = asyncio.create_task(remove(house))
    await asyncio.sleep(0)
    await asyncio.gather(
        *(house.act(OPERATOR, operations_on_nodes.start, "atlas") for _ in range(3)), return_exceptions=True
    )
    (removed,) = await removing
    assert removed.ok
    left = [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(house.base / "atlas")]
    assert left == []
    assert house.services.fleet.state_of(node.id) == "removed"


@pytest.mark.parametrize("place", ["common.env", "bots/vega/.env", "env/shared.env", "env/own.env"])
async def test_a_purge_takes_no_file_of_variables_but_the_nodes_own(
    house: House, house_settings: Settings, tmp_path: Path, place: str
) -> None:
    path = house_settings.home / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("KEY=1\n")
    path.chmod(0o600)
    own, other = house.base / "web", tmp_path / "elsewhere"
    for folder, name, env_file in ((own, "web", str(path)), (other, "other", place)):
        folder.mkdir(parents=True, exist_ok=True)
        if name == "other" and place != "env/shared.env":
            continue
        options = {"COMMAND": "sleep 600", "ENV_FILE": env_file}
        await house.register(
            OPERATOR, RegisterRequest(name=name, token=None, folder=str(folder), options=options, start=False)
        )
    (removed,) = await remove(house, "web", fate="purge")
    assert removed.ok
    assert path.exists() == (place != "env/own.env")
