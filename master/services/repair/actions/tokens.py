"""The action that looks after a node's token.

A running process cannot have an older token than the vault (`fleet set-token` stops and starts the node), so what is
stale is the vault's own, or the session and login of the process.
"""

from __future__ import annotations

from master.services.core.errors import TokenRefused
from master.services.repair.actions.action import Acting, Action, Done, NoParameters
from master.services.repair.actions.quarantining import quarantine_node
from master.services.repair.actions.starting import require_identifies, require_startable, speaks, start_anew
from master.services.repair.errors import ActionFailed, ActionSkipped

REFUSED_HOURS = 24.0
"""A token that Discord refuses does not become good by itself: the node is tried once a day."""


async def _refresh(acting: Acting, parameters: NoParameters) -> Done:
    node = require_startable(acting, cured=True)
    if not speaks(node):
        raise ActionSkipped(f"{node.name} does not speak the protocol: it reads its token by itself")
    set_token = f"`fleet set-token {node.name}` gives it another"
    try:
        bot = await acting.tools.inspector.inspect(await acting.tools.launcher.token_of(node))
    except TokenRefused as error:
        await quarantine_node(acting, "Discord refuses its token", hours=REFUSED_HOURS)
        raise ActionFailed(f"Discord refuses the token of {node.name}: quarantined", hint=set_token) from error
    if bot.user_id != node.bot_user_id:
        raise ActionFailed(f"the token of {node.name} is another bot's, {bot.username} ({bot.user_id})", hint=set_token)
    await require_identifies(acting, node)
    node = require_startable(acting, cured=True)
    async with acting.audited("refresh_token") as entry:
        entry.detail = acting.title
        await start_anew(acting, node)
    return Done(detail="Discord accepts the vault's token; started anew with it", awaits_ready=True)


refresh_token = Action(
    name="refresh_token",
    summary="Ask Discord whether the vault's token is good; start the node with it, or quarantine it.",
    parameters=NoParameters,
    run=_refresh,
)
