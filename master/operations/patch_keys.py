"""Operations on the keys of authors whose patches are accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, Needs, operation
from master.operations.parameters import NoParams, PatchKeyAddParams, PatchKeyRevokeParams
from master.services.core.patch_key_views import PatchKeysView, PatchKeyView
from master.services.core.permissions import Permission

if TYPE_CHECKING:
    from master.services.container import LedgerServices


@operation("patch_keys", parameters=NoParams, result=PatchKeysView, permission=Permission.VIEW, needs=Needs.LEDGER)
async def listing(call: Call[LedgerServices], parameters: NoParams) -> PatchKeysView:
    """Show whose patches are accepted, what is in force of each key, and which keys were revoked."""
    return await call.services.patch_keys.list()


@operation(
    "patch_key_add",
    parameters=PatchKeyAddParams,
    result=PatchKeyView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    needs=Needs.LEDGER,
)
async def add(call: Call[LedgerServices], parameters: PatchKeyAddParams) -> PatchKeyView:
    """Accept patches that are signed with a key; on the box alone."""
    call.entry.detail = parameters.name
    added = await call.services.patch_keys.add(parameters.line, name=parameters.name, actor=call.actor)
    call.entry.detail = f"{added.name}: {added.id} ({added.kind})"
    return added


@operation(
    "patch_key_revoke",
    parameters=PatchKeyRevokeParams,
    result=PatchKeyView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    needs=Needs.LEDGER,
    destructive=True,
)
async def revoke(call: Call[LedgerServices], parameters: PatchKeyRevokeParams) -> PatchKeyView:
    """Accept nothing more that is signed with a key; what is deployed stays, and is named."""
    call.entry.detail = parameters.key
    revoked = await call.services.patch_keys.revoke(parameters.key, why=parameters.why, actor=call.actor)
    why = f": {parameters.why}" if parameters.why else ""
    call.entry.detail = f"{revoked.name}: {revoked.id}{why}"
    return revoked
