"""Operations on the parts of the master that serve Discord."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, operation
from master.operations.parameters import CogParams, NoParams
from master.services.core.cog_views import CogView
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.services.container import Services


@operation("cogs", parameters=NoParams, result=list[CogView], permission=Permission.VIEW)
async def listing(call: Call[Services], parameters: NoParams) -> list[CogView]:
    """Show the master's cogs, those in trouble first."""
    return call.services.cogs.listing()


@operation("cog_reload", parameters=CogParams, result=CogView, permission=Permission.OPERATE, audit=Audit.ONE_ROW)
async def reload(call: Call[Services], parameters: CogParams) -> CogView:
    """Load a cog's code anew, or try one again that failed."""
    call.entry.detail = parameters.name
    return await call.services.cogs.reload(parameters.name)


@operation("cog_disable", parameters=CogParams, result=CogView, permission=Permission.OPERATE, audit=Audit.ONE_ROW)
async def disable(call: Call[Services], parameters: CogParams) -> CogView:
    """Switch a cog off, with its commands, until it is enabled again."""
    call.entry.detail = parameters.name
    return await call.services.cogs.disable(parameters.name, actor=call.actor.label)


@operation("cog_enable", parameters=CogParams, result=CogView, permission=Permission.OPERATE, audit=Audit.ONE_ROW)
async def enable(call: Call[Services], parameters: CogParams) -> CogView:
    """Switch a cog on again."""
    call.entry.detail = parameters.name
    return await call.services.cogs.enable(parameters.name)
