"""Tickets and permissions in them, as faces show them."""

from __future__ import annotations

from typing import Literal

import msgspec


class TicketRow(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket."""

    id: str
    number: int
    node: str
    category: str
    state: str
    channel_id: int
    is_thread: bool
    author_id: int
    """0: it came by mail."""
    claimed_by: int = 0
    priority: str
    topic: str
    opened_at: float
    last_at: float
    warned_at: float | None = None
    closed_at: float | None = None
    closed_by: int = 0
    reason: str = ""
    position: int = 0
    """In the queue; 0: not in it."""


class TicketPermissionRow(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in a ticket, or a question whether to let him in."""

    id: str
    ticket_id: str
    ticket: int
    """Its number."""
    node: str
    subject_id: int
    permission_set: str
    state: str
    at: float
    until: float | None = None
    decided_by: str = ""
    detail: str = ""


class TicketDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket with all that there is to it."""

    ticket: TicketRow
    questions: tuple[str, ...] = ()
    """Of its category's form, as the config has them now."""
    answers: tuple[str, ...] = ()
    """Of whoever opened it, in the order of the questions."""
    permissions: tuple[TicketPermissionRow, ...] = ()


def form_of(details: TicketDetails) -> list[tuple[str, str]]:
    """Return the answers of a ticket's form with their questions; one that the config no longer has is a number."""
    asked = details.questions
    return [
        (asked[at] if at < len(asked) else f"Question {at + 1}", answer) for at, answer in enumerate(details.answers)
    ]


class TicketFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the master may do what a category of tickets needs."""

    category: str
    verdict: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""
