"""Registered application commands, global and per guild."""

from __future__ import annotations

from typing import Any

from sandbox.bodies import CommandBody, check_command, convert
from sandbox.errors import invalid_form, unknown
from sandbox.world import World

MAX_COMMANDS = 100


class CommandStore:
    """Commands by application and guild (None: global)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._commands: dict[tuple[int, int | None], dict[int, dict[str, Any]]] = {}

    def of_scope(self, application_id: int, guild_id: int | None) -> list[dict[str, Any]]:
        """Return the commands of one scope."""
        return list(self._commands.get((application_id, guild_id), {}).values())

    def visible(self, application_id: int, guild_id: int | None) -> list[dict[str, Any]]:
        """Return the commands usable in a guild; a guild command hides a global one of the same name."""
        own = self.of_scope(application_id, guild_id) if guild_id is not None else []
        names = {(command["name"], command["type"]) for command in own}
        return own + [c for c in self.of_scope(application_id, None) if (c["name"], c["type"]) not in names]

    def get(self, application_id: int, guild_id: int | None, command_id: int) -> dict[str, Any]:
        """Return one command.

        Raises
        ------
        DiscordError
            10063.
        """
        try:
            return self._commands[application_id, guild_id][command_id]
        except KeyError:
            raise unknown("application command") from None

    def overwrite(self, application_id: int, guild_id: int | None, raw: Any) -> list[dict[str, Any]]:
        """Replace all commands of a scope.

        Raises
        ------
        DiscordError
            50035; nothing is changed then.
        """
        if not isinstance(raw, list):
            raise invalid_form("", "BASE_TYPE_BAD_TYPE", "Only iterables may be used in a ListType")
        checked = [self._check(item, str(index)) for index, item in enumerate(raw)]
        if len({(body.name, body.type) for body in checked}) != len(checked):
            raise invalid_form("", "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique")
        if sum(body.type == 1 for body in checked) > MAX_COMMANDS:
            raise invalid_form("", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_COMMANDS} or fewer in length.")
        before = {(c["name"], c["type"]): int(c["id"]) for c in self.of_scope(application_id, guild_id)}
        scope: dict[int, dict[str, Any]] = {}
        for item, body in zip(raw, checked, strict=True):
            command_id = before.get((body.name, body.type or 1)) or self._world.new_id()
            scope[command_id] = self._render(application_id, guild_id, command_id, item, body)
        self._commands[application_id, guild_id] = scope
        return list(scope.values())

    def upsert(self, application_id: int, guild_id: int | None, raw: Any) -> tuple[dict[str, Any], bool]:
        """Add a command, or replace the one with the same name; returns whether it is new.

        Raises
        ------
        DiscordError
            50035.
        """
        body = self._check(raw, "")
        scope = self._commands.setdefault((application_id, guild_id), {})
        known = next((i for i, c in scope.items() if (c["name"], c["type"]) == (body.name, body.type)), None)
        command_id = known or self._world.new_id()
        scope[command_id] = self._render(application_id, guild_id, command_id, raw, body)
        return scope[command_id], known is None

    def remove(self, application_id: int, guild_id: int | None, command_id: int) -> None:
        """Remove a command.

        Raises
        ------
        DiscordError
            10063.
        """
        self.get(application_id, guild_id, command_id)
        del self._commands[application_id, guild_id][command_id]

    def _check(self, raw: Any, path: str) -> CommandBody:
        body = convert(raw, CommandBody, path)
        check_command(body, path)
        return body

    def _render(
        self, application_id: int, guild_id: int | None, command_id: int, raw: dict[str, Any], body: CommandBody
    ) -> dict[str, Any]:
        bits = body.default_member_permissions
        rendered: dict[str, Any] = {
            "id": str(command_id),
            "application_id": str(application_id),
            "version": str(self._world.new_id()),
            "default_member_permissions": None if bits is None else str(bits),
            "type": body.type or 1,
            "name": body.name,
            "description": body.description or "",
            "dm_permission": body.dm_permission is not False,
            "contexts": body.contexts,
            "nsfw": bool(body.nsfw),
        }
        if raw.get("options"):
            rendered["options"] = [_without_nulls(option) for option in raw["options"]]
        if guild_id is not None:
            rendered["guild_id"] = str(guild_id)
        return rendered


def _without_nulls(option: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in option.items() if value is not None}
    if "options" in kept:
        kept["options"] = [_without_nulls(inner) for inner in kept["options"]]
    return kept
