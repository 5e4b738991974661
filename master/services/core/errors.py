"""The services' errors; each is a ``FleetError`` with a stable code and a hint."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode, FleetError


class ServiceError(FleetError):
    """Root of the services' errors."""

    code: ClassVar[str] = "service_error"


class NotAuthorised(ServiceError):
    """The caller lacks the permission that an action needs.

    Parameters
    ----------
    who, action, permission
        The caller's name, the requested action, and the permission that it needs.
    """

    code: ClassVar[str] = "not_authorised"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED

    def __init__(self, who: str, action: str, permission: str, hint: str) -> None:
        super().__init__(f"{who} may not {action}: that needs the permission {permission!r}", hint=hint)
        self.who = who
        self.action = action
        self.permission = permission


class MasterEnding(ServiceError):
    """The master is ending: it begins nothing that acts, and what ran was cut off."""

    code: ClassVar[str] = "master_ending"


class NoSuchNode(ServiceError):
    """No node has that name."""

    code: ClassVar[str] = "no_such_node"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class NothingToAcknowledge(ServiceError):
    """No alarm of the audit log stands."""

    code: ClassVar[str] = "nothing_to_acknowledge"


class NameRefused(ServiceError):
    """The name is not valid for a node."""

    code: ClassVar[str] = "name_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class TagRefused(ServiceError):
    """A tag is not valid, or there are too many."""

    code: ClassVar[str] = "tag_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class LinkRefused(ServiceError):
    """The bot cannot be linked that way."""

    code: ClassVar[str] = "link_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NameTaken(NameRefused):
    """Another node, or an unregistered folder, has the name."""

    code: ClassVar[str] = "name_taken"


class TokenRefused(ServiceError):
    """The token is malformed, or Discord does not know it."""

    code: ClassVar[str] = "token_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class TokenInUse(TokenRefused):
    """The token belongs to a registered node or to the master."""

    code: ClassVar[str] = "token_in_use"


class OtherBot(TokenRefused):
    """The token belongs to another bot than the node's."""

    code: ClassVar[str] = "other_bot"


class DiscordPortError(ServiceError):
    """A call to Discord did not succeed.

    Attributes
    ----------
    status
        HTTP status of the response; None without a response.
    json_code
        Discord's JSON error code, such as 10003 for an unknown channel; None if there was none.
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
    """Not connected, no response in time, or a server error of Discord. A retry may succeed."""

    code: ClassVar[str] = "discord_unavailable"


class DiscordRefused(DiscordPortError):
    """Discord rejected the request (400, 401, 413 and the like); a retry will not succeed."""

    code: ClassVar[str] = "discord_refused"


class DiscordNotFound(DiscordRefused):
    """The channel, message, member or role does not exist (404)."""

    code: ClassVar[str] = "discord_not_found"


class DiscordForbidden(DiscordRefused):
    """The master's bot lacks a permission (403).

    Attributes
    ----------
    missing
        The permission's name in Discord's client, such as ``Send Messages``; empty if unknown.
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
    """The folder is missing, outside BOTS_BASE_PATH, or belongs to a node."""

    code: ClassVar[str] = "folder_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class CopyRefused(ServiceError):
    """A copy of the node would not have what it needs."""

    code: ClassVar[str] = "copy_refused"
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
    """A file operation failed (no space, no permission); partial results were removed."""

    code: ClassVar[str] = "files_failed"


class NotReadyInTime(ServiceError):
    """The node did not become ready in time."""

    code: ClassVar[str] = "not_ready_in_time"
    exit_code: ClassVar[ExitCode] = ExitCode.TIMED_OUT
