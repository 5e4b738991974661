"""Nodes that cannot reach their master because its socket is gone are not replaced for their silence."""

from __future__ import annotations

import asyncio

from master.events import NodeDegraded, NodeReady, NodeReplaced
from tests.supervision.conftest import SLEEPS, MakeRig


async def test_nobody_is_replaced_while_the_master_is_deaf(make_rig: MakeRig) -> None:
    rig = make_rig(ready_timeout_s=0.3)
    await asyncio.sleep(0)
    rig.supervisor.set_deaf(True)
    node, bystander = rig.add("atlas", SLEEPS), rig.add("process", SLEEPS, readiness="process")
    await rig.supervisor.start(node)
    pid = rig.supervisor.pid_of(node)
    await rig.supervisor.start(bystander)
    # PROCESS_READY_AFTER_S is ten times the patience above.
    await rig.wait_event(bystander, NodeReady)
    assert not [event for event in rig.events if isinstance(event, NodeReplaced | NodeDegraded)]
    assert rig.supervisor.pid_of(node) == pid
    rig.supervisor.set_deaf(False)
    await rig.wait_event(node, NodeReplaced)
