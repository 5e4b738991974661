"""Actions that start a node's process anew."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta

from master.services.repair.actions.action import Acting, Action, ActionParameters, Done


class RestartParameters(ActionParameters, frozen=True):
    """How a node is restarted."""

    delay_s: Annotated[float, Meta(ge=0, le=3_600)] = 0.0


async def _restart(acting: Acting, parameters: RestartParameters) -> Done:
    await asyncio.sleep(parameters.delay_s)
    await acting.tools.fleet.restart(acting.node)
    return Done(detail="restarted", awaits_ready=True)


restart = Action(
    name="restart",
    summary="Restart the node, after a delay if one is given.",
    parameters=RestartParameters,
    run=_restart,
)
