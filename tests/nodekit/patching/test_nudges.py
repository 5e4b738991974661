"""An order is fetched at once, not with the next pulse in nine seconds; and whoever nudges a lot gets no storm."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from pathlib import Path

import pytest

from handshake.sockets import Peer
from handshake.transports.local import NUDGE, LocalClient, LocalServer
from nodekit.link import NUDGE_EVERY_S
from tests.services.repair.actions.conftest import LivingHouse

pytestmark = pytest.mark.timeout(60)


async def test_an_order_is_fetched_and_answered_at_once(living: LivingHouse) -> None:
    node = await living.clone()
    orders, took = living.house.services.tools.orders, []
    for _ in range(5):
        began = time.monotonic()
        assert "loaded again" in await orders.send(node, "reload_cog", "tags")
        took.append(time.monotonic() - began)
        await asyncio.sleep(NUDGE_EVERY_S)  # Nobody sends orders faster than a node heeds nudges.
    print("from an order to its answer, ms:", [round(1000 * one) for one in took])
    # Without a nudge each would wait for the next pulse, up to nine seconds.
    assert sum(took) < 11


@pytest.mark.slow
async def test_a_flood_of_nudges_makes_four_pulses_a_second(living: LivingHouse) -> None:
    node = await living.clone()
    services = living.house.services
    pid, seen, enough = services.supervisor.pid_of(node.id), [], asyncio.Event()
    assert pid is not None
    taken = services.supervisor.node_pulsed

    def note(node_id: str, pulse: object) -> None:
        seen.append(time.monotonic())
        if len(seen) == 14:
            enough.set()
        taken(node_id, pulse)  # type: ignore[arg-type]

    services.supervisor.node_pulsed = note  # type: ignore[method-assign]
    while not enough.is_set():
        assert services.tools.orders.nudge(pid)
        await asyncio.sleep(0.01)
    # The first is the one that follows the verification.
    gaps = [after - before for before, after in itertools.pairwise(seen[1:])]
    # Over the whole, since a busy machine hears one late and the next in time; unbounded, all come in a tenth of it.
    assert seen[13] - seen[1] > 9 * NUDGE_EVERY_S, gaps
    assert max(gaps) < 9


async def test_a_stranger_and_who_is_not_connected_are_not_nudged(tmp_path: Path) -> None:

    def take(text: str, peer: Peer) -> str | None:
        return None if text == "genuine" else "heard"

    server = LocalServer(tmp_path / "nodes.sock", take)
    await server.start()
    heard: asyncio.Queue[str] = asyncio.Queue()
    client = LocalClient(tmp_path / "nodes.sock", heard.put_nowait)
    try:
        assert not server.nudge(os.getpid())
        await client.send("genuine")
        await client.send("a second, which is answered")
        assert await asyncio.wait_for(heard.get(), 5) == "heard"
        assert server.nudge(os.getpid())
        assert await asyncio.wait_for(heard.get(), 5) == NUDGE
    finally:
        await client.close()
        await server.close()
    assert not server.nudge(os.getpid())
