"""Operations on the master itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, operation
from master.operations.parameters import EventsParams, ShutdownParams
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.services.container import Services


@operation("events", parameters=EventsParams, result=type(None), permission=Permission.VIEW)
async def events(call: Call[Services], parameters: EventsParams) -> None:
    """Tell what happens, as it happens, until the caller hangs up."""
    from master.events import Event, StderrLine
    from master.services.core.event_stream import STREAMED, fleet_event

    kinds: tuple[type[Event], ...] = (*STREAMED, StderrLine) if parameters.stderr else STREAMED
    with call.services.bus.subscribe(*kinds) as subscription:
        async for event in subscription:
            await call.tell(fleet_event(event, call.services.directory))


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
    call.services.lifecycle.end(stop_nodes=parameters.stop_nodes)
