"""The action that looks after a node's token."""

from __future__ import annotations

from master.services.repair.actions.action import Acting, Action, Done, NoParameters
from master.services.repair.errors import ActionSkipped


async def _refresh(acting: Acting, parameters: NoParameters) -> Done:
    raise ActionSkipped(f"nobody looks after the token of {acting.node.name} yet")


refresh_token = Action(
    name="refresh_token",
    summary="Ask Discord whether the vault's token is good; start the node with it, or quarantine it.",
    parameters=NoParameters,
    run=_refresh,
)
