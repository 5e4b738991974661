"""One authenticated request, as passed to route functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from sandbox.audit import Act
from sandbox.bodies import Upload, read_body
from sandbox.command_store import CommandStore
from sandbox.errors import invalid_form
from sandbox.interactions import Interactions
from sandbox.ratelimits import RateLimits
from sandbox.records import BotAccount
from sandbox.world import World

MAX_REASON_CHARACTERS = 512
NO_CONTENT = object()
"""Returned by a route that answers 204."""


@dataclass(slots=True)
class Created:
    """Returned by a route that answers 201."""

    body: Any


@dataclass(slots=True)
class Call:
    """A request, and the parts of the sandbox that it uses."""

    request: web.Request
    world: World
    account: BotAccount
    interactions: Interactions
    commands: CommandStore
    gateway_url: str
    rate_limits: RateLimits

    def id(self, name: str) -> int:
        """Return an id parameter of the path.

        Raises
        ------
        DiscordError
            50035 for what is not a snowflake.
        """
        raw = self.request.match_info[name]
        if not (raw.isdecimal() and len(raw) <= 20):
            raise invalid_form(name, "NUMBER_TYPE_COERCE", f'Value "{raw[:40]}" is not snowflake.')
        return int(raw)

    def text(self, name: str) -> str:
        """Return a text parameter of the path."""
        return self.request.match_info[name]

    def query(self, name: str, *, default: int, least: int, most: int) -> int:
        """Return a number parameter of the query.

        Raises
        ------
        DiscordError
            50035 outside its range.
        """
        raw = self.request.query.get(name)
        if raw is None:
            return default
        if not raw.isdecimal() or not least <= int(raw) <= most:
            message = f"int value should be between {least} and {most}."
            raise invalid_form(name, "NUMBER_TYPE_MAX", message)
        return int(raw)

    @property
    def act(self) -> Act:
        """Who calls, and the reason that the audit log is given.

        Raises
        ------
        DiscordError
            50035 for a reason of more than 512 characters.
        """
        reason = unquote(self.request.headers.get("X-Audit-Log-Reason", ""))
        if len(reason) > MAX_REASON_CHARACTERS:
            message = f"Must be {MAX_REASON_CHARACTERS} or fewer in length."
            raise invalid_form("reason", "BASE_TYPE_MAX_LENGTH", message)
        return Act(self.account, reason or None)

    async def body(self) -> tuple[Any, list[Upload]]:
        """Read the JSON and the files."""
        return await read_body(self.request)


def moment_in_query(call: Call, name: str) -> datetime:
    """Return a moment of the query.

    Raises
    ------
    DiscordError
        50035 for what is none.
    """
    try:
        found = datetime.fromisoformat(call.request.query[name])
    except ValueError:
        raise invalid_form(name, "DATETIME_TYPE_INVALID", "Could not parse the timestamp.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


Route = Callable[[Call], Awaitable[Any]]
Routes = list[tuple[str, str, Route]]
