"""Why something about a ticket is refused; the code reaches the node, and the person who asked."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode
from master.services.core.errors import ServiceError


class TicketRefused(ServiceError):
    """Something about a ticket is not possible, or not allowed.

    Attributes
    ----------
    why
        A stable word: ``not_your_ticket``, ``too_many_open``, ``not_staff``, ...
    """

    code: ClassVar[str] = "ticket_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED

    def __init__(self, why: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.why = why


class NoSuchTicket(TicketRefused):
    """There is no such ticket, or not for whoever asks."""

    code: ClassVar[str] = "no_such_ticket"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND
