"""The action that keeps a node down."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from master.services.repair.actions.action import Acting, Action, ActionParameters, Done
from master.services.repair.actions.starting import require_wanted


class QuarantineParameters(ActionParameters, frozen=True):
    """For how long."""

    hours: Annotated[float, Meta(ge=0.01, le=168)] = 1.0


async def _quarantine(acting: Acting, parameters: QuarantineParameters) -> Done:
    await quarantine_node(acting, acting.title, hours=parameters.hours)
    return Done(detail=f"quarantined for {parameters.hours:g} h; `fleet release {acting.node.name}` ends that")


async def quarantine_node(acting: Acting, reason: str, *, hours: float) -> None:
    """Keep a node down for some hours, or until an operator starts or releases it, or the next master runs.

    Raises
    ------
    ActionSkipped
        It was removed, or stopped.
    """
    node = require_wanted(acting)
    async with acting.audited("quarantine") as entry:
        entry.detail = f"{hours:g} h: {reason}"
        acting.tools.supervisor.quarantine(node.id, f"{reason} (quarantined by a solution)", for_s=hours * 3_600)


quarantine = Action(
    name="quarantine",
    summary="End the node's process, and start none for some hours, or until an operator does.",
    parameters=QuarantineParameters,
    run=_quarantine,
)
