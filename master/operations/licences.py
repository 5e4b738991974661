"""Operations on licences."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from master.operations.operation import Audit, Call, Needs, operation
from master.operations.parameters import (
    LicenceChangeParams,
    LicenceImportParams,
    LicenceIssueParams,
    LicenceParams,
    LicenceRedeemParams,
    LicenceRenewParams,
    LicencesParams,
    LicenceTransferParams,
    NoParams,
)
from master.services.core.licence_views import ImportedLicencesView, IssuedLicenceView, LicenceDetails, LicencesView
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.ledger.rows.records import Licence
    from master.services.container import LedgerServices, Services
    from master.services.core.actors import Actor


@operation(
    "licence_issue",
    parameters=LicenceIssueParams,
    result=IssuedLicenceView,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
    needs=Needs.LEDGER,
)
async def issue(call: Call[LedgerServices], parameters: LicenceIssueParams) -> IssuedLicenceView:
    """Issue a licence; its code is shown once."""
    call.entry.detail = f"{parameters.tier[:40]}"
    issued = await call.services.licences.issue(
        parameters.tier,
        actor=call.actor,
        holder_id=parameters.holder_id or None,
        days=parameters.days,
        note=parameters.note,
    )
    call.entry.detail = f"{issued.record.id}, {issued.record.tier}"
    details = call.services.licence_showing.details(issued.record)
    return IssuedLicenceView(licence=details, code=issued.code.reveal())


@operation(
    "licence_import",
    parameters=LicenceImportParams,
    result=ImportedLicencesView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    needs=Needs.LEDGER,
)
async def take_in(call: Call[LedgerServices], parameters: LicenceImportParams) -> ImportedLicencesView:
    """Issue the licences of a CSV file, all or none."""
    from master.services.people.licence_files import LicenceFileRefused, read_file

    services = call.services
    if call.actor.face not in ("cli", "system"):
        raise LicenceFileRefused("a file of licences is taken in on the box alone", hint="`fleet licence import FILE`")
    wanted = await asyncio.to_thread(read_file, parameters.path, services.licence_showing.tier_names)
    call.entry.detail = f"{len(wanted)} licences"
    made = await services.licences.take_in(wanted, actor=call.actor)
    views = [
        IssuedLicenceView(
            licence=services.licence_showing.details(one.record), code="" if row.redeemed else one.code.reveal()
        )
        for row, one in zip(wanted, made, strict=True)
    ]
    return ImportedLicencesView(licences=tuple(views))


@operation(
    "licence_show",
    parameters=LicenceParams,
    result=LicenceDetails,
    permission=Permission.MODERATE,
    needs=Needs.LEDGER,
)
async def show(call: Call[LedgerServices], parameters: LicenceParams) -> LicenceDetails:
    """Show a licence, who uses it, and what became of it."""
    return await call.services.licence_showing.show(parameters.licence)


@operation(
    "licences", parameters=LicencesParams, result=LicencesView, permission=Permission.MODERATE, needs=Needs.LEDGER
)
async def listing(call: Call[LedgerServices], parameters: LicencesParams) -> LicencesView:
    """Show licences, the newest first."""
    return await call.services.licence_showing.list(
        state=parameters.state,
        tier=parameters.tier,
        holder_id=parameters.holder_id or None,
        limit=parameters.limit,
        offset=parameters.offset,
    )


@operation("licence_mine", parameters=NoParams, result=LicencesView, permission=Permission.MEMBER)
async def mine(call: Call[LedgerServices], parameters: NoParams) -> LicencesView:
    """Show the caller's own licences."""
    return await call.services.licence_showing.of_person(_person_of(call.actor))


