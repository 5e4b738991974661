"""Operations on announcements."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from master.operations.announcement_parameters import (
    AnnouncementParams,
    AnnouncementsParams,
    AnnounceParams,
    ResendParams,
)
from master.operations.operation import Audit, Call, operation
from master.operations.parameters import NoParams
from master.services.core.announcement_views import AnnouncementPreview, AnnouncementRow, PlaceRow
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.services.announcing.announcements import Draft
    from master.services.container import Services

FIRST_ROUND_S = 40.0
"""How long a caller waits for the first attempt at each place."""


@operation("announcements", parameters=AnnouncementsParams, result=list[AnnouncementRow], permission=Permission.VIEW)
async def listing(call: Call[Services], parameters: AnnouncementsParams) -> list[AnnouncementRow]:
    """Show announcements, newest first, and what became of them at each place."""
    states = ("scheduled",) if parameters.scheduled else ()
    return await call.services.announcing.announcements.listing(states=states, limit=parameters.limit)


@operation("announcement_show", parameters=AnnouncementParams, result=AnnouncementRow, permission=Permission.VIEW)
async def show(call: Call[Services], parameters: AnnouncementParams) -> AnnouncementRow:
    """Show an announcement, and what became of it at each place."""
    announcements = call.services.announcing.announcements
    return await announcements.row((await announcements.find(parameters.announcement)).id)


@operation("announcement_places", parameters=NoParams, result=list[PlaceRow], permission=Permission.VIEW)
async def places(call: Call[Services], parameters: NoParams) -> list[PlaceRow]:
    """Show the places that announcements can go to."""
    return await call.services.announcing.announcements.places()


@operation("announcement_preview", parameters=AnnounceParams, result=AnnouncementPreview, permission=Permission.VIEW)
async def preview(call: Call[Services], parameters: AnnounceParams) -> AnnouncementPreview:
    """Show an announcement as each place would get it."""
    return await call.services.announcing.announcements.preview(_draft(parameters))


@operation(
    "announce", parameters=AnnounceParams, result=AnnouncementRow, permission=Permission.OPERATE, audit=Audit.ONE_ROW
)
async def announce(call: Call[Services], parameters: AnnounceParams) -> AnnouncementRow:
    """Send an announcement to several places, now or at its time."""
    where = "all places" if parameters.all else ", ".join(parameters.places)
    call.entry.detail = f"{(parameters.title or parameters.text)[:60]!r} to {where}"[:300]
    announcements = call.services.announcing.announcements
    made = await announcements.write(_draft(parameters), actor=call.actor.label)
    call.entry.detail = f"{made.id}: {call.entry.detail}"
    if made.state == "scheduled":
        return await announcements.row(made.id)
    return await announcements.wait_for_first_round(made.id, timeout_s=FIRST_ROUND_S)


@operation(
    "announcement_cancel",
    parameters=AnnouncementParams,
    result=AnnouncementRow,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def cancel(call: Call[Services], parameters: AnnouncementParams) -> AnnouncementRow:
    """Cancel an announcement that waits, or stop trying where it did not arrive."""
    call.entry.detail = parameters.announcement
    return await call.services.announcing.announcements.cancel(parameters.announcement)


@operation(
    "announcement_resend",
    parameters=ResendParams,
    result=AnnouncementRow,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def resend(call: Call[Services], parameters: ResendParams) -> AnnouncementRow:
    """Send an announcement again where it did not arrive."""
    call.entry.detail = f"{parameters.announcement} to {', '.join(parameters.places) or 'where it was given up'}"[:300]
    announcements = call.services.announcing.announcements
    found = await announcements.resend(parameters.announcement, parameters.places)
    return await announcements.wait_for_first_round(found.id, timeout_s=FIRST_ROUND_S)


def _draft(parameters: AnnounceParams) -> Draft:
    # Imported where it is used: the command line loads this table too.
    from master.services.announcing.announcements import Draft

    return Draft(
        text=parameters.text,
        title=parameters.title,
        places=parameters.places,
        everywhere=parameters.all,
        at=datetime.fromtimestamp(parameters.at, UTC) if parameters.at else None,
        every=parameters.every,
    )
