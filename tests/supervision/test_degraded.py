"""Nodes that say themselves what is wrong with them: shown and told, and left running."""

from __future__ import annotations

import asyncio

import pytest

from master.events import NodeDegraded, NodeEvent, NodeExited, NodeReady, NodeRecovered, NodeSpawned
from master.supervision.states import NodeState, is_legal_transition
from tests.supervision.conftest import SLEEPS, MakeRig, Rig


def told(rig: Rig) -> list[tuple[type[NodeEvent], str]]:
    """Return what was told of how the node is, in order."""
    return [(type(e), e.detail) for e in rig.events if isinstance(e, NodeReady | NodeDegraded | NodeRecovered)]


async def test_a_pulse_that_names_failed_cogs_degrades_a_node_and_one_that_names_none_ends_it(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node)
    rig.pulse(node, "music", "fun")
    view = rig.supervisor.view(node)
    assert (view.state, view.detail) == (NodeState.DEGRADED, "2 cogs failed: music, fun")
    assert (view.cogs_failed, view.latency_ms, view.guilds, view.version) == (("music", "fun"), 12.0, 3, "1")
    rig.pulse(node)
    view = rig.supervisor.view(node)
    assert (view.state, view.detail, view.cogs_failed) == (NodeState.READY, "", ())
    assert told(rig) == [(NodeReady, ""), (NodeDegraded, "2 cogs failed: music, fun"), (NodeRecovered, "")]


async def test_the_same_word_again_is_told_once_and_another_one_again(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node)
    for _ in range(50):
        rig.pulse(node, "music")
    rig.pulse(node, "music", "fun")
    for _ in range(50):
        rig.pulse(node, "music", "fun")
    assert told(rig) == [
        (NodeReady, ""),
        (NodeDegraded, "1 cog failed: music"),
        (NodeDegraded, "2 cogs failed: music, fun"),
    ]
    assert rig.supervisor.view(node).detail == "2 cogs failed: music, fun"


async def test_a_node_that_comes_up_without_a_cog_is_degraded_from_the_start_and_holds_nobody_up(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(concurrent_starts=1)
    await asyncio.sleep(0)
    first = rig.add("first", SLEEPS)
    second = rig.add("second", SLEEPS, after=("first",))
    await rig.supervisor.start(first)
    waiting = asyncio.create_task(rig.supervisor.start(second))
    rig.verify(first, cogs_failed=("music",))
    assert told(rig) == [(NodeDegraded, "1 cog failed: music")]
    # Both the gate and AFTER let the next one through.
    await asyncio.wait_for(waiting, 5)
    await rig.wait_event(second, NodeSpawned)


@pytest.mark.slow
async def test_a_node_degraded_by_its_own_word_is_left_running_while_it_pulses(make_rig: MakeRig) -> None:
    rig = make_rig(missed_pulses=10)
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node, interval_s=0.1)
    pid = rig.pid(node)
    loop = asyncio.get_running_loop()
    # Longer than silence is borne: 2 x 10 x 0.1 s.
    until = loop.time() + 2.5
    while loop.time() < until:
        rig.pulse(node, "music", interval_s=0.1)
        await asyncio.sleep(0.02)
    assert (rig.pid(node), rig.supervisor.view(node).state) == (pid, NodeState.DEGRADED)
    assert told(rig) == [(NodeReady, ""), (NodeDegraded, "1 cog failed: music")]
    # Silence is another matter.
    await rig.wait_event(node, NodeDegraded, count=2)
    assert told(rig)[-1][1].startswith("no pulse for ")
    exited = await rig.wait_event(node, NodeExited)
    assert exited.detail.startswith("no pulse for ")
    again = await rig.wait_event(node, NodeSpawned, count=2)
    assert again.pid != pid
    assert rig.supervisor.view(node).cogs_failed == ()


async def test_pulses_that_come_back_and_still_name_a_failed_cog_say_so_again(make_rig: MakeRig) -> None:
    rig = make_rig(missed_pulses=5)
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node, interval_s=0.05, cogs_failed=("music",))
    silent = await rig.wait_event(node, NodeDegraded, count=2)
    assert silent.detail.startswith("no pulse for ")
    rig.pulse(node, "music")
    assert rig.supervisor.view(node).detail == "1 cog failed: music"
    rig.pulse(node)
    assert [kind for kind, _ in told(rig)] == [NodeDegraded, NodeDegraded, NodeDegraded, NodeRecovered]


async def test_what_a_node_calls_its_cogs_breaks_no_line(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS)
    await rig.supervisor.start(node)
    rig.verify(node, cogs_failed=("a\nb\x1b[2J",))
    assert rig.supervisor.view(node).detail == "1 cog failed: a?b?[2J"


async def test_events_name_the_host_of_the_node(rig: Rig) -> None:
    node = rig.add("atlas", SLEEPS, host="attic")
    await rig.supervisor.start(node)
    spawned: NodeEvent = await rig.wait_event(node, NodeSpawned)
    assert spawned.host == "attic"


def test_a_node_may_be_degraded_from_its_first_word() -> None:
    assert is_legal_transition(NodeState.STARTING, NodeState.DEGRADED)
    assert not is_legal_transition(NodeState.STOPPED, NodeState.DEGRADED)
