"""Operations that tell all of one node: what it is, and why it is as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.operations.operation import Call, Needs, operation
from master.operations.parameters import NodeParams, WhyParams
from master.services.core.permissions import Permission
from master.services.core.telling_views import NodeDescription, NodeTimeline

if TYPE_CHECKING:
    from master.services.container import LedgerServices

A_DAY_S = 86_400.0


@operation("describe", parameters=NodeParams, result=NodeDescription, permission=Permission.VIEW, needs=Needs.LEDGER)
async def describe(call: Call[LedgerServices], parameters: NodeParams) -> NodeDescription:
    """Show all that is known of a node: who it is, its state, its last exit, limits, paths, settings, last lines."""
    return await call.services.telling.describe(parameters.name)


@operation("why", parameters=WhyParams, result=NodeTimeline, permission=Permission.VIEW, needs=Needs.LEDGER)
async def why(call: Call[LedgerServices], parameters: WhyParams) -> NodeTimeline:
    """Show what happened to a node, what is the matter with it now, and what to do."""
    since = parameters.since or call.services.clock.now().timestamp() - A_DAY_S
    return await call.services.telling.explain(parameters.name, since=since)
