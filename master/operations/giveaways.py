"""Operations on giveaways: those of moderators, and those of everybody on the server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from master.errors import FleetError
from master.operations.giveaway_parameters import (
    GiveawayCancelParams,
    GiveawayEditParams,
    GiveawayEnterParams,
    GiveawayParams,
    GiveawayRerollParams,
    GiveawaysParams,
    GiveawayStartParams,
)
from master.operations.operation import Audit, Call, Needs, operation
from master.services.core.giveaway_views import (
    ClaimView,
    DrawView,
    EntryView,
    GiveawayDetails,
    GiveawaysView,
    GiveawayView,
)
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.services.container import LedgerServices, Services
    from master.services.core.actors import Actor
    from master.services.people.giveaways import Giveaways


@operation(
    "giveaways", parameters=GiveawaysParams, result=GiveawaysView, permission=Permission.MEMBER, needs=Needs.LEDGER
)
async def listing(call: Call[LedgerServices], parameters: GiveawaysParams) -> GiveawaysView:
    """Show giveaways, the latest first."""
    guild_id = _guild(call.actor, parameters.guild_id)
    return await call.services.giveaway_records.list(guild_id, parameters.limit)


@operation(
    "giveaway_show",
    parameters=GiveawayParams,
    result=GiveawayDetails,
    permission=Permission.MEMBER,
    needs=Needs.LEDGER,
)
async def show(call: Call[LedgerServices], parameters: GiveawayParams) -> GiveawayDetails:
    """Show one giveaway: who may enter, how many have, who won each draw."""
    records = call.services.giveaway_records
    found = await records.find(_guild(call.actor, parameters.guild_id), parameters.giveaway)
    return await records.details(found.id)


@operation(
    "giveaway_verify", parameters=GiveawayParams, result=DrawView, permission=Permission.MEMBER, needs=Needs.LEDGER
)
async def verify(call: Call[LedgerServices], parameters: GiveawayParams) -> DrawView:
    """Recompute the draws of a giveaway, and return the file from which anybody can."""
    records = call.services.giveaway_records
    return await records.draw(await records.find(_guild(call.actor, parameters.guild_id), parameters.giveaway))


@operation(
    "giveaway_start",
    parameters=GiveawayStartParams,
    result=GiveawayView,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
)
async def start(call: Call[Services], parameters: GiveawayStartParams) -> GiveawayView:
    """Start a giveaway, or schedule it."""
    # Imported here: the command line, which never starts one, loads this table too.
    from master.services.people.giveaways import Wanted

    wanted = Wanted(
        guild_id=parameters.guild_id,
        channel_id=parameters.channel_id,
        started_by=_user_id(call.actor),
        prize=parameters.prize,
        duration_s=parameters.duration_s,
        winners=parameters.winners,
        description=parameters.description,
        rules=parameters.rules,
        prize_tier=parameters.prize_tier,
        claim_s=parameters.claim_s,
        starts_in_s=parameters.starts_in_s,
    )
    return await _giveaways(call).start(call.entry, wanted)


@operation(
    "giveaway_edit",
    parameters=GiveawayEditParams,
    result=GiveawayView,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
)
async def edit(call: Call[Services], parameters: GiveawayEditParams) -> GiveawayView:
    """Change a giveaway that is not over: its prize, description, winners or end."""
    call.entry.detail = parameters.giveaway
    return await _giveaways(call).edit(
        _guild(call.actor, parameters.guild_id),
        parameters.giveaway,
        call.actor,
        prize=parameters.prize,
        description=parameters.description,
        winners=parameters.winners,
        ends_in_s=parameters.ends_in_s,
    )


@operation(
    "giveaway_end",
    parameters=GiveawayParams,
    result=GiveawayDetails,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def end(call: Call[Services], parameters: GiveawayParams) -> GiveawayDetails:
    """End a giveaway now, and draw its winners."""
    call.entry.detail = parameters.giveaway
    guild_id = _guild(call.actor, parameters.guild_id)
    return await _giveaways(call).end(guild_id, parameters.giveaway, call.actor)


@operation(
    "giveaway_cancel",
    parameters=GiveawayCancelParams,
    result=GiveawayDetails,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def cancel(call: Call[Services], parameters: GiveawayCancelParams) -> GiveawayDetails:
    """Cancel a giveaway: nobody wins it."""
    call.entry.detail = _told(parameters.giveaway, parameters.why)
    guild_id = _guild(call.actor, parameters.guild_id)
    return await _giveaways(call).cancel(guild_id, parameters.giveaway, call.actor, why=parameters.why)


@operation(
    "giveaway_reroll",
    parameters=GiveawayRerollParams,
    result=GiveawayDetails,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def reroll(call: Call[Services], parameters: GiveawayRerollParams) -> GiveawayDetails:
    """Draw again for one winner or for all; who has won before is left out."""
    call.entry.detail = _told(parameters.giveaway, parameters.why)
    return await _giveaways(call).reroll(
        _guild(call.actor, parameters.guild_id),
        parameters.giveaway,
        call.actor,
        user_id=parameters.user_id,
        why=parameters.why,
    )


@operation("giveaway_enter", parameters=GiveawayEnterParams, result=EntryView, permission=Permission.MEMBER)
async def enter(call: Call[Services], parameters: GiveawayEnterParams) -> EntryView:
    """Enter a giveaway; a second time is no second entry."""
    from master.services.people.giveaway_rules import Entrant

    joined_at = datetime.fromtimestamp(parameters.joined_at, UTC) if parameters.joined_at else None
    entrant = Entrant(user_id=_user_id(call.actor), role_ids=call.actor.role_ids, joined_at=joined_at)
    return await _giveaways(call).enter(parameters.guild_id, parameters.giveaway, entrant)


@operation("giveaway_leave", parameters=GiveawayParams, result=EntryView, permission=Permission.MEMBER)
async def leave(call: Call[Services], parameters: GiveawayParams) -> EntryView:
    """Leave a giveaway that one has entered."""
    return await _giveaways(call).leave(parameters.guild_id, parameters.giveaway, _user_id(call.actor))


@operation("giveaway_claim", parameters=GiveawayParams, result=ClaimView, permission=Permission.MEMBER)
async def claim(call: Call[Services], parameters: GiveawayParams) -> ClaimView:
    """Claim what one has won; the code of a licence is shown only now."""
    return await _giveaways(call).claim(parameters.guild_id, parameters.giveaway, _user_id(call.actor))


def _giveaways(call: Call[Services]) -> Giveaways:
    found = call.services.giveaways
    if found is None:
        raise FleetError("this master has no connection to Discord", hint="MASTER_TOKEN in .env is its bot's token")
    return found


def _guild(actor: Actor, guild_id: int) -> int:
    """Return the server that is meant: on Discord always the one where it was asked."""
    if not guild_id and actor.face not in ("cli", "system"):
        raise FleetError("giveaways are of a server: ask on one")
    return guild_id


def _user_id(actor: Actor) -> int:
    if actor.face not in ("discord", "web") or not actor.identity.isdecimal():
        raise FleetError("this is for people on Discord", hint="use the buttons and `/giveaway` there")
    return int(actor.identity)


def _told(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what
