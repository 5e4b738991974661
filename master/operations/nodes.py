"""Operations on nodes: status, start, stop, restart and the like."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec import structs

from master.operations.operation import Audit, Call, on_node, operation
from master.operations.parameters import NamesParams, NodeParams, NoParams, RollParams, StatusParams
from master.services.core.permissions import Permission
from master.services.core.views import ActionResult, FleetStatus, LogPaths, MasterStatus, NodeHistoryView

if TYPE_CHECKING:
    from master.ledger.rows.records import Node
    from master.services.container import Services
    from master.services.fleet.fleet import Act


@operation("ping", parameters=NoParams, result=MasterStatus, permission=Permission.VIEW)
async def ping(call: Call[Services], parameters: NoParams) -> MasterStatus:
    """Return the master's own figures."""
    lifecycle = call.services.lifecycle
    return structs.replace(
        call.services.overview.master_status(),
        ending=lifecycle.is_ending,
        waits_for=lifecycle.awaited(),
        ends_within_s=lifecycle.ends_within_s,
    )


@operation("status", parameters=StatusParams, result=FleetStatus, permission=Permission.VIEW)
async def status(call: Call[Services], parameters: StatusParams) -> FleetStatus:
    """Show the fleet."""
    return await call.services.overview.status(strays=parameters.strays)


@operation("history", parameters=NodeParams, result=NodeHistoryView, permission=Permission.VIEW)
async def history(call: Call[Services], parameters: NodeParams) -> NodeHistoryView:
    """Show what a node used in the last minutes, hours and days."""
    return await call.services.overview.history(parameters.name)


@operation("logs", parameters=NamesParams, result=list[LogPaths], permission=Permission.VIEW)
async def logs(call: Call[Services], parameters: NamesParams) -> list[LogPaths]:
    """Return the paths of the nodes' log files."""
    return call.services.overview.log_paths(_chosen(call, parameters))


@operation(
    "start", parameters=NamesParams, result=list[ActionResult], permission=Permission.OPERATE, audit=Audit.EACH_NODE
)
async def start(call: Call[Services], parameters: NamesParams) -> list[ActionResult]:
    """Start nodes, also out of backoff or quarantine."""
    return await _act(call, parameters, _licensed(call, call.services.fleet.start))


@operation(
    "stop",
    parameters=NamesParams,
    result=list[ActionResult],
    permission=Permission.OPERATE,
    audit=Audit.EACH_NODE,
    destructive=True,
)
async def stop(call: Call[Services], parameters: NamesParams) -> list[ActionResult]:
    """Stop nodes; they stay stopped, over a reboot too."""
    return await _act(call, parameters, call.services.fleet.stop)


@operation(
    "restart", parameters=NamesParams, result=list[ActionResult], permission=Permission.OPERATE, audit=Audit.EACH_NODE
)
async def restart(call: Call[Services], parameters: NamesParams) -> list[ActionResult]:
    """Restart nodes gracefully; each resumes its predecessor's session with Discord."""
    chosen, left = _without_stopped(call, parameters)
    act = _audited(call, _licensed(call, call.services.fleet.restart))
    return await _send_each(call, call.services.fleet.act(act, chosen), left)


@operation(
    "roll",
    parameters=RollParams,
    result=list[ActionResult],
    permission=Permission.OPERATE,
    audit=Audit.EACH_NODE,
    audit_name="restart",
)
async def roll(call: Call[Services], parameters: RollParams) -> list[ActionResult]:
    """Restart nodes a few at a time; halt on the first that does not come back ready."""
    chosen, left = _without_stopped(call, parameters)
    act = _audited(call, _licensed(call, call.services.fleet.restart))
    return await _send_each(call, call.services.fleet.roll(act, chosen, width=parameters.width), left)


@operation(
    "kill",
    parameters=NamesParams,
    result=list[ActionResult],
    permission=Permission.OPERATE,
    audit=Audit.EACH_NODE,
    destructive=True,
)
async def kill(call: Call[Services], parameters: NamesParams) -> list[ActionResult]:
    """Kill nodes and all that they started, at once (SIGKILL); they stay stopped."""
    return await _act(call, parameters, call.services.fleet.kill)


