"""Operations on the master itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, operation
from master.operations.parameters import EventsParams, NoParams, ShutdownParams
from master.services.core.findings import Finding
from master.services.core.permissions import Permission
from master.services.core.views import ReloadView

if TYPE_CHECKING:
    from master.services.container import Services


@operation("events", parameters=EventsParams, result=type(None), permission=Permission.VIEW, follows=True)
async def events(call: Call[Services], parameters: EventsParams) -> None:
    """Stream events until the caller disconnects."""
    from master.events import Event, StderrLine
    from master.services.core.event_stream import STREAMED, fleet_event

    kinds: tuple[type[Event], ...] = (*STREAMED, StderrLine) if parameters.stderr else STREAMED
    with call.services.bus.subscribe(*kinds) as subscription:
        async for event in subscription:
            await call.tell(fleet_event(event, call.services.directory))


@operation("doctor", parameters=NoParams, result=list[Finding], permission=Permission.OPERATE)
async def doctor(call: Call[Services], parameters: NoParams) -> list[Finding]:
    """Check everything a fleet needs, and say what to do about what is missing."""
    return await call.services.doctor.look()


@operation("reload", parameters=NoParams, result=ReloadView, permission=Permission.OPERATE, audit=Audit.ONE_ROW)
async def reload(call: Call[Services], parameters: NoParams) -> ReloadView:
    """Read config.py and .env again, and apply what can take effect in the running master."""
    view = await call.services.reloading.reload()
    call.entry.detail = ", ".join((*view.applied, *view.at_node_start))
    return view


@operation(
    "shutdown",
    parameters=ShutdownParams,
    result=type(None),
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def shutdown(call: Call[Services], parameters: ShutdownParams) -> None:
    """End the master, and its nodes unless they are kept."""
    call.entry.detail = "with its nodes" if parameters.stop_nodes else "its nodes run on"
    # Afterwards: otherwise the master could close its ledger and sockets before the audit row and the answer.
    call.afterwards.append(partial(call.services.lifecycle.end, stop_nodes=parameters.stop_nodes))
