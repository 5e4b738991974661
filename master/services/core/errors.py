"""What services raise; every one is a ``FleetError`` with a stable code and a hint."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode, FleetError


class ServiceError(FleetError):
    """Root of the services' errors."""

    code: ClassVar[str] = "service_error"


class NotAuthorised(ServiceError):
    """The caller has not the permission that an action needs.

    Parameters
    ----------
    who, action, permission
        The caller's name, what he asked for, and the permission that it needs.
    """

    code: ClassVar[str] = "not_authorised"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED

    def __init__(self, who: str, action: str, permission: str, hint: str) -> None:
        super().__init__(f"{who} may not {action}: that needs the permission {permission!r}", hint=hint)
        self.who = who
        self.action = action
        self.permission = permission


class NoSuchNode(ServiceError):
    """No node has that name."""

    code: ClassVar[str] = "no_such_node"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class NameRefused(ServiceError):
    """The name cannot be a node's name."""

    code: ClassVar[str] = "name_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class LinkRefused(ServiceError):
    """The bot cannot be linked that way."""

    code: ClassVar[str] = "link_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NameTaken(NameRefused):
    """Another node, or a folder that is no node, has the name."""

    code: ClassVar[str] = "name_taken"


class TokenRefused(ServiceError):
    """The token is malformed, or Discord does not know it."""

    code: ClassVar[str] = "token_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class TokenInUse(TokenRefused):
    """The token's bot already is a node, or is the master itself."""

    code: ClassVar[str] = "token_in_use"


class DiscordPortError(ServiceError):
    """A call to Discord did not succeed.

    Attributes
    ----------
    status
        HTTP status of Discord's answer; None when there was none.
    json_code
        Discord's own error code, such as 10003 for an unknown channel; None when it told none.
    """

    code: ClassVar[str] = "discord_failed"
    exit_code: ClassVar[ExitCode] = ExitCode.DISCORD

    def __init__(
        self, message: str, *, hint: str = "", status: int | None = None, json_code: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.json_code = json_code


class DiscordUnavailable(DiscordPortError):
    """Discord could not be asked: not connected, no answer in time, or an error of Discord's own. Later it may work."""

    code: ClassVar[str] = "discord_unavailable"


class DiscordRefused(DiscordPortError):
    """Discord refused the request itself (400, 401, 413 and the like); the same request will not pass later."""

    code: ClassVar[str] = "discord_refused"


class DiscordNotFound(DiscordRefused):
    """The channel, message, member or role does not exist, or no longer (404)."""

    code: ClassVar[str] = "discord_not_found"


class DiscordForbidden(DiscordRefused):
    """The master's bot lacks a permission (403).

    Attributes
    ----------
    missing
        The permission's name in Discord's client, such as ``Send Messages``; empty when it cannot be told.
    """

    code: ClassVar[str] = "discord_forbidden"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        json_code: int | None = None,
        missing: str = "",
    ) -> None:
        super().__init__(message, hint=hint, status=status, json_code=json_code)
        self.missing = missing


class FolderRefused(ServiceError):
    """The folder is missing, outside BOTS_BASE_PATH, or already a node's."""

    code: ClassVar[str] = "folder_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class TemplateBroken(ServiceError):
    """The template folder is missing, or one of its files cannot be compiled."""

    code: ClassVar[str] = "template_broken"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class TierUnknown(ServiceError):
    """The licence tier is not in the config."""

    code: ClassVar[str] = "tier_unknown"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class FilesFailed(ServiceError):
    """A file operation failed (no space, no permission); nothing was left half-made."""

    code: ClassVar[str] = "files_failed"


class NotReadyInTime(ServiceError):
    """The node did not come up in its time."""

    code: ClassVar[str] = "not_ready_in_time"
    exit_code: ClassVar[ExitCode] = ExitCode.TIMED_OUT
