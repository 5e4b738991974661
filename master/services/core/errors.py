"""What services raise; every one is a ``FleetError`` with a stable code and a hint."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode, FleetError


class ServiceError(FleetError):
    """Root of the services' errors."""

    code: ClassVar[str] = "service_error"


class NotAuthorised(ServiceError):
    """The caller is not an operator."""

    code: ClassVar[str] = "not_authorised"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


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


class DiscordUnavailable(ServiceError):
    """Discord could not be asked."""

    code: ClassVar[str] = "discord_unavailable"
    exit_code: ClassVar[ExitCode] = ExitCode.DISCORD


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
