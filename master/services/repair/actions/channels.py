"""The action that creates the fleet's own channels again."""

from __future__ import annotations

from master.services.healing.solution import Risk
from master.services.repair.actions.action import Acting, Action, Done, NoParameters


async def _recreate(acting: Acting, parameters: NoParameters) -> Done:
    async with acting.audited("recreate_channels") as entry:
        entry.detail = said = await acting.tools.recreate_channels()
    return Done(detail=said)


recreate_channels = Action(
    name="recreate_channels",
    summary="Create those of the fleet's own channels that were deleted.",
    parameters=NoParameters,
    run=_recreate,
    # Whoever deleted a channel may have meant it.
    least_risk=Risk.ASK,
)
