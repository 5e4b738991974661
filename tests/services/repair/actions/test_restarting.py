"""Actions that start a node's process anew: as an operator would, and never against one."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.ledger.rows import audit
from master.ledger.rows.records import AuditRow, Node, Outcome
from master.operations import nodes as operations_on_nodes
from master.services.onboarding.saga import CloneRequest
from master.services.repair.errors import ActionFailed, ActionSkipped
from master.supervision.states import NodeState
from nodekit.identify_budget import DAILY_IDENTIFIES, open_budget
from tests.services.conftest import OPERATOR, House
from tests.services.repair.acting import ACTOR, act


async def clone(house: House, name: str = "atlas") -> Node:
    await house.clone(OPERATOR, CloneRequest(name=name, token=Secret(house.bot(name).token), start=True))
    # A quiet bot never says that it is ready.
    node = house.services.directory.find(name)
    house.services.supervisor.node_verified(node.id, version="1", interval_s=60.0)
    return node


@pytest.fixture
async def atlas(house: House) -> Node:
    return await clone(house)


def pid_of(house: House, node: Node) -> int | None:
    return house.services.supervisor.pid_of(node.id)


async def audited(house: House, action: str) -> list[AuditRow]:
    return list(await house.services.ledger.read(lambda connection: audit.search(connection, action=action)))


def folder(house: House, node: Node) -> str:
    return str(house.services.tools.launcher.folder_of(node))


async def test_a_restart_is_in_the_audit_log_as_the_solutions(house: House, atlas: Node) -> None:
    before = pid_of(house, atlas)
    done = await act(house, atlas, "restart")
    assert done.awaits_ready
    assert pid_of(house, atlas) not in (None, before)
    (row,) = await audited(house, "restart")
    assert (row.actor, row.face, row.node_id, row.outcome) == (ACTOR, "system", atlas.id, Outcome.DONE)


async def test_a_node_that_an_operator_stopped_stays_stopped(house: House, atlas: Node) -> None:
    await house.act(OPERATOR, operations_on_nodes.stop, "atlas")
    for action in ("restart", "fresh_identify", "refresh_token", "quarantine"):
        with pytest.raises(ActionSkipped, match="stopped by an operator"):
            await act(house, atlas, action)
    assert pid_of(house, atlas) is None
    assert await audited(house, "restart") == []


async def test_one_that_is_stopped_during_the_delay_is_not_started(house: House, atlas: Node) -> None:
    restarting = asyncio.create_task(act(house, atlas, "restart", {"delay_s": 0.3}))
    await house.act(OPERATOR, operations_on_nodes.stop, "atlas")
    with pytest.raises(ActionSkipped, match="stopped by an operator"):
        await restarting


async def test_one_that_is_being_restarted_is_left_to_it(house: House, atlas: Node) -> None:
    await act(house, atlas, "restart")
    with pytest.raises(ActionSkipped, match="being restarted already"):
        await act(house, atlas, "restart")


async def test_one_in_backoff_is_started_at_once(house: House, atlas: Node) -> None:
    (house.base / "atlas" / "bot.py").write_text("raise SystemExit(3)\n")
    supervisor = house.services.supervisor
    await house.act(OPERATOR, operations_on_nodes.restart, "atlas")
    await supervisor.wait_state(atlas.id, (NodeState.BACKOFF,), timeout_s=20)
    (house.base / "atlas" / "bot.py").write_text("import signal; signal.pause()\n")
    await act(house, atlas, "restart")
    assert supervisor.view(atlas.id).state is NodeState.STARTING


async def test_one_without_a_folder_is_not_tried(house: House, atlas: Node) -> None:
    await asyncio.to_thread(shutil.rmtree, house.base / "atlas")
    await house.act(OPERATOR, operations_on_nodes.restart, "atlas")
    with pytest.raises(ActionSkipped, match="no folder or program"):
        await act(house, atlas, "restart")


async def test_a_quarantine_ends_the_process_and_an_operator_ends_the_quarantine(house: House, atlas: Node) -> None:
    done = await act(house, atlas, "quarantine", {"hours": 2})
    supervisor = house.services.supervisor
    await supervisor.wait_state(atlas.id, (NodeState.QUARANTINED,), timeout_s=20)
    view = supervisor.view(atlas.id)
    assert view.pid is None
    assert view.next_start_in_s is not None
    assert 7_100 < view.next_start_in_s <= 7_200
    assert view.detail == "A test (quarantined by a solution)"
    assert "fleet release atlas" in done.detail
    with pytest.raises(ActionSkipped, match="quarantined"):
        await act(house, atlas, "restart")
    await house.act(OPERATOR, operations_on_nodes.release, "atlas")
    await supervisor.wait_state(atlas.id, (NodeState.STARTING,), timeout_s=20)


@pytest.mark.parametrize("operation", ["start", "restart"])
async def test_an_operators_start_ends_a_quarantine_too(house: House, atlas: Node, operation: str) -> None:
    await act(house, atlas, "quarantine", {"hours": 2})
    await house.act(OPERATOR, getattr(operations_on_nodes, operation), "atlas")
    assert house.services.supervisor.view(atlas.id).state is NodeState.STARTING


async def test_a_quarantine_is_over_by_itself(house: House, atlas: Node) -> None:
    house.services.supervisor.quarantine(atlas.id, "for a moment", for_s=0.2)
    supervisor = house.services.supervisor
    await supervisor.wait_state(atlas.id, (NodeState.QUARANTINED,), timeout_s=20)
    await supervisor.wait_state(atlas.id, (NodeState.STARTING,), timeout_s=20)


async def test_a_fresh_identify_leaves_no_session(house: House, atlas: Node, house_settings: Settings) -> None:
    session, before = house_settings.sessions_dir / atlas.id, pid_of(house, atlas)
    session.write_bytes(b"of the old session")
    await act(house, atlas, "fresh_identify")
    assert pid_of(house, atlas) not in (None, before)
    assert session.read_bytes()[:14] != b"of the old ses"


async def test_the_last_identifies_of_a_day_are_kept_for_crashes(
    house: House, atlas: Node, house_settings: Settings
) -> None:
    budget = open_budget(house_settings.identifies_dir / str(atlas.bot_user_id))
    for _ in range(DAILY_IDENTIFIES - 99):
        budget.spend()
    budget.close()
    before = pid_of(house, atlas)
    with pytest.raises(ActionSkipped, match="99 of its 800 IDENTIFYs left"):
        await act(house, atlas, "fresh_identify")
    assert pid_of(house, atlas) == before


async def test_a_token_that_discord_accepts_is_started_with(house: House, atlas: Node) -> None:
    before = pid_of(house, atlas)
    done = await act(house, atlas, "refresh_token")
    assert done.awaits_ready
    assert pid_of(house, atlas) not in (None, before)


async def test_a_token_that_discord_refuses_quarantines(house: House, atlas: Node) -> None:
    bot = next(bot for bot in house.sandbox.world.bots() if bot.id == atlas.bot_user_id)
    house.sandbox.world.set_token(bot)
    with pytest.raises(ActionFailed, match="refuses the token") as failed:
        await act(house, atlas, "refresh_token")
    assert "fleet set-token atlas" in failed.value.hint
    await house.services.supervisor.wait_state(atlas.id, (NodeState.QUARANTINED,), timeout_s=20)
    assert house.services.supervisor.view(atlas.id).detail.startswith("Discord refuses its token")


async def test_a_traceback_of_its_own_restarts_a_node(house: House, atlas: Node) -> None:
    before = pid_of(house, atlas)
    await act(house, atlas, "restart_bot_by_path", {"path": "{path}"}, path=f"{folder(house, atlas)}/cogs/one.py")
    assert pid_of(house, atlas) not in (None, before)


async def test_nobody_restarts_another_by_a_line(house: House, atlas: Node) -> None:
    borealis = await clone(house, "borealis")
    before = pid_of(house, borealis), pid_of(house, atlas)
    base = house.base
    for path, why in {
        f"{base}/borealis/bot.py": "lies in the folder of borealis, and atlas wrote it",
        f"{base}/atlas/../borealis/bot.py": r"leads up again",
        f"{base}/atlas/\0/bot.py": "cannot be printed",
        f"{base}/atlas/\x1b[2J": "cannot be printed",
        f"{base}/atlas-other/bot.py": "lies in no node's folder",
        "atlas/bot.py": "not absolute",
        "; rm -rf /": "not absolute",
        "$(reboot)": "not absolute",
        "/": "no node's folder",
        "/etc/passwd": "no node's folder",
        f"{base}/atlas/" + "x" * 4_000: "",
    }.items():
        if not why:
            await act(house, atlas, "restart_bot_by_path", {"path": "{path}"}, path=path)
            continue
        with pytest.raises(ActionSkipped, match=why):
            await act(house, atlas, "restart_bot_by_path", {"path": "{path}"}, path=path)
    assert pid_of(house, borealis) == before[0]


async def test_a_link_in_its_folder_leads_to_nobody_else(house: House, atlas: Node) -> None:
    borealis = await clone(house, "borealis")
    before = pid_of(house, borealis)
    (house.base / "atlas" / "there").symlink_to(house.base / "borealis")
    await act(house, atlas, "restart_bot_by_path", {"path": f"{house.base}/atlas/there/bot.py"})
    assert pid_of(house, borealis) == before
