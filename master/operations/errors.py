"""Operations on groups of errors: what went wrong, and what operators want to hear of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, Needs, operation
from master.operations.parameters import ErrorMuteParams, ErrorParams, ErrorsParams
from master.services.core.error_views import ErrorDetail, ErrorGroupView
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.services.container import LedgerServices


@operation(
    "errors", parameters=ErrorsParams, result=list[ErrorGroupView], permission=Permission.VIEW, needs=Needs.LEDGER
)
async def listing(call: Call[LedgerServices], parameters: ErrorsParams) -> list[ErrorGroupView]:
    """Show what went wrong on any node, one entry for the same error; the latest first."""
    return await call.services.error_groups.list_groups(
        node=parameters.node, state=parameters.state, since=parameters.since, limit=parameters.limit
    )


@operation("error_show", parameters=ErrorParams, result=ErrorDetail, permission=Permission.VIEW, needs=Needs.LEDGER)
async def show(call: Call[LedgerServices], parameters: ErrorParams) -> ErrorDetail:
    """Show all that is known of an error: where it was seen, the lines before, the traceback, who knows it."""
    return await call.services.error_groups.show(parameters.fingerprint)


@operation(
    "error_mute",
    parameters=ErrorMuteParams,
    result=ErrorGroupView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    needs=Needs.LEDGER,
)
async def mute(call: Call[LedgerServices], parameters: ErrorMuteParams) -> ErrorGroupView:
    """Tell nothing of an error for a while, or for good; it is still counted."""
    call.entry.detail = parameters.fingerprint
    until = call.services.clock.now() + timedelta(seconds=parameters.for_s) if parameters.for_s else None
    found = await call.services.error_groups.mute(parameters.fingerprint, until, call.actor)
    call.entry.detail = f"{found.fingerprint} {'for good' if until is None else f'until {until:%Y-%m-%d %H:%M} UTC'}"
    return found


@operation(
    "error_unmute",
    parameters=ErrorParams,
    result=ErrorGroupView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    needs=Needs.LEDGER,
)
async def unmute(call: Call[LedgerServices], parameters: ErrorParams) -> ErrorGroupView:
    """Tell of an error again that was muted."""
    call.entry.detail = parameters.fingerprint
    found = await call.services.error_groups.unmute(parameters.fingerprint, call.actor)
    call.entry.detail = found.fingerprint
    return found


@operation(
    "error_resolve",
    parameters=ErrorParams,
    result=ErrorGroupView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    needs=Needs.LEDGER,
)
async def resolve(call: Call[LedgerServices], parameters: ErrorParams) -> ErrorGroupView:
    """Take an error for mended: the next time that it is seen is told."""
    call.entry.detail = parameters.fingerprint
    found = await call.services.error_groups.resolve(parameters.fingerprint, call.actor)
    call.entry.detail = found.fingerprint
    return found
