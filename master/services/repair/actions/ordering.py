"""Actions that the node carries out itself, by a signed order."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from master.services.repair.actions.action import Acting, Action, ActionParameters, Done, NoParameters
from master.services.repair.errors import ActionSkipped


class CogParameters(ActionParameters, frozen=True):
    """Which cog."""

    cog: Annotated[str, Meta(min_length=1, max_length=100)]
    """The name of its file without ``.py``, or of its extension (``cogs.music``); usually ``{cog}``."""


async def _reload(acting: Acting, parameters: CogParameters) -> Done:
    raise ActionSkipped(f"{acting.node.name} takes no orders yet")


async def _disable(acting: Acting, parameters: CogParameters) -> Done:
    raise ActionSkipped(f"{acting.node.name} takes no orders yet")


async def _sync(acting: Acting, parameters: NoParameters) -> Done:
    raise ActionSkipped(f"{acting.node.name} takes no orders yet")


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
