"""The action that takes a patch back from the node on which an error began with it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from master.services.healing.solution import Risk
from master.services.patches.errors import PatchNotNow
from master.services.repair.actions.action import Acting, Action, ActionParameters, Done
from master.services.repair.actions.starting import require_wanted
from master.services.repair.errors import ActionSkipped


class RollbackParameters(ActionParameters, frozen=True):
    """How old a patch may be."""

    within_s: Annotated[float, Meta(ge=1, le=604_800)] = 3_600.0


async def _roll_back(acting: Acting, parameters: RollbackParameters) -> Done:
    node = require_wanted(acting)
    async with acting.audited("rollback_patch") as entry:
        entry.detail = acting.title
        try:
            detail = await acting.tools.returning.take_back(node, within_s=parameters.within_s, why=acting.title)
        except PatchNotNow as error:
            raise ActionSkipped(error.message) from error
        entry.detail = detail
        return Done(detail=detail)


rollback_patch = Action(
    name="rollback_patch",
    summary="Have the node go back from its newest patch, if that is not good yet or was applied lately.",
    parameters=RollbackParameters,
    run=_roll_back,
    least_risk=Risk.ASK,
)
