"""Operations on the server's channels."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, Needs, operation
from master.operations.parameters import (
    ChannelsCaptureParams,
    ChannelsHistoryParams,
    ChannelsLeaveParams,
    ChannelsRepairParams,
    ChannelsUndoParams,
    NoParams,
)
from master.services.core.channel_views import CapturedTree, ChannelRepairRow, ChannelsView, DriftRow
from master.services.core.errors import ServiceError
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.services.channels.drift import Drift
    from master.services.channels.survey import Survey
    from master.services.container import LedgerServices, Services

    Wanted = Callable[[Drift, Survey], bool]


@operation("channels", parameters=NoParams, result=ChannelsView, permission=Permission.VIEW)
async def listing(call: Call[Services], parameters: NoParams) -> ChannelsView:
    """Show the channels that the fleet wants, and how they are."""
    return await call.services.channels.showing.listing()


@operation("channels_diff", parameters=NoParams, result=list[DriftRow], permission=Permission.VIEW)
async def diff(call: Call[Services], parameters: NoParams) -> list[DriftRow]:
    """Show how the channels differ from the wanted ones, and what would be done; changes nothing."""
    return await call.services.channels.showing.diff()


@operation(
    "channels_repair",
    parameters=ChannelsRepairParams,
    result=list[ChannelRepairRow],
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def repair(call: Call[Services], parameters: ChannelsRepairParams) -> list[ChannelRepairRow]:
    """Put channels right."""
    keys = frozenset(parameters.keys)
    call.entry.detail = ", ".join(sorted(keys))[:200] or "all"
    if parameters.asked:
        asked = await call.services.channel_records.find(parameters.asked)
        keys = frozenset(one.key for one in asked)
        call.entry.detail = ", ".join(sorted(keys))[:200]

    def wanted(drift: Drift, survey: Survey) -> bool:
        return drift.key in keys if keys else not call.services.channels.is_left(drift, survey)

    return await _look(call, wanted)


@operation(
    "channels_leave",
    parameters=ChannelsLeaveParams,
    result=list[ChannelRepairRow],
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def leave(call: Call[Services], parameters: ChannelsLeaveParams) -> list[ChannelRepairRow]:
    """Leave channels as they are that were asked about, or say nothing of them for a time."""
    asked, keeper = await call.services.channel_records.find(parameters.asked), call.services.channels.keeper
    call.entry.detail = ", ".join(sorted({one.key for one in asked}))[:200]
    if parameters.mute_s:
        keeper.mute({one.key for one in asked}, parameters.mute_s)
        return call.services.channel_records.shown(asked)
    return call.services.channel_records.shown(await keeper.leave(asked, by=call.actor.label))


@operation(
    "channels_history",
    parameters=ChannelsHistoryParams,
    result=list[ChannelRepairRow],
    permission=Permission.VIEW,
    needs=Needs.LEDGER,
)
async def history(call: Call[LedgerServices], parameters: ChannelsHistoryParams) -> list[ChannelRepairRow]:
    """Show what was repaired, who had changed it, and what came of it; the newest first."""
    records = call.services.channel_records
    return await records.history(key=parameters.key, culprit_id=parameters.by, limit=parameters.limit)


@operation(
    "channels_undo",
    parameters=ChannelsUndoParams,
    result=list[ChannelRepairRow],
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def undo(call: Call[Services], parameters: ChannelsUndoParams) -> list[ChannelRepairRow]:
    """Take a repair back; or take back what somebody did to channels in the last minutes, also if it was left."""
    services = call.services
    if parameters.by is None:
        call.entry.detail = parameters.repair
        repairs = await services.channel_records.find(parameters.repair)
        return services.channel_records.shown(await services.channels.keeper.undo(repairs, by=call.actor.label))
    by, since = parameters.by, services.clock.now() - timedelta(minutes=parameters.minutes)
    call.entry.detail = f"what {by} did in the last {parameters.minutes:g} min"
    known = await services.channel_records.history(culprit_id=by, limit=1_000)
    things = {f"{one.key}:{one.drift}" for one in known if one.at >= since.timestamp()}

    def wanted(drift: Drift, survey: Survey) -> bool:
        return drift.thing in things or services.channels.is_doing_of(drift, by, since)

    done = await _look(call, wanted)
    if not done:
        raise ServiceError(
            f"{by} did nothing to the fleet's channels in the last {parameters.minutes:g} min that could be taken back",
            hint="`fleet channels history` shows who did what, as far as Discord's audit log says it",
        )
    return done


@operation("channels_capture", parameters=ChannelsCaptureParams, result=CapturedTree, permission=Permission.VIEW)
async def capture(call: Call[Services], parameters: ChannelsCaptureParams) -> CapturedTree:
    """Show channels.toml as it would be for the server as it is; writes nothing."""
    return await call.services.channels.showing.capture(parameters.categories)


async def _look(call: Call[Services], wanted: Wanted) -> list[ChannelRepairRow]:
    done = await call.services.channels.keeper.look(force=wanted, by=call.actor.label)
    return call.services.channel_records.shown(done)
