"""Whether an action may start a node's process anew, and how: as an operator would, and never against one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from master.ledger.rows.records import DesiredState, Node, ReadinessKind
from master.services.repair.actions.action import Acting
from master.services.repair.errors import ActionSkipped
from master.supervision.states import NodeState
from nodekit.identify_budget import DAILY_IDENTIFIES, IdentifyBudgetSpent, open_budget

LOW_BUDGET = 100
"""IDENTIFYs of a day that are left to restarts that nobody decides: an action does not take the last ones."""


def require_wanted(acting: Acting) -> Node:
    """Return the node as it is now; it is to run, as far as operators are concerned.

    Raises
    ------
    ActionSkipped
        It was removed, or stopped.
    """
    node = _require_desired(acting)
    # What an operator asks for holds in the supervisor before it is on record.
    if not acting.tools.supervisor.is_wanted(node.id):
        raise _stopped(node)
    return node


def _require_desired(acting: Acting) -> Node:
    node = acting.tools.directory.get(acting.node.id)
    if node is None:
        raise ActionSkipped(f"{acting.node.name} was removed")
    if node.desired_state is not DesiredState.RUNNING:
        raise _stopped(node)
    return node


def _stopped(node: Node) -> ActionSkipped:
    return ActionSkipped(f"{node.name} was stopped by an operator", hint=f"`fleet start {node.name}`")


def require_startable(acting: Acting, *, cured: bool = False) -> Node:
    """Return the node as it is now; its process may be replaced, or started.

    Parameters
    ----------
    cured
        The action removes why it failed: neither a quarantine nor a start that began without it is in the way.

    Raises
    ------
    ActionSkipped
        It is stopped, or waits for something that a restart does not bring nearer, or starts already.
    """
    node = require_wanted(acting)
    view = acting.tools.supervisor.view(node.id)
    match view.state:
        case NodeState.STARTING | NodeState.STOPPING if not cured:
            raise ActionSkipped(f"{node.name} is being restarted already")
        case NodeState.QUARANTINED if not cured:
            raise ActionSkipped(f"{node.name} is quarantined", hint=f"`fleet release {node.name}` starts it")
        case NodeState.MISSING:
            raise ActionSkipped(f"{node.name} has no folder or program: {view.detail}")
        case NodeState.OFFLINE if view.pid is None:
            raise ActionSkipped(f"{node.name} waits for Discord, and starts when it is back")
        case _:
            return node


async def start_anew(acting: Acting, node: Node) -> None:
    """Stop a node and start it without its gateway session: it identifies. Its desired state stays ``running``.

    Raises
    ------
    ActionSkipped
        An operator stopped it meanwhile.
    FleetError
        It could not be started.
    """
    tools = acting.tools
    await tools.supervisor.stop(node.id)
    await asyncio.to_thread((tools.settings().sessions_dir / node.id).unlink, missing_ok=True)
    # In the supervisor it is stopped now, by this; what an operator asked for is on record.
    _require_desired(acting)
    await tools.supervisor.start(node.id)


async def require_identifies(acting: Acting, node: Node) -> None:
    """Check that the bot has IDENTIFYs to spare today.

    Raises
    ------
    ActionSkipped
        Too few are left.
    """
    path = acting.tools.settings().identifies_dir / str(node.bot_user_id)
    left = await asyncio.to_thread(_identifies_left, path) if node.bot_user_id else DAILY_IDENTIFIES
    if left < LOW_BUDGET:
        raise ActionSkipped(
            f"{node.name} has {left} of its {DAILY_IDENTIFIES} IDENTIFYs left for today, and keeps those for crashes"
        )


def _identifies_left(path: Path) -> int:
    budget = open_budget(path)
    try:
        return budget.check()
    except IdentifyBudgetSpent:
        return 0
    finally:
        budget.close()


def speaks(node: Node) -> bool:
    """Tell whether a node speaks the protocol: it keeps a gateway session, and takes orders."""
    return node.readiness is ReadinessKind.HANDSHAKE
