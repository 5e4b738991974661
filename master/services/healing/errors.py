"""The errors of this room."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode
from master.services.core.errors import ServiceError


class NoSuchErrorGroup(ServiceError):
    """No group of errors has that fingerprint, or several begin so."""

    code: ClassVar[str] = "no_such_error_group"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND
