"""Operations that change or remove nodes of the fleet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, on_node, operation
from master.operations.parameters import EditParams, NodeParams, RemoveParams, RenameParams, SetTokenParams
from master.services.core.permissions import Permission
from master.services.core.views import EditView, OptionsView, RemovalView, RenameView, TokenView

if TYPE_CHECKING:
    from master.ledger.rows.records import Node
    from master.services.container import Services
    from master.services.onboarding.removal import RemovalRequest


@operation("plan_removal", parameters=RemoveParams, result=list[RemovalView], permission=Permission.VIEW)
async def plan_removal(call: Call[Services], parameters: RemoveParams) -> list[RemovalView]:
    """Tell what removing nodes would do."""
    services, request = call.services, _request(parameters)
    return [await services.removal.plan(node, request) for node in services.fleet.choose(parameters.names)]


@operation(
    "remove",
    parameters=RemoveParams,
    result=list[RemovalView],
    permission=Permission.OPERATE,
    audit=Audit.EACH_NODE,
    destructive=True,
)
async def remove(call: Call[Services], parameters: RemoveParams) -> list[RemovalView]:
    """Remove nodes from the fleet: stopped, licences revoked, tokens forgotten; their history stays."""
    request = _request(parameters)
    chosen = call.services.fleet.choose(parameters.names)
    removing = [asyncio.create_task(_remove_one(call, node, request)) for node in chosen]
    try:
        return list(await asyncio.gather(*removing))
    finally:
        # The caller hung up, or the master ends: what was begun ends in this task, which is waited for.
        await asyncio.gather(*removing, return_exceptions=True)


@operation(
    "set_token", parameters=SetTokenParams, result=TokenView, permission=Permission.OPERATE, audit=Audit.EACH_NODE
)
async def set_token(call: Call[Services], parameters: SetTokenParams) -> TokenView:
    """Replace a node's token, such as one that was reset; a node that should run starts with the new one."""
    from handshake.redaction import Secret

    services, node = call.services, call.services.directory.find(parameters.name)
    async with on_node(call, node) as entry:
        token = Secret(parameters.token)
        return await services.token_replacement.replace(entry, node, token, new_bot=parameters.new_bot)


@operation("options", parameters=NodeParams, result=OptionsView, permission=Permission.VIEW)
async def options(call: Call[Services], parameters: NodeParams) -> OptionsView:
    """Show what can be set of a node, and what is."""
    return call.services.editing.options(call.services.directory.find(parameters.name))


@operation("edit", parameters=EditParams, result=EditView, permission=Permission.OPERATE, audit=Audit.EACH_NODE)
async def edit(call: Call[Services], parameters: EditParams) -> EditView:
    """Change a node's entry, folder, tags, priority, limits or other options."""
    from master.services.onboarding.editing import EditRequest

    services, node = call.services, call.services.directory.find(parameters.name)
    request = EditRequest(
        entry=parameters.entry,
        folder=parameters.folder,
        tags=parameters.tags,
        priority=parameters.priority,
        options=parameters.options,
        restart=parameters.restart,
    )
    async with on_node(call, node) as entry:
        return await services.editing.edit(entry, node, request)


@operation("rename", parameters=RenameParams, result=RenameView, permission=Permission.OPERATE, audit=Audit.EACH_NODE)
async def rename(call: Call[Services], parameters: RenameParams) -> RenameView:
    """Rename a node; it keeps running, its folder stays, its logs and its history go with it."""
    services, node = call.services, call.services.directory.find(parameters.name)
    async with on_node(call, node) as entry:
        return await services.renaming.rename(entry, node, parameters.new_name)


def _request(parameters: RemoveParams) -> RemovalRequest:
    from master.services.onboarding.removal import RemovalRequest

    return RemovalRequest(fate=parameters.fate, foreign_folder=parameters.foreign_folder)


async def _remove_one(call: Call[Services], node: Node, request: RemovalRequest) -> RemovalView:
    from master.errors import FleetError

    try:
        async with on_node(call, node) as entry:
            found = await call.services.removal.remove(entry, node, request)
    except FleetError as error:
        found = RemovalView(
            node=node.name,
            ok=False,
            detail=error.message,
            hint=error.hint,
            code=error.code,
            exit_code=error.exit_code,
        )
    await call.tell(found)
    return found
