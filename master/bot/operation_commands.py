"""Links slash commands to operations, whose permission decides who may use and see a command."""

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
"""Who sees a command, by Discord permission; the server's settings (Integrations) can override it. The operation itself
is authorised separately."""


def seen_by(permission: Permission) -> discord.Permissions | None:
    """Return the Discord permissions needed to see commands of ``permission``; None: everyone sees them.

    Source: https://discord.com/developers/docs/interactions/application-commands#permissions
    """
    return _SEEN_BY[permission]


def carries_out(operation: AnyOperation) -> Callable[[C], C]:
    """Link a slash command to the operation that it runs."""

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
        It has none, so it could not be authorised.
    """
    operation = getattr(command, "extras", {}).get(_OPERATION)
    if not isinstance(operation, Operation):
        raise LookupError(f"the command {getattr(command, 'qualified_name', command)!r} carries out no operation")
    return operation
