"""The action that creates the fleet's own channels again."""

from __future__ import annotations

from master.services.healing.solution import Risk
from master.services.repair.actions.action import Acting, Action, Done, NoParameters
from master.services.repair.errors import ActionSkipped


async def _recreate(acting: Acting, parameters: NoParameters) -> Done:
    raise ActionSkipped("no channel is created yet")


recreate_channels = Action(
    name="recreate_channels",
    summary="Create those of the fleet's own channels that were deleted.",
    parameters=NoParameters,
    run=_recreate,
    # Whoever deleted a channel may have meant it.
    least_risk=Risk.ASK,
)
