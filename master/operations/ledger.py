"""Operations on the ledger as a whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, Needs, operation
from master.operations.parameters import ArchiveParams, AuditParams, BackupParams, LedgerParams, MigrateParams, NoParams
from master.services.core.permissions import Permission
from master.services.core.views import (
    AcknowledgedView,
    AuditView,
    BackupView,
    LedgerStatus,
    MigrationView,
    RestoreView,
    RotationView,
    Soundness,
)

if TYPE_CHECKING:
    from master.operations.alone import HomeServices
    from master.services.container import LedgerServices


@operation("audit", parameters=AuditParams, result=list[AuditView], permission=Permission.VIEW, needs=Needs.LEDGER)
async def audit(call: Call[LedgerServices], parameters: AuditParams) -> list[AuditView]:
    """Show the latest actions, newest first."""
    admin = call.services.ledger_admin
    return list(await admin.audit(limit=parameters.limit, node=parameters.node, action=parameters.action))


@operation("audit_verify", parameters=NoParams, result=Soundness, permission=Permission.VIEW, needs=Needs.LEDGER)
async def verify_audit(call: Call[LedgerServices], parameters: NoParams) -> Soundness:
    """Check that no row of the audit log was altered or removed."""
    return await call.services.ledger_admin.verify_audit()


@operation(
    "audit_acknowledge",
    parameters=NoParams,
    result=AcknowledgedView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
    needs=Needs.LEDGER,
)
async def acknowledge_audit(call: Call[LedgerServices], parameters: NoParams) -> AcknowledgedView:
    """End the alarm about a cut audit log; what was missing stays on record."""
    return await call.services.ledger_admin.acknowledge(call.entry)


@operation(
    "ledger_status", parameters=LedgerParams, result=LedgerStatus, permission=Permission.VIEW, needs=Needs.LEDGER
)
async def status(call: Call[LedgerServices], parameters: LedgerParams) -> LedgerStatus:
    """Show what the ledger holds."""
    return await call.services.ledger_admin.status(exact=parameters.exact)


@operation("ledger_verify", parameters=NoParams, result=Soundness, permission=Permission.VIEW, needs=Needs.LEDGER)
async def verify(call: Call[LedgerServices], parameters: NoParams) -> Soundness:
    """Check the file, its references, and the audit log's chain."""
    return await call.services.ledger_admin.verify()


@operation(
    "backup",
    parameters=BackupParams,
    result=BackupView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    needs=Needs.LEDGER,
)
async def backup(call: Call[LedgerServices], parameters: BackupParams) -> BackupView:
    """Write the whole ledger into one file while the fleet goes on."""
    made = await call.services.ledger_admin.back_up(parameters.path)
    call.entry.detail = parameters.part_of or made.path
    return made


@operation(
    "rotate_secret",
    parameters=NoParams,
    result=RotationView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
    needs=Needs.LEDGER,
)
async def rotate_secret(call: Call[LedgerServices], parameters: NoParams) -> RotationView:
    """Replace MASTER_SECRET; a running master restarts with it, its nodes keep running."""
    rotated = await call.services.rotation.rotate(call.entry)
    call.afterwards.append(call.services.lifecycle.begin_anew)
    return rotated


@operation(
    "restore",
    parameters=ArchiveParams,
    result=RestoreView,
    permission=Permission.OPERATE,
    destructive=True,
    needs=Needs.STOPPED,
)
async def restore(call: Call[HomeServices], parameters: ArchiveParams) -> RestoreView:
    """Replace the ledger by a backup; the current one is kept beside it."""
    from master.services.upkeep.restoring import restore as put_back

    home, path = call.services, Path(parameters.path)
    async with home.noting_failure(call):
        found = await asyncio.to_thread(put_back, home.settings, path, at=home.clock.now())
    await home.note(call, f"{path.name}: {found.rows} rows", replaced=True)
    return found


@operation("import", parameters=ArchiveParams, result=RestoreView, permission=Permission.OPERATE, needs=Needs.STOPPED)
async def import_archive(call: Call[HomeServices], parameters: ArchiveParams) -> RestoreView:
    """Fill an empty ledger from a file, and compare counts and hashes."""
    from master.services.upkeep.restoring import import_into

    path = Path(parameters.path)
    async with call.services.noting_failure(call):
        found = await asyncio.to_thread(import_into, call.services.settings, path)
    await call.services.note(call, f"{path.name}: {found.rows} rows", replaced=True)
    return found


@operation(
    "migrate",
    parameters=MigrateParams,
    result=MigrationView,
    permission=Permission.OPERATE,
    destructive=True,
    needs=Needs.STOPPED,
)
async def migrate(call: Call[HomeServices], parameters: MigrateParams) -> MigrationView:
    """Bring the schema up to date, or back; a copy is kept."""
    from master.ledger.schema.migrations import HEAD_REVISION, migrate_to

    wanted = parameters.to or HEAD_REVISION
    async with call.services.noting_failure(call):
        kept = await asyncio.to_thread(migrate_to, call.services.settings.database, wanted)
    if kept or wanted != HEAD_REVISION:
        await call.services.note(call, f"to {wanted}")
    return MigrationView(revision=wanted, kept=kept)
