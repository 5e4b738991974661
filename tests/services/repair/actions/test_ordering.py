"""What a node does itself, by order of the master: real nodes, which run on meanwhile."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from master.ledger.rows import audit
from master.operations import nodes as operations_on_nodes
from master.services.repair.errors import ActionSkipped
from master.services.trust.orders import OrderFailed
from master.supervision.states import NodeState
from tests.services.conftest import OPERATOR
from tests.services.repair.acting import act
from tests.services.repair.actions.conftest import LivingHouse

pytestmark = pytest.mark.timeout(120)

COUNTER = """
from discord.ext import commands

class Counter(commands.Cog):
    pass

async def setup(bot):
    with open("loaded", "a") as notes:
        notes.write("x")
    await bot.add_cog(Counter())
"""


async def test_a_cog_is_loaded_again_and_disabled_while_the_bot_runs_on(living: LivingHouse) -> None:
    (living.settings.identity.template_path / "cogs" / "counter.py").write_text(COUNTER)
    node = await living.clone()
    house, supervisor, folder = living.house, living.house.services.supervisor, living.folder(node)
    pid = supervisor.pid_of(node.id)
    assert (folder / "loaded").read_text() == "x"

    done = await act(house, node, "reload_cog", {"cog": "{cog}"}, cog="counter")
    assert (done.detail, done.awaits_ready) == ("cog counter is loaded again", False)
    assert (folder / "loaded").read_text() == "xx"

    done = await act(house, node, "disable_cog", {"cog": "{cog}"}, cog="cogs.counter")
    assert done.detail == "cog counter is off until its file changes"
    await living.reach(node, NodeState.DEGRADED)
    assert supervisor.view(node.id).cogs_failed == ("counter (disabled)",)
    assert supervisor.pid_of(node.id) == pid

    # It stays off in the next process, which is not less well for it.
    await house.act(OPERATOR, operations_on_nodes.restart, "atlas")
    await living.reach(node, NodeState.DEGRADED)
    assert supervisor.view(node.id).detail == "1 cog failed: counter (disabled)"
    assert (folder / "loaded").read_text() == "xx"

    # Its author has mended it.
    (folder / "cogs" / "counter.py").write_text(COUNTER + "# mended\n")
    await house.act(OPERATOR, operations_on_nodes.restart, "atlas")
    await living.reach(node, NodeState.READY)
    assert (folder / "loaded").read_text() == "xxx"
    assert not (folder / ".disabled_cogs").exists()

    # Or an order takes it back.
    await act(house, node, "disable_cog", {"cog": "counter"})
    await living.reach(node, NodeState.DEGRADED)
    await act(house, node, "reload_cog", {"cog": "counter"})
    await living.reach(node, NodeState.READY)

    rows = await house.services.ledger.read(lambda connection: audit.search(connection, action="disable_cog"))
    assert [(row.actor, row.detail) for row in rows] == [
        ("system:solution/a_test", name) for name in ("counter", "cogs.counter")
    ]


HANGS = """
import asyncio

async def setup(bot):
    await asyncio.Event().wait()
"""


@pytest.mark.slow
async def test_what_a_node_does_not_do(living: LivingHouse) -> None:
    node = await living.clone()
    house, folder = living.house, living.folder(node)
    # What a log captured names no other file, and no other module.
    (folder / "evil.py").write_text("open('owned', 'w')\n")
    (folder / "cogs" / "_helper.py").write_text("open('owned', 'w')\n")
    for cog in ("../evil", "evil/..", "\0", "; rm -rf /", "$(reboot)", "a b", "x" * 99, "música", ".tags", "tags."):
        with pytest.raises(ActionSkipped, match="is no name of a cog"):
            await act(house, node, "reload_cog", {"cog": "{cog}"}, cog=cog)
    with pytest.raises(msgspec.ValidationError, match="length <= 100"):
        await act(house, node, "reload_cog", {"cog": "{cog}"}, cog="x" * 10_000)
    for cog in ("evil", "os", "cogs._helper"):
        with pytest.raises(OrderFailed, match=r"there is no cog .*; there are example, health, owner, tags"):
            await act(house, node, "reload_cog", {"cog": "{cog}"}, cog=cog)
    assert not (folder / "owned").exists()

    # A cog that does not load is told, and its old code stays.
    (folder / "cogs" / "tags.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(
        OrderFailed, match="cog tags could not be loaded: ModuleNotFoundError: No module named 'nothing"
    ):
        await act(house, node, "reload_cog", {"cog": "tags"})
    assert house.services.supervisor.view(node.id).state is NodeState.READY

    # Commands are registered again, but not in a loop.
    house.sandbox.commands.overwrite(node.bot_user_id, None, [])
    done = await act(house, node, "sync_commands")
    registered = house.sandbox.commands.of_scope(node.bot_user_id, None)
    assert done.detail == f"{len(registered)} slash commands are registered"
    assert registered
    with pytest.raises(OrderFailed, match=r"registered . s ago; once in 10 min is all"):
        await act(house, node, "sync_commands")

    # One order at a time, and nobody waits for a node that is gone.
    (folder / "cogs" / "tags.py").write_text(HANGS)
    first = asyncio.create_task(act(house, node, "reload_cog", {"cog": "tags"}))
    await asyncio.sleep(0)
    with pytest.raises(OrderFailed, match="another order under way"):
        await act(house, node, "sync_commands")
    await house.act(OPERATOR, operations_on_nodes.kill, "atlas")
    with pytest.raises(OrderFailed, match="ended before it had answered"):
        await first
    with pytest.raises(ActionSkipped, match="stopped by an operator"):
        await act(house, node, "sync_commands")
