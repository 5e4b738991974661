"""What is wrong with a giveaway, or with what somebody wants of it."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode
from master.services.core.errors import ServiceError


class NoSuchGiveaway(ServiceError):
    """No giveaway has that id on this server."""

    code: ClassVar[str] = "no_such_giveaway"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class GiveawayRefused(ServiceError):
    """A giveaway cannot be made so, or its state does not allow it."""

    code: ClassVar[str] = "giveaway_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NotEligible(ServiceError):
    """Somebody does not meet what a giveaway asks for."""

    code: ClassVar[str] = "not_eligible"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NothingToClaim(ServiceError):
    """Somebody claims what he has not won, or what went on to others."""

    code: ClassVar[str] = "nothing_to_claim"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED
