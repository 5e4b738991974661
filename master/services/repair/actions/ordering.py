"""Actions that the node carries out itself, by a signed order."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from handshake.messages import OrderKind
from master.services.repair.actions.action import Acting, Action, ActionParameters, Done, NoParameters
from master.services.repair.actions.starting import require_wanted, speaks
from master.services.repair.errors import ActionSkipped
from master.supervision.states import NodeState
from master.wording import visible

_COG = re.compile(r"[A-Za-z_]\w{0,63}(\.[A-Za-z_]\w{0,63}){0,4}", re.ASCII)
"""A module's name; the node looks it up among the cogs that it has."""
_ANSWERS = frozenset({NodeState.READY, NodeState.DEGRADED})


class CogParameters(ActionParameters, frozen=True):
    """Which cog."""

    cog: Annotated[str, Meta(min_length=1, max_length=100)]
    """The name of its file without ``.py``, or of its extension (``cogs.music``); usually ``{cog}``."""


async def _reload(acting: Acting, parameters: CogParameters) -> Done:
    return await _order(acting, "reload_cog", _checked(parameters.cog))


async def _disable(acting: Acting, parameters: CogParameters) -> Done:
    return await _order(acting, "disable_cog", _checked(parameters.cog))


async def _sync(acting: Acting, parameters: NoParameters) -> Done:
    return await _order(acting, "sync_commands", "")


def _checked(cog: str) -> str:
    if _COG.fullmatch(cog) is None:
        raise ActionSkipped(f"{visible(cog)[:100]!r} is no name of a cog")
    return cog


async def _order(acting: Acting, kind: OrderKind, argument: str) -> Done:
    node = require_wanted(acting)
    if not speaks(node):
        raise ActionSkipped(f"{node.name} does not speak the protocol: it takes no orders")
    if acting.tools.settings().handshake.transport == "channel":
        raise ActionSkipped("orders go over the local socket, and TRANSPORT is 'channel': an answer would take minutes")
    state = acting.tools.supervisor.view(node.id).state
    if state not in _ANSWERS:
        raise ActionSkipped(f"{node.name} is {state.value}: it takes orders while it runs")
    async with acting.audited(kind) as entry:
        entry.detail = argument
        return Done(detail=await acting.tools.orders.send(node, kind, argument))


reload_cog = Action(
    name="reload_cog",
    summary="Load one cog of the node again; the bot runs on.",
    parameters=CogParameters,
    run=_reload,
)

disable_cog = Action(
    name="disable_cog",
    summary="Unload one cog of the node, and keep it off until its file changes; the bot runs on.",
    parameters=CogParameters,
    run=_disable,
)

sync_commands = Action(
    name="sync_commands",
    summary="Register the node's slash commands with Discord again.",
    parameters=NoParameters,
    run=_sync,
)
