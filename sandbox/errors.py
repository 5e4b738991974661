"""Discord's error responses: https://discord.com/developers/docs/topics/opcodes-and-status-codes."""

from __future__ import annotations

from typing import Any


class DiscordError(Exception):
    """An error response.

    Parameters
    ----------
    status
        HTTP status.
    code
        Discord's JSON error code; 0 for a general error.
    errors
        The nested errors of an invalid form body.
    """

    def __init__(self, status: int, code: int, message: str, errors: dict[str, Any] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors

    def payload(self) -> dict[str, Any]:
        """Return the body of the response."""
        body: dict[str, Any] = {"message": self.message, "code": self.code}
        if self.errors is not None:
            body["errors"] = self.errors
        return body


class RateLimitedEdit(DiscordError):
    """429 for an edit that Discord limits beside its route's bucket, which its headers do not show.

    Parameters
    ----------
    retry_after_s
        How long, up to ten minutes.
    """

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(429, 0, "You are being rate limited.")
        self.retry_after_s = retry_after_s


class SandboxError(Exception):
    """A test or demo tried something that a real person could not do."""


def not_found() -> DiscordError:
    """Return 404 for a route that does not exist."""
    return DiscordError(404, 0, "404: Not Found")


def unauthorized() -> DiscordError:
    """Return 401 for a missing or unknown token."""
    return DiscordError(401, 0, "401: Unauthorized")


def missing_access() -> DiscordError:
    """Return 403 for something the bot may not see."""
    return DiscordError(403, 50001, "Missing Access")


def missing_permissions() -> DiscordError:
    """Return 403 for an action the bot may not perform."""
    return DiscordError(403, 50013, "Missing Permissions")


def thread_archived() -> DiscordError:
    """Return 400 for what an archived thread does not take."""
    return DiscordError(400, 50083, "Thread is archived")


def closed_direct_messages() -> DiscordError:
    """Return 403 for a direct message to somebody who takes none of bots."""
    return DiscordError(403, 50007, "Cannot send messages to this user")


_UNKNOWN = {
    "application": 10002,
    "channel": 10003,
    "guild": 10004,
    "member": 10007,
    "message": 10008,
    "role": 10011,
    "user": 10013,
    "emoji": 10014,
    "webhook": 10015,
    "interaction": 10062,
    "application command": 10063,
    "permission overwrite": 10009,
    "tag": 10087,
}


def unknown(what: str) -> DiscordError:
    """Return 404 for an id that does not exist."""
    return DiscordError(404, _UNKNOWN[what], f"Unknown {what.title()}")


def invalid_form(path: str, code: str, message: str) -> DiscordError:
    """Return 400 for an invalid body, with Discord's nested errors.

    Parameters
    ----------
    path
        Dotted path to the field, such as ``embeds.0.title``; empty for the body itself.
    """
    errors: dict[str, Any] = {"_errors": [{"code": code, "message": message}]}
    for part in reversed([part for part in path.split(".") if part]):
        errors = {part: errors}
    return DiscordError(400, 50035, "Invalid Form Body", errors)
