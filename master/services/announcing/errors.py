"""Why something about an announcement is refused."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode
from master.services.core.errors import ServiceError


class AnnouncementRefused(ServiceError):
    """An announcement is not possible so."""

    code: ClassVar[str] = "announcement_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NoSuchAnnouncement(AnnouncementRefused):
    """There is none with this id, or several begin so."""

    code: ClassVar[str] = "no_such_announcement"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND
