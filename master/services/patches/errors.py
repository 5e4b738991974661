"""Errors of patches."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from master.errors import ExitCode
from master.services.core.errors import ServiceError


class PatchError(ServiceError):
    """Root of the errors of patches."""

    code: ClassVar[str] = "patch_failed"


class Refusal(StrEnum):
    """Why a bundle is not accepted."""

    DAMAGED = "damaged"
    """It is no bundle, or not a whole one."""
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    REVOKED_KEY = "revoked_key"
    INVALID = "invalid"
    """It is signed by somebody who is trusted, and what it says or holds is not acceptable."""
    EXPIRED = "expired"
    OTHER_FLEET = "other_fleet"
    OLD_VERSION = "old_version"
    KNOWN = "known"
    """It was accepted before."""


class PatchRefused(PatchError):
    """A bundle is not accepted: its signature, its key, its version, its content, or whom it is for.

    Attributes
    ----------
    reason
        Why, for programs.
    key_id
        The key that it says it is signed with; proven unless the reason says otherwise.
    """

    code: ClassVar[str] = "patch_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED

    def __init__(
        self, message: str, *, hint: str = "", reason: Refusal = Refusal.BAD_SIGNATURE, key_id: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason, self.key_id = reason, key_id


class PatchNotFound(PatchError):
    """There is no such patch, or no such key."""

    code: ClassVar[str] = "patch_not_found"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class PatchNotNow(PatchError):
    """The patch is not in a state in which that could be done; the hint says what could."""

    code: ClassVar[str] = "patch_not_now"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED
