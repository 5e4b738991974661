"""The action that does nothing but tell."""

from __future__ import annotations

from master.services.repair.actions.action import Acting, Action, Done, NoParameters


async def _notify(acting: Acting, parameters: NoParameters) -> Done:
    return Done(detail="told, and nothing else")


notify = Action(
    name="notify",
    summary="Tell the operators, and do nothing else.",
    parameters=NoParameters,
    run=_notify,
)
