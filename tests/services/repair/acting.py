"""What tests of actions act with: the services of a real house."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from master.ledger.rows.records import Node
from master.services.healing.sighting import SeenIn, Sighting
from master.services.repair.actions.action import Acting, Done, parameters_of
from master.services.repair.actions.registry import ACTIONS
from tests.services.conftest import House

ACTOR = "system:solution/a_test"


async def act(
    house: House, node: Node, action: str, parameters: Mapping[str, Any] | None = None, **captures: str
) -> Done:
    """Carry out an action on a node, as a repair does."""
    sighting = Sighting(node_id=node.id, at=datetime.now(UTC), seen_in=SeenIn.STDERR, text="an error")
    acting = Acting(node=node, sighting=sighting, title="A test", advice="", actor=ACTOR, tools=house.services.tools)
    found = ACTIONS[action]
    return await found.run(acting, parameters_of(found, parameters or {}, captures))
