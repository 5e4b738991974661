"""Operations on repairs: what solutions did, and an operator's answer to one that asks."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, Needs, operation
from master.operations.parameters import RepairDecideParams, RepairsParams
from master.services.core.errors import NoSuchNode
from master.services.core.permissions import Permission
from master.services.core.solution_views import RepairView

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from master.ledger.rows.records import SolutionRun
    from master.services.container import LedgerServices, Services


@operation("repairs", parameters=RepairsParams, result=list[RepairView], permission=Permission.VIEW, needs=Needs.LEDGER)
async def listing(call: Call[LedgerServices], parameters: RepairsParams) -> list[RepairView]:
    """Show what solutions did, newest first."""
    return await call.services.ledger.read(partial(_read, parameters))


@operation(
    "repair_decide",
    parameters=RepairDecideParams,
    result=RepairView,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
)
async def decide(call: Call[Services], parameters: RepairDecideParams) -> RepairView:
    """Carry out, or decline, a repair that asks."""
    call.entry.detail = f"{'do' if parameters.do else 'decline'} {parameters.run}"
    repair, directory = call.services.repair, call.services.directory
    run = await repair.decide(parameters.run, do=parameters.do, actor=call.actor)
    name = directory.name_of(run.node_id)
    call.entry.detail = f"{'do' if parameters.do else 'decline'} {run.action} on {name} ({run.solution_id})"
    return _view(run, name)


def _read(parameters: RepairsParams, connection: Connection) -> list[RepairView]:
    # Imported here: the command line loads this table, and no SQLAlchemy with it.
    from master.ledger.rows import nodes, solution_runs

    names = dict(nodes.names(connection))
    node_ids: list[str | None] = [None]
    if parameters.node:
        wanted = parameters.node.casefold()
        node_ids = [node_id for node_id, name in names.items() if wanted in (name.casefold(), node_id.casefold())]
        if not node_ids:
            raise NoSuchNode(f"there is no node called {parameters.node[:60]!r}", hint="`fleet status` lists them")
    since = datetime.fromtimestamp(parameters.since, UTC) if parameters.since else None
    runs = [
        run
        for node_id in node_ids
        for run in solution_runs.recent(
            connection,
            node_id=node_id,
            solution_id=parameters.solution or None,
            since=since,
            limit=parameters.limit,
        )
    ]
    newest = sorted(runs, key=lambda run: run.id, reverse=True)[: parameters.limit]
    return [_view(run, names.get(run.node_id, run.node_id)) for run in newest]


def _view(run: SolutionRun, name: str) -> RepairView:
    return RepairView(
        id=run.id,
        at=run.at.timestamp(),
        node=name,
        solution=run.solution_id,
        action=run.action,
        outcome=run.outcome,
        detail=run.detail,
        seen_in=run.seen_in,
        line=run.line,
        fingerprint=run.fingerprint,
        actor=run.actor,
        ready_ms=run.ready_ms,
        finished_at=None if run.finished_at is None else run.finished_at.timestamp(),
    )
