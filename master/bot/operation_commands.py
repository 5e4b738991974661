"""Which operation a slash command carries out: it decides who may use the command, and who sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import discord
from discord import app_commands

from master.operations.operation import Operation
from master.services.core.permissions import Permission

AnyOperation = Operation[Any, Any, Any]
C = TypeVar("C", bound="app_commands.Command[Any, ..., Any]")

_OPERATION = "operation"

_SEEN_BY: dict[Permission, discord.Permissions | None] = {
    Permission.OPERATE: discord.Permissions(manage_guild=True),
    Permission.VIEW: discord.Permissions(manage_guild=True),
    Permission.MODERATE: discord.Permissions(manage_messages=True),
    Permission.MEMBER: None,
}
"""Discord knows nothing of the fleet's permissions: these people see a command, unless the server's own settings
(Integrations) say otherwise. What they may do with it the operation decides."""


def seen_by(permission: Permission) -> discord.Permissions | None:
    """Return the Discord permissions with which people see commands of ``permission``; None: everybody does.

    Source: https://discord.com/developers/docs/interactions/application-commands#permissions
    """
    return _SEEN_BY[permission]


def carries_out(operation: AnyOperation) -> Callable[[C], C]:
    """Make a slash command the face of an operation."""

    def decorate(command: C) -> C:
        command.extras[_OPERATION] = operation
        if command.parent is None:
            command.default_permissions = seen_by(operation.permission)
            command.guild_only = True
        return command

    return decorate


def operation_of(command: Any) -> AnyOperation:
    """Return the operation behind a command.

    Raises
    ------
    LookupError
        It has none: nobody would know who may use it.
    """
    operation = getattr(command, "extras", {}).get(_OPERATION)
    if not isinstance(operation, Operation):
        raise LookupError(f"the command {getattr(command, 'qualified_name', command)!r} carries out no operation")
    return operation
