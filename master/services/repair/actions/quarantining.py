"""The action that keeps a node down."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from master.services.repair.actions.action import Acting, Action, ActionParameters, Done
from master.services.repair.errors import ActionSkipped


class QuarantineParameters(ActionParameters, frozen=True):
    """For how long."""

    hours: Annotated[float, Meta(ge=0.01, le=168)] = 1.0


async def _quarantine(acting: Acting, parameters: QuarantineParameters) -> Done:
    raise ActionSkipped(f"nobody quarantines {acting.node.name} yet")


quarantine = Action(
    name="quarantine",
    summary="End the node's process, and start none for some hours, or until an operator does.",
    parameters=QuarantineParameters,
    run=_quarantine,
)
