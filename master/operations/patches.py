"""Operations on patches: what there is, accepting one, and steering its roll-out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, operation
from master.operations.parameters import (
    PatchDeployParams,
    PatchesParams,
    PatchParams,
    PatchReceiveParams,
    PatchStopParams,
)
from master.services.core.patch_views import PatchDetails, PatchesView, PatchView
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.services.container import Services


@operation("patches", parameters=PatchesParams, result=PatchesView, permission=Permission.VIEW)
async def listing(call: Call[Services], parameters: PatchesParams) -> PatchesView:
    """Show all patches, newest first, and which of them each node has."""
    return await call.services.patches.list(parameters.limit)


@operation("patch_show", parameters=PatchParams, result=PatchDetails, permission=Permission.VIEW)
async def show(call: Call[Services], parameters: PatchParams) -> PatchDetails:
    """Show one patch: what it changes, its plan, and how far each node is with it."""
    return await call.services.patches.show(parameters.patch)


@operation(
    "patch_receive",
    parameters=PatchReceiveParams,
    result=PatchView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def receive(call: Call[Services], parameters: PatchReceiveParams) -> PatchView:
    """Accept a signed bundle, and roll it out if that is wanted."""
    call.entry.detail = parameters.path[-200:]
    patches = call.services.patches
    found = await patches.receive(parameters.path, actor=call.actor.label)
    call.entry.detail = _told(found)
    if not parameters.deploy:
        return found
    done = await patches.deploy(
        found.id,
        actor=call.actor.label,
        canary=parameters.canary,
        soak_s=parameters.soak_s,
        urgent=parameters.urgent,
        nodes=parameters.nodes,
    )
    call.entry.detail = _told(done)
    return done


@operation(
    "patch_deploy",
    parameters=PatchDeployParams,
    result=PatchView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def deploy(call: Call[Services], parameters: PatchDeployParams) -> PatchView:
    """Roll out a patch that was accepted; it begins once all who must have approved it."""
    call.entry.detail = parameters.patch
    done = await call.services.patches.deploy(
        parameters.patch,
        actor=call.actor.label,
        canary=parameters.canary,
        soak_s=parameters.soak_s,
        urgent=parameters.urgent,
        nodes=parameters.nodes,
    )
    call.entry.detail = _told(done)
    return done


@operation(
    "patch_approve", parameters=PatchParams, result=PatchView, permission=Permission.OPERATE, audit=Audit.ONE_ROW
)
async def approve(call: Call[Services], parameters: PatchParams) -> PatchView:
    """Approve a patch; each operator counts once."""
    call.entry.detail = parameters.patch
    done = await call.services.patches.approve(parameters.patch, actor=call.actor.label)
    call.entry.detail = _told(done)
    return done


@operation(
    "patch_pause", parameters=PatchStopParams, result=PatchView, permission=Permission.OPERATE, audit=Audit.ONE_ROW
)
async def pause(call: Call[Services], parameters: PatchStopParams) -> PatchView:
    """Pause a roll-out: no further node is ordered, those under way end what they began."""
    call.entry.detail = parameters.patch
    done = await call.services.patches.pause(parameters.patch, actor=call.actor.label, why=parameters.why)
    call.entry.detail = _told(done, parameters.why)
    return done


@operation("patch_resume", parameters=PatchParams, result=PatchView, permission=Permission.OPERATE, audit=Audit.ONE_ROW)
async def resume(call: Call[Services], parameters: PatchParams) -> PatchView:
    """Go on with a roll-out that is paused, or that asks whether to go on."""
    call.entry.detail = parameters.patch
    done = await call.services.patches.resume(parameters.patch, actor=call.actor.label)
    call.entry.detail = _told(done)
    return done


@operation(
    "patch_abort",
    parameters=PatchStopParams,
    result=PatchView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def abort(call: Call[Services], parameters: PatchStopParams) -> PatchView:
    """Abort a roll-out: no further node gets the patch, and those that have it keep it."""
    call.entry.detail = parameters.patch
    done = await call.services.patches.abort(parameters.patch, actor=call.actor.label, why=parameters.why)
    call.entry.detail = _told(done, parameters.why)
    return done


@operation("patch_retry", parameters=PatchParams, result=PatchView, permission=Permission.OPERATE, audit=Audit.ONE_ROW)
async def retry(call: Call[Services], parameters: PatchParams) -> PatchView:
    """Take up a roll-out that was aborted or failed, from where it was."""
    call.entry.detail = parameters.patch
    done = await call.services.patches.retry(parameters.patch, actor=call.actor.label)
    call.entry.detail = _told(done)
    return done


@operation(
    "patch_rollback",
    parameters=PatchStopParams,
    result=PatchView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def rollback(call: Call[Services], parameters: PatchStopParams) -> PatchView:
    """Roll a patch back: every node that has it goes back to the release before, and the patch is quarantined."""
    call.entry.detail = parameters.patch
    done = await call.services.patches.rollback(parameters.patch, actor=call.actor.label, why=parameters.why)
    call.entry.detail = _told(done, parameters.why)
    return done


def _told(patch: PatchView, why: str = "") -> str:
    return f"{patch.label}: {patch.state}" + (f" ({why})" if why else "")
