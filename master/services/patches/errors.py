"""Errors of patches."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode
from master.services.core.errors import ServiceError


class PatchError(ServiceError):
    """Root of the errors of patches."""

    code: ClassVar[str] = "patch_failed"


class PatchRefused(PatchError):
    """A bundle is not accepted: its signature, its key, its version, its content, or whom it is for."""

    code: ClassVar[str] = "patch_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class PatchNotFound(PatchError):
    """There is no such patch, or no such key."""

    code: ClassVar[str] = "patch_not_found"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class PatchNotNow(PatchError):
    """The patch is not in a state in which that could be done; the hint says what could."""

    code: ClassVar[str] = "patch_not_now"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED
