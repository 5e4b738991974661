"""Who is shown a command in Discord's client; whether he may use it is decided when he does."""

from __future__ import annotations

from typing import Any, TypeVar

from discord import app_commands

C = TypeVar("C", bound=app_commands.Command[Any, ..., Any] | app_commands.Group | type[Any])


def for_operators(command: C) -> C:
    """Show a command in servers only, to people with Manage Server there.

    Server Settings > Integrations lets a server's administrator show it to others. For a whole group, since Discord
    knows no such rule for a subcommand.
    """
    return app_commands.guild_only(app_commands.default_permissions(manage_guild=True)(command))