@operation("licence_redeem", parameters=LicenceRedeemParams, result=LicenceDetails, permission=Permission.MEMBER)
async def redeem(call: Call[Services], parameters: LicenceRedeemParams) -> LicenceDetails:
    """Redeem a licence code: for oneself, or as a moderator for somebody."""
    services, user_id = call.services, parameters.user_id or _person_of(call.actor)
    if user_id != _person_of(call.actor):
        await services.auditor.authorise(call.actor, Permission.MODERATE, "licence_redeem")
    # A wrong code leaves no row in the audit log, which whoever guesses could fill; it is counted, and told once.
    code_hash = services.licences.read_code(parameters.code, user_id=_person_of(call.actor))
    async with services.auditor.action(call.actor, "licence_redeem") as entry:
        entry.detail = f"for {user_id}"
        redeemed = await services.licences.redeem_hash(
            code_hash, user_id=user_id, guild_id=parameters.guild_id, actor=call.actor
        )
        entry.detail = f"{redeemed.id} for {user_id}"
    return services.licence_showing.details(redeemed)


def _person_of(actor: Actor) -> int:
    """Return the Discord user who calls; 0 for anybody else."""
    return int(actor.identity) if actor.face in ("discord", "web") and actor.identity.isdecimal() else 0


@operation(
    "licence_renew",
    parameters=LicenceRenewParams,
    result=LicenceDetails,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
)
async def renew(call: Call[Services], parameters: LicenceRenewParams) -> LicenceDetails:
    """Renew a licence: from its end on, or from now if it is over with its grace."""
    licence = await _found(call, parameters.licence)
    renewed = await call.services.licences.change(
        licence.id, "renew", actor=call.actor, days=parameters.days, why=parameters.why
    )
    until = "for ever" if renewed.expires_at is None else f"until {renewed.expires_at:%Y-%m-%d}"
    call.entry.detail = f"{renewed.id} {until}"
    return call.services.licence_showing.details(renewed)


@operation(
    "licence_suspend",
    parameters=LicenceChangeParams,
    result=LicenceDetails,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
)
async def suspend(call: Call[Services], parameters: LicenceChangeParams) -> LicenceDetails:
    """Suspend a licence until it is reinstated."""
    licence = await _found(call, parameters.licence)
    changed = await call.services.licences.change(licence.id, "suspend", actor=call.actor, why=parameters.why)
    return call.services.licence_showing.details(changed)


@operation(
    "licence_reinstate",
    parameters=LicenceChangeParams,
    result=LicenceDetails,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
)
async def reinstate(call: Call[Services], parameters: LicenceChangeParams) -> LicenceDetails:
    """Reinstate a licence that was suspended or revoked."""
    licence = await _found(call, parameters.licence)
    changed = await call.services.licences.change(licence.id, "reinstate", actor=call.actor, why=parameters.why)
    return call.services.licence_showing.details(changed)


@operation(
    "licence_revoke",
    parameters=LicenceChangeParams,
    result=LicenceDetails,
    permission=Permission.MODERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def revoke(call: Call[Services], parameters: LicenceChangeParams) -> LicenceDetails:
    """Revoke a licence: whoever uses it has none from the same moment on."""
    licence = await _found(call, parameters.licence)
    changed = await call.services.licences.change(licence.id, "revoke", actor=call.actor, why=parameters.why)
    return call.services.licence_showing.details(changed)


async def _found(call: Call[Any], wanted: str) -> Licence:
    """Return the licence that is meant; of a bot's own one only who operates the fleet may dispose."""
    call.entry.detail = wanted
    licence: Licence = await call.services.licences.find(wanted)
    call.entry.detail, call.entry.node_id = licence.id, licence.node_id
    if licence.node_id is not None:
        call.services.permissions.require(call.actor, Permission.OPERATE, call.operation.audit_name)
    return licence


@operation("licence_transfer", parameters=LicenceTransferParams, result=LicenceDetails, permission=Permission.MEMBER)
async def transfer(call: Call[Services], parameters: LicenceTransferParams) -> LicenceDetails:
    """Pass a licence on to somebody: one's own, or as a moderator anybody's."""
    services = call.services
    may_all = services.permissions.allow(call.actor, Permission.MODERATE)
    held_by = None if may_all else _person_of(call.actor)
    licence = await services.licences.find_for(parameters.licence, user_id=held_by)
    async with services.auditor.action(call.actor, "licence_transfer") as entry:
        entry.detail = f"{licence.id} to {parameters.user_id}"
        passed = await services.licences.transfer(
            licence.id, to_user_id=parameters.user_id, actor=call.actor, held_by=held_by, limited=not may_all
        )
    return services.licence_showing.details(passed)
