"""Operations about lineage: how a node came to be what it is, and back to what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, Needs, operation
from master.operations.parameters import LineageRestoreParams, NodeParams
from master.services.core.lineage_views import LineageView, RestoredView
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.services.container import LedgerServices, Services


@operation("lineage", parameters=NodeParams, result=LineageView, permission=Permission.VIEW, needs=Needs.LEDGER)
async def lineage(call: Call[LedgerServices], parameters: NodeParams) -> LineageView:
    """Show how a node came to be what it is: each patch, rollback and edit, with the signature of its manifest."""
    return await call.services.lineage.show(parameters.name)


@operation(
    "lineage_restore",
    parameters=LineageRestoreParams,
    result=RestoredView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def restore(call: Call[Services], parameters: LineageRestoreParams) -> RestoredView:
    """Put back what a node was in an earlier generation, and restart it if it runs."""
    node = call.services.directory.find(parameters.name)
    call.entry.node_id, call.entry.detail = node.id, f"generation {parameters.generation}"
    return await call.services.restoring.restore(node.name, parameters.generation, actor=call.actor.label)
