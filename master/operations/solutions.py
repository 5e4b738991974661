"""Operations on solutions: what they are, what they found, switching them, changing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, operation
from master.operations.parameters import (
    NoParams,
    SolutionChangeParams,
    SolutionDraftParams,
    SolutionEnableParams,
    SolutionParams,
    SolutionSaveParams,
    SolutionTestParams,
    SolutionVersionParams,
)
from master.services.core.permissions import Permission
from master.services.core.solution_views import (
    DraftView,
    SolutionDetails,
    SolutionHistory,
    SolutionSaved,
    SolutionsView,
    SolutionTest,
)

if TYPE_CHECKING:
    from master.services.container import Services


@operation("solutions", parameters=NoParams, result=SolutionsView, permission=Permission.VIEW)
async def listing(call: Call[Services], parameters: NoParams) -> SolutionsView:
    """Show all solutions and what they did, those in trouble first."""
    return await call.services.solutions.list()


@operation("solution_show", parameters=SolutionParams, result=SolutionDetails, permission=Permission.VIEW)
async def show(call: Call[Services], parameters: SolutionParams) -> SolutionDetails:
    """Show one solution: its text, its mode and why, its versions, its last runs."""
    return await call.services.solutions.show(parameters.id)


@operation("solution_history", parameters=SolutionParams, result=SolutionHistory, permission=Permission.VIEW)
async def history(call: Call[Services], parameters: SolutionParams) -> SolutionHistory:
    """Show the versions and the runs of a solution."""
    return await call.services.solutions.history(parameters.id)


@operation(
    "solution_test",
    parameters=SolutionTestParams,
    result=SolutionTest,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    follows=True,
)
async def test(call: Call[Services], parameters: SolutionTestParams) -> SolutionTest:
    """Test a solution on all that the fleet has stored; nothing is done about what it finds."""
    call.entry.detail = parameters.id or "a text that is not saved"
    found = await call.services.solutions.test(parameters.id, parameters.text, call.tell)
    call.entry.detail = f"{found.id}: {found.matched} lines in {found.read_bytes / 1e6:.1f} MB"
    return found


@operation("solution_draft", parameters=SolutionDraftParams, result=DraftView, permission=Permission.VIEW)
async def draft(call: Call[Services], parameters: SolutionDraftParams) -> DraftView:
    """Propose a solution for a group of errors; nothing is saved."""
    return await call.services.solutions.draft(parameters.fingerprint)


@operation(
    "solution_enable",
    parameters=SolutionEnableParams,
    result=SolutionSaved,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def enable(call: Call[Services], parameters: SolutionEnableParams) -> SolutionSaved:
    """Switch a solution on; one of the operator's only detects at first."""
    call.entry.detail = parameters.id
    done = await call.services.solutions.enable(
        parameters.id, now=parameters.now, why=parameters.why, actor=call.actor.label
    )
    call.entry.detail = _told(f"{done.id}: {done.mode}", parameters.why)
    return done


@operation(
    "solution_disable",
    parameters=SolutionChangeParams,
    result=SolutionSaved,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def disable(call: Call[Services], parameters: SolutionChangeParams) -> SolutionSaved:
    """Switch a solution off, until it is enabled again."""
    call.entry.detail = _told(parameters.id, parameters.why)
    return await call.services.solutions.disable(parameters.id, why=parameters.why, actor=call.actor.label)


@operation(
    "solution_save",
    parameters=SolutionSaveParams,
    result=SolutionSaved,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def save(call: Call[Services], parameters: SolutionSaveParams) -> SolutionSaved:
    """Save a text as a solution, or as the newest version of one; it only detects at first."""
    done = await call.services.solutions.save(parameters.text, why=parameters.why, actor=call.actor.label)
    call.entry.detail = _told(f"{done.id} version {done.version}", parameters.why)
    return done


@operation(
    "solution_take_back",
    parameters=SolutionVersionParams,
    result=SolutionSaved,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def take_back(call: Call[Services], parameters: SolutionVersionParams) -> SolutionSaved:
    """Make an earlier text of a solution the newest version."""
    call.entry.detail = _told(f"{parameters.id} to version {parameters.version}", parameters.why)
    return await call.services.solutions.take_back(
        parameters.id, parameters.version, why=parameters.why, actor=call.actor.label
    )


@operation(
    "solution_remove",
    parameters=SolutionChangeParams,
    result=SolutionSaved,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    destructive=True,
)
async def remove(call: Call[Services], parameters: SolutionChangeParams) -> SolutionSaved:
    """Remove a solution of the operator's; its versions and its runs stay."""
    call.entry.detail = _told(parameters.id, parameters.why)
    return await call.services.solutions.remove(parameters.id, why=parameters.why, actor=call.actor.label)


def _told(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what
