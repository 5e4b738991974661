"""Snapshots of how nodes stand, and the week that they make."""

from __future__ import annotations

from master.ledger.rows import pulse_snapshots
from master.operations import nodes as nodes_
from master.services.onboarding.saga import RegisterRequest
from tests.services.conftest import OPERATOR, House


async def test_running_nodes_are_written_down_and_shown_as_a_week(house: House) -> None:
    folder = house.base / "hand"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text("import time\ntime.sleep(600)\n")
    request = RegisterRequest(name="hand", token=house.token("hand"), folder="hand", entry="main.py")
    await house.register(OPERATOR, request)
    node = house.services.directory.find("hand")
    for _ in range(3):
        house.services.snapshots.take()
    await house.services.ledger.flush()
    rows = await house.services.ledger.read(lambda c: pulse_snapshots.recent(c, node.id))
    assert len(rows) == 3
    assert {(row.node_id, row.guilds) for row in rows} == {(node.id, 0)}
    week = (await house.services.overview.history("hand")).week
    assert (week.slot_s, len(week.rss_mb)) == (300.0, sum(row.memory_bytes is not None for row in rows))
    await house.act(OPERATOR, nodes_.stop, "hand")
    house.services.snapshots.take()
    await house.services.ledger.flush()
    assert len(await house.services.ledger.read(lambda c: pulse_snapshots.recent(c, node.id))) == 3
