"""Actions that start a node's process anew."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

from msgspec import Meta

from master.services.repair.actions.action import Acting, Action, ActionParameters, Done, NoParameters
from master.services.repair.actions.paths import PathRefused, owners_of
from master.services.repair.actions.starting import (
    require_identifies,
    require_startable,
    speaks,
    start_anew,
)
from master.services.repair.errors import ActionSkipped
from master.wording import visible

_SHOWN = 120
"""Characters of a foreign path that are shown."""


class RestartParameters(ActionParameters, frozen=True):
    """How a node is restarted."""

    delay_s: Annotated[float, Meta(ge=0, le=3_600)] = 0.0


class PathParameters(ActionParameters, frozen=True):
    """Whose program wrote a traceback."""

    path: Annotated[str, Meta(min_length=1, max_length=4_096)]
    """A path out of a traceback, usually ``{path}``."""


async def _restart(acting: Acting, parameters: RestartParameters) -> Done:
    if parameters.delay_s:
        require_startable(acting)
        await asyncio.sleep(parameters.delay_s)
    return await restart_now(acting)


async def restart_now(acting: Acting, *, why: str = "", cured: bool = False) -> Done:
    """Restart a node that is to run, also out of a backoff; without writing a desired state.

    Raises
    ------
    ActionSkipped
        Its process must not be started now.
    FleetError
        It could not be started.
    """
    node = require_startable(acting, cured=cured)
    async with acting.audited("restart") as entry:
        entry.detail = why or acting.title
        # Not through Fleet: that would set it to running, and an operator may be stopping it in this very moment.
        await acting.tools.supervisor.restart(node.id)
    return Done(detail="restarted", awaits_ready=True)


async def _restart_by_path(acting: Acting, parameters: PathParameters) -> Done:
    """Restart the node whose folder a path lies in, which has to be the one that wrote the path.

    A line in a log is what its node makes it: were another node restarted for it, any bot that writes what its users
    type could be made to restart all others. Of nodes that share a folder, it is the one that wrote the line.
    """
    shown = visible(parameters.path)[:_SHOWN]
    try:
        owners = owners_of(parameters.path, await asyncio.to_thread(_folders, acting))
    except PathRefused as error:
        raise ActionSkipped(f"{shown!r} names no node: {error}") from error
    if acting.node.id not in owners:
        other = ", ".join(sorted(map(acting.tools.directory.name_of, owners)))
        whose = f"lies in the folder of {other}" if other else "lies in no node's folder"
        raise ActionSkipped(f"{shown!r} {whose}, and {acting.node.name} wrote it: only its own folder counts")
    return await restart_now(acting)


def _folders(acting: Acting) -> list[tuple[str, str]]:
    """Return the folders of all nodes as they are named, and as a traceback names them if there are links. Blocks."""
    tools = acting.tools
    named = [(node.id, str(tools.launcher.folder_of(node))) for node in tools.directory]
    return [*named, *((node_id, os.path.realpath(folder)) for node_id, folder in named)]


async def _fresh_identify(acting: Acting, parameters: NoParameters) -> Done:
    await require_identifies(acting, require_startable(acting))
    node = require_startable(acting)
    if not speaks(node):
        # It keeps no session: each of its starts is an IDENTIFY.
        return await restart_now(acting)
    async with acting.audited("fresh_identify") as entry:
        entry.detail = acting.title
        await start_anew(acting, node)
    return Done(detail="its gateway session is forgotten; it identifies anew", awaits_ready=True)


restart = Action(
    name="restart",
    summary="Restart the node, after a delay if one is given.",
    parameters=RestartParameters,
    run=_restart,
)

restart_bot_by_path = Action(
    name="restart_bot_by_path",
    summary="Restart the node whose folder a traceback names, if it wrote the traceback itself.",
    parameters=PathParameters,
    run=_restart_by_path,
)

fresh_identify = Action(
    name="fresh_identify",
    summary="Forget the node's gateway session, and start it with an IDENTIFY, within its budget.",
    parameters=NoParameters,
    run=_fresh_identify,
)
