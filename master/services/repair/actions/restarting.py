"""Actions that start a node's process anew."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta

from master.services.repair.actions.action import Acting, Action, ActionParameters, Done, NoParameters
from master.services.repair.errors import ActionSkipped


class RestartParameters(ActionParameters, frozen=True):
    """How a node is restarted."""

    delay_s: Annotated[float, Meta(ge=0, le=3_600)] = 0.0


class PathParameters(ActionParameters, frozen=True):
    """Whose program wrote a traceback."""

    path: Annotated[str, Meta(min_length=1, max_length=4_096)]
    """A path out of a traceback, usually ``{path}``."""


async def _restart(acting: Acting, parameters: RestartParameters) -> Done:
    await asyncio.sleep(parameters.delay_s)
    await acting.tools.fleet.restart(acting.node)
    return Done(detail="restarted", awaits_ready=True)


async def _restart_by_path(acting: Acting, parameters: PathParameters) -> Done:
    raise ActionSkipped(f"nobody restarts {acting.node.name} by a path yet")


async def _fresh_identify(acting: Acting, parameters: NoParameters) -> Done:
    raise ActionSkipped(f"nobody forgets the session of {acting.node.name} yet")


restart = Action(
    name="restart",
    summary="Restart the node, after a delay if one is given.",
    parameters=RestartParameters,
    run=_restart,
)

restart_bot_by_path = Action(
    name="restart_bot_by_path",
    summary="Restart the node whose folder a traceback names, if it wrote the traceback itself.",
    parameters=PathParameters,
    run=_restart_by_path,
)

fresh_identify = Action(
    name="fresh_identify",
    summary="Forget the node's gateway session, and start it with an IDENTIFY, within its budget.",
    parameters=NoParameters,
    run=_fresh_identify,
)