@operation(
    "release", parameters=NamesParams, result=list[ActionResult], permission=Permission.OPERATE, audit=Audit.EACH_NODE
)
async def release(call: Call[Services], parameters: NamesParams) -> list[ActionResult]:
    """End the backoff or quarantine of nodes."""
    return await _act(call, parameters, call.services.fleet.release)


@operation(
    "clear", parameters=NamesParams, result=list[ActionResult], permission=Permission.OPERATE, audit=Audit.EACH_NODE
)
async def clear(call: Call[Services], parameters: NamesParams) -> list[ActionResult]:
    """Clear the flag of nodes."""
    fleet = call.services.fleet

    async def act(node: Node) -> bool:
        async with on_node(call, node) as entry:
            if node.flag_reason:
                entry.detail = f"{node.name}: {node.flag_reason}"
            recorded = await fleet.clear(node)
        return recorded and not entry.unrecorded

    return await _send_each(call, fleet.act(act, _chosen(call, parameters)))


@operation(
    "flush",
    parameters=NamesParams,
    result=list[ActionResult],
    permission=Permission.OPERATE,
    audit=Audit.EACH_NODE,
    destructive=True,
)
async def flush(call: Call[Services], parameters: NamesParams) -> list[ActionResult]:
    """Empty the logs of nodes, and remove their rotated files."""
    return await _act(call, parameters, call.services.log_flushing.flush)


@operation(
    "revoke",
    parameters=NodeParams,
    result=ActionResult,
    permission=Permission.OPERATE,
    audit=Audit.EACH_NODE,
    destructive=True,
)
async def revoke(call: Call[Services], parameters: NodeParams) -> ActionResult:
    """Revoke a node's licence, and stop the node; it starts no more until it is reinstated."""
    services, node = call.services, call.services.directory.find(parameters.name)
    async with on_node(call, node):
        await services.revocation.revoke(node, actor=call.actor)
        await services.fleet.stop(node)
    return ActionResult(node=node.name, ok=True, state=services.fleet.state_of(node.id))


@operation(
    "reinstate", parameters=NodeParams, result=ActionResult, permission=Permission.OPERATE, audit=Audit.EACH_NODE
)
async def reinstate(call: Call[Services], parameters: NodeParams) -> ActionResult:
    """Take the revocation of a node's licence back; the node stays stopped until it is started."""
    services, node = call.services, call.services.directory.find(parameters.name)
    async with on_node(call, node):
        await services.revocation.reinstate(node, actor=call.actor)
    return ActionResult(node=node.name, ok=True, state=services.fleet.state_of(node.id))


def _without_stopped(
    call: Call[Services], parameters: NamesParams | RollParams
) -> tuple[list[Node], list[ActionResult]]:
    """Return the nodes to restart, and what is said of those that are left out: of all, stopped ones stay stopped."""
    chosen = call.services.fleet.choose(parameters.names, everyone=parameters.all)
    if not parameters.all:
        return chosen, []
    return call.services.fleet.leave_stopped(chosen)


def _licensed(call: Call[Services], act: Act) -> Act:
    """Return the action for nodes whose licence is not revoked."""

    async def licensed(node: Node) -> bool:
        await call.services.revocation.require_licence(node)
        return await act(node)

    return licensed


def _chosen(call: Call[Services], parameters: NamesParams) -> list[Node]:
    return call.services.fleet.choose(parameters.names, everyone=parameters.all)


async def _act(call: Call[Services], parameters: NamesParams, act: Act) -> list[ActionResult]:
    return await _send_each(call, call.services.fleet.act(_audited(call, act), _chosen(call, parameters)))


def _audited(call: Call[Services], act: Act) -> Act:
    async def audited(node: Node) -> bool:
        async with on_node(call, node) as entry:
            recorded = await act(node)
        return recorded and not entry.unrecorded

    return audited


async def _send_each(
    call: Call[Services], coming: AsyncGenerator[ActionResult, None], before: Sequence[ActionResult] = ()
) -> list[ActionResult]:
    """Send each result to the caller as it arrives, after those that are known before; returns all results."""
    results = list(before)
    for known in before:
        await call.tell(known)
    # Closed here when the caller hangs up: what was begun ends in this task, which is waited for.
    async with aclosing(coming):
        async for result in coming:
            results.append(result)
            await call.tell(result)
    return results
